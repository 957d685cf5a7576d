"""The base class of the errors that a user can act on, and how the operating system's are put."""

import errno

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class MsffError(Exception):
    """An error whose message names the file or setting, what was expected, what was found, and the remedy."""


def one_line(error: OSError) -> str:
    """Return an error of the operating system as file and reason."""
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
