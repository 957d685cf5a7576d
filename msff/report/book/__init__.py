"""The book: what its chapters include, and how it is staged, built and printed."""

from msff.errors import MsffError


class BookError(MsffError):
    """A book that cannot be built. The message says what is missing or wrong, and the remedy."""
