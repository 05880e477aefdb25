"""What a user can put right: one sentence that says what was wrong, where, and what to do."""

from __future__ import annotations

import errno
import unicodedata
from pathlib import Path


class PersamError(Exception):
    """The job failed for a reason that the user can see and mend.

    ``str(error)`` is one sentence for a person. Commands print it without a traceback and end with ``exit_code``.
    """

    exit_code = 1


class UsageError(PersamError):
    """The call itself was wrong: options that exclude each other, a value out of range."""

    exit_code = 2


class NoPictureError(PersamError):
    """A file is there and readable, but holds something else than a picture."""


class PersamWarning(UserWarning):
    """It went well, but not as somebody may have thought: one sentence, which commands print once."""


def first_line(error: BaseException) -> str:
    """Give the first line of what a library says, which often says a page."""
    return (str(error).strip().splitlines() or ["no reason given"])[0]


_UNSEEN = ("Cc", "Cs", "Zl", "Zp")  # controls, halves of letters, ends of lines


def printable(text: str) -> str:
    r"""Show what cannot be drawn, printed or encoded as Python writes it: file names hold bytes of any kind.

    >>> print(printable("mug\n1.jpg"), printable("m\udcffg.jpg"))
    mug\n1.jpg m\udcffg.jpg
    """
    if text.isprintable():
        return text
    return "".join(
        each.encode("unicode_escape").decode() if unicodedata.category(each) in _UNSEEN else each for each in text
    )


_PROBLEMS = {
    errno.ENOSPC: "there is no room left on the disk; free some and run this again",
    errno.EDQUOT: "your disk quota is used up; free some room and run this again",
    errno.EACCES: "writing there is not allowed; choose another place",
    errno.EPERM: "writing there is not allowed; choose another place",
    errno.EROFS: "that disk is read-only; choose another place",
    errno.ENOTDIR: "a part of that path is a file, not a folder; choose another place",
    errno.EEXIST: "a file of that name is in the way; choose another place",
    errno.EISDIR: "that is a folder; give the name of a file",
    errno.ENAMETOOLONG: "the name is too long for this disk; choose a shorter one",
    errno.ENOENT: "its folder does not exist; make it first",
}


def write_error(path: str | Path, error: OSError) -> PersamError:
    """Turn the system's reason why ``path`` could not be written into a sentence."""
    reason = _PROBLEMS.get(error.errno or 0, f"the system says: {error.strerror or error}")
    return PersamError(f"Cannot write {path}: {reason}.")


def system_error(error: OSError) -> PersamError:
    """Turn what the system refused into a sentence, where no more is known of it than the name of the file."""
    return PersamError(f"The system refuses {error.filename}: {error.strerror or error}; check that path.")
