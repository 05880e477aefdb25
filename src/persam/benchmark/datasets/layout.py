"""What the loaders share: looking for folders and photos, and saying what was looked for."""

from __future__ import annotations

from pathlib import Path

from persam.benchmark.episodes import MaskFile, Sample
from persam.errors import UsageError

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png"}


def folders(folder: Path, root: Path, expected: str) -> list[Path]:
    """The folders in `folder`, sorted.

    Raises:
        UsageError: there are none; the sentence says which layout was `expected` below `root`.
    """
    found = sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    if not found:
        raise UsageError(f"{root} is not laid out as expected: looked for {expected}.")
    return found


def photos(folder: Path) -> list[Path]:
    """The photos in a folder, sorted."""
    return sorted(entry for entry in folder.glob("*") if entry.suffix.lower() in PHOTO_SUFFIXES)


def sample(name: str, photo: Path, mask: Path, value: int | None = None, ignored: int | None = None) -> Sample:
    """A photo and the picture of its mask.

    Raises:
        UsageError: there is no such mask.
    """
    if not mask.is_file():
        raise UsageError(f"{photo} has no mask: looked for {mask}.")
    return Sample(name, photo, MaskFile(mask, value, ignored))
