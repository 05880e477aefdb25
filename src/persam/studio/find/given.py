"""What somebody gave the tab "Find" to look at: photos that were dropped, a folder of this machine, or a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path

from persam.errors import PersamError, UsageError
from persam.files import expanded
from persam.finding import VIDEO_SUFFIXES, find_images
from persam.server.hearing import heard_doubts


@dataclass(frozen=True)
class GivenFiles:
    """Photos, or one clip.

    Attributes:
        photos: each one's file, and its name as its owner knows it.
        clip: a clip, and then there are no photos.
        dropped: whether these are copies of what was dropped into the page.
        doubts: what was left out of a folder though somebody may have meant it, a sentence each.
    """

    photos: tuple[tuple[Path, str], ...] = ()
    clip: Path | None = None
    dropped: bool = True
    doubts: tuple[str, ...] = ()


def given_files(files: Sequence[str] | None, folder: str, *, is_local: bool) -> GivenFiles:
    """What is to be looked at.

    Args:
        files: that were dropped, as copies on this machine.
        folder: a path on this machine, or "".
        is_local: whether only somebody at this machine can reach the page; others may not read its folders.

    Raises:
        UsageError: nothing was given, or too much, or the folder has no pictures.
        PersamError: there is no such folder, or it may not be read.
    """
    named = folder.strip()
    if named and not is_local:
        raise UsageError("Folders of this machine are for whoever sits at it; drop the photos instead.")
    if named and files:
        raise UsageError("There are both dropped files and a folder; take one of them away.")
    if named:
        return _in_folder(expanded(named))
    if not files:
        raise UsageError("There is nothing to look at; drop photos or a clip first.")
    every = [Path(each) for each in files]
    clips = [each for each in every if is_clip(each)]
    if not clips:
        return GivenFiles(tuple((each, each.name) for each in every))
    if len(every) > 1:
        raise UsageError("A clip is searched alone, without photos or other clips; drop photos, or one clip.")
    return GivenFiles(clip=clips[0])


def _in_folder(place: Path) -> GivenFiles:
    if is_clip(place) and place.is_file():
        return GivenFiles(clip=place, dropped=False)
    if not place.exists() and not has_magic(str(place)):
        raise PersamError(f"There is no folder {place} on this machine; check the path.")
    with heard_doubts() as doubts:
        photos = tuple((Path(str(each)), each.name) for each in find_images([str(place)]))
    return GivenFiles(photos, dropped=False, doubts=tuple(doubts))


def is_clip(file: Path) -> bool:
    """Whether a file is called as clips are; whether it is one is seen when it is opened."""
    return file.suffix.lower() in VIDEO_SUFFIXES
