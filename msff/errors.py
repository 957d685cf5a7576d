"""The base class of the errors that a user can act on, and how the operating system's are put."""

import errno

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


class MsffError(Exception):
    """An error whose message names the file or setting, what was expected, what was found, and the remedy."""


def printable(text: object) -> str:
    """Return a text with its control characters spelt out: a file's name may hold commands to the terminal."""
    return str(text).translate(_CONTROL)


def one_line(error: OSError) -> str:
    """Return an error of the operating system as file and reason."""
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
