"""What a command may write: never over what it reads, and over what exists only if that was asked for."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from persam.errors import UsageError, write_error
from persam.files import check_folder, expanded


def check_targets(
    targets: Sequence[tuple[str, Path]], sources: Iterable[str | Path | None], *, overwrite: bool
) -> None:
    """See before the work that nothing of the user's is lost by writing the results. Nothing is written.

    Files are compared, not their names: another spelling, a link or another case of one file is that file.

    Args:
        targets: the option that names another place for it, such as ``-o``, and the path of every file to be written.
        sources: all that is read, such as photos or the folder of a model; what is None, or the name of a model on the
            hub, does not count.
        overwrite: whether files that exist may be replaced.

    Raises:
        UsageError: a target is a source, the same as another target, or exists and may not be replaced.
        PersamError: its folder cannot be written.
    """
    files = [file for source in sources if source is not None for file in _files_of(Path(source))]
    for index, (option, target) in enumerate(targets):
        for source in files:
            if _is_same(target, source):
                raise UsageError(f"{target} is read by this command and would be replaced; name another with {option}.")
        for other, earlier in targets[:index]:
            if _is_same(target, earlier):
                raise UsageError(f"{other} and {option} name the same file, {target}; give each its own.")
        if expanded(target).is_dir():
            raise UsageError(f"{target} is a folder; give the name of a file with {option}.")
        if not overwrite and os.path.lexists(expanded(target)):
            raise UsageError(f"{target} exists already; name another with {option}, or add --overwrite to replace it.")
        folder = expanded(target).parent
        if any(place.exists() and not place.is_dir() for place in (folder, *folder.parents)):
            raise write_error(target, NotADirectoryError(errno.ENOTDIR, "Not a directory"))
        check_folder(folder)


def _files_of(source: Path) -> list[Path]:
    try:
        return list(expanded(source).iterdir()) if expanded(source).is_dir() else [source]
    except OSError:  # it cannot be read, which will be told by whoever tries
        return [source]


def _is_same(one: Path, other: Path) -> bool:
    one, other = expanded(one), expanded(other)
    try:
        return one.samefile(other)
    except (OSError, ValueError):  # one of them is not there yet: two names may still lead to one place
        return os.path.normcase(os.path.realpath(one)) == os.path.normcase(os.path.realpath(other))
