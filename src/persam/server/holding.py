"""A service's folder belongs to one service at a time: its jobs are begun anew by the next one, its uploads removed.

One lock says so, for as long as the service lives; the system lets go of it when a process is killed. `persam serve`
takes it before it loads its model, so that a second one hears of it at once; an application that somebody else runs
takes it when it starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from persam.errors import PersamError, write_error
from persam.files import check_folder

_LOCK = ".lock"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a service's folder, which is made if it is missing.

    Raises:
        UsageError: it is a file.
        PersamError: it cannot be written, or another service works in it.
    """
    check_folder(folder)
    lock = FileLock(folder / _LOCK, thread_local=False)  # let go of by whatever thread ends
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # photos of others lie in it
        lock.acquire(timeout=0)
    except Timeout as error:
        raise PersamError(
            f"Another service works in {folder}; stop it, or give another folder with --folder."
        ) from error
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        yield
    finally:
        lock.release()
