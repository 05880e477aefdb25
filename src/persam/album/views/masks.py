"""The masks of views: found by the photos' names, in whichever way they were written, and read at a workable size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from persam.album.formats.colmap import PLACE
from persam.album.outputs import RESULTS
from persam.album.views.agreement import MaskedView, coarser
from persam.album.views.cameras import CameraView
from persam.errors import PersamError, UsageError
from persam.files import expanded
from persam.images import IMAGE_SUFFIXES
from persam.masks import mask_size, read_mask

LONGEST = 800  # pixels of a mask's side, as it is compared
_OF_NERFSTUDIO = ("images", "images_2", "images_4", "images_8")


@dataclass(frozen=True)
class MaskedViews:
    """Views with their masks.

    Attributes:
        views: those with a mask.
        without: names of those without one.
        failures: masks that cannot be used: name of the view, and what is wrong.
    """

    views: tuple[MaskedView, ...]
    without: tuple[str, ...]
    failures: tuple[tuple[str, str], ...]


def masks_folder(given: str | Path, concept: str | None = None) -> Path:
    """The folder of one thing's masks: it, or the one in an album's folder.

    Raises:
        UsageError: it is not there; of an album of which no masks for COLMAP were written; or of several things.
    """
    folder = expanded(given)
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}; give an album's folder, or a folder of masks.")
    home = folder / PLACE
    if not home.is_dir():
        if (folder / RESULTS).exists():
            raise UsageError(
                f"{folder} has no masks that lie as the cameras see them; write them: persam album export {folder} "
                "--format colmap."
            )
        return folder if concept is None else folder / concept
    things = sorted(place.name for place in home.iterdir() if place.is_dir())
    if concept is None and len(things) == 1:
        return home / things[0]
    if concept not in things:
        what = "has masks of several things" if concept is None else f"has no masks of {concept!r}"
        raise UsageError(f"{home} {what}; say with --concept which: {', '.join(things)}.")
    return home / concept


def read_masks(views: Sequence[CameraView], folder: Path, progress: Callable[[], object] = lambda: None) -> MaskedViews:
    """Find and read the mask of every view.

    A mask has the photo's name and one more suffix (``1.jpg.png``), or its name with another suffix (``1.png``), below
    the same folders or none. It lies as the camera sees, not turned by EXIF; a black one says that the thing is not
    there.

    Args:
        views: whose masks are wanted.
        folder: where they are.
        progress: called after each view.
    """
    found, without, failures = [], [], []
    for view in views:
        file = next((file for file in _mask_files(folder, view.name) if file.is_file()), None)
        if file is None:
            without.append(view.name)
        else:
            try:
                found.append(_read(view, file))
            except PersamError as error:
                failures.append((view.name, str(error)))
        progress()
    return MaskedViews(tuple(found), tuple(without), tuple(failures))


def photo_names(name: str) -> list[PurePosixPath]:
    """Where a view's photo may lie in a folder, the likeliest first; never outside of it.

    >>> [str(path) for path in photo_names("images/mug/1.jpg")]
    ['images/mug/1.jpg', 'mug/1.jpg', '1.jpg']
    >>> [str(path) for path in photo_names("images/../../1.jpg")]
    ['1.jpg']
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:  # the photo lies elsewhere: its name alone is known
        path = PurePosixPath(path.name)
    short = next((path.relative_to(start) for start in _OF_NERFSTUDIO if path.is_relative_to(start)), path)
    return list(dict.fromkeys((path, short, PurePosixPath(path.name))))


def _mask_files(folder: Path, name: str) -> Iterator[Path]:
    for each in photo_names(name):
        yield folder / f"{each}.png"
        if each.suffix.lower() in IMAGE_SUFFIXES:
            yield folder / each.with_suffix(".png")


def _read(view: CameraView, file: Path) -> MaskedView:
    height, width = mask_size(file)
    if abs(height * view.camera.size[1] / (width * view.camera.size[0]) - 1) > 0.02:
        raise PersamError(
            f"The mask {file} is {width} x {height}, and the camera's photo {view.camera.size[1]} x "
            f"{view.camera.size[0]}; masks have to lie as the photos are stored: persam album export --format colmap."
        )
    small = view.smaller(LONGEST)
    mask = read_mask(file, (height, width), may_be_trivial=True)
    return MaskedView(small, mask if mask.shape == small.camera.size else coarser(mask, small.camera.size))
