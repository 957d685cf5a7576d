"""The base class of the errors that a user can act on."""


class MsffError(Exception):
    """An error whose message names the file or setting, what was expected, what was found, and the remedy."""
