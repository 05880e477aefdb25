"""A folder of classes, as people have them, with a mask here and there.

::

    things/mug/1.jpg, 2.jpg, ...           photos of a class; its folder is its name
    things/mug/masks/1.png                 the mask of 1.jpg; also 1_mask.png beside it, or things/masks/mug/1.png
    things/mug/mug.safetensors             or a concept that was learned before
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from persam.errors import PersamWarning, UsageError, printable
from persam.files import expanded, writable
from persam.images import IMAGE_SUFFIXES

IMAGES = ("images", "Images")  # a class's folder may have its photos there
BESIDE = ("_mask", "-mask", ".mask")  # after the photo's name
LAYOUT = "FOLDER/CLASS/photo.jpg, with masks in FOLDER/CLASS/masks/photo.png"


@dataclass(frozen=True)
class ClassFolder:
    """Photos of one class.

    Attributes:
        name: of its folder.
        photos: sorted by name.
        masks: of some of the photos, perhaps of none.
        concept: the file of a concept of it, or None.
    """

    name: str
    photos: tuple[Path, ...]
    masks: Mapping[Path, Path] = field(default_factory=dict)
    concept: Path | None = None

    @property
    def is_shown(self) -> bool:
        """Whether persam can know what the class looks like: by a mask, or a concept."""
        return self.concept is not None or bool(self.masks)


def read_classes(folder: str | Path, masks: str | Path | None = None) -> list[ClassFolder]:
    """Look at a folder of classes. No picture is opened.

    Args:
        folder: of folders, each of a class: photos in it, or in its folder ``images``.
        masks: a folder with a folder of masks for each class, named as their photos are (PerSeg's ``Annotations``); by
            default ``masks`` in the folder or in a class's folder; and always ``1_mask.png`` beside ``1.jpg``.

    Returns:
        The classes with a photo at least, by name.

    Raises:
        UsageError: there is no such folder, or fewer than two classes have photos.

    Warns:
        PersamWarning: a class has no photo, or photos of it are not looked at: beside its folder ``images``, or of the
            same name as another but for the suffix.
    """
    root = expanded(folder)
    if not root.is_dir():
        raise UsageError(f"There is no folder {root}; give a folder with a folder for each class: {LAYOUT}.")
    others = None if masks is None else expanded(masks)
    if others is not None and not others.is_dir():
        raise UsageError(f"There is no folder of masks at {others}; it has a folder for each class.")
    homes = [home for home in _entries(root) if home.is_dir() and home.name.lower() != "masks"]
    found = [_read_class(home, _mask_places(root, home, others)) for home in homes]
    empty = [each.name for each in found if not each.photos]
    classes = [each for each in found if each.photos]
    if not classes:
        raise UsageError(f"There is no class with photos in {root}; looked for {LAYOUT}.")
    if len(classes) == 1:
        raise UsageError(
            f"{root} has photos of one class only ({classes[0].name}), so there is nothing to tell apart; add a folder "
            "for another."
        )
    if empty:
        warnings.warn(f"Left out, for there is no photo in it: {', '.join(empty)}.", PersamWarning, stacklevel=2)
    return classes


def _mask_places(root: Path, home: Path, masks: Path | None) -> list[Path]:
    """Folders in which the masks of a class may lie."""
    return [home / "masks", home / "Masks", root / "masks" / home.name] if masks is None else [masks / home.name]


def _read_class(home: Path, mask_places: list[Path]) -> ClassFolder:
    inner = next((home / name for name in IMAGES if (home / name).is_dir()), home)
    there = _pictures(inner)
    pictures = {each.stem: each for each in reversed(there)}  # of two of one stem, the first by name
    _warn("another photo has the same name but for the suffix", [each for each in there if each != pictures[each.stem]])
    _warn(f"the photos of {home.name} are those in {inner}", _pictures(home) if inner != home else [])
    pictures = dict(sorted(pictures.items()))
    is_mask = {f"{stem}{ending}" for stem in pictures for ending in BESIDE}
    photos = {stem: photo for stem, photo in pictures.items() if stem not in is_mask}
    given: dict[str, Path] = {}
    for place in mask_places:
        given = {each.stem: each for each in _pictures(place)} | given
    found: dict[Path, Path] = {}
    for stem, photo in photos.items():
        names = (stem, *(f"{stem}{ending}" for ending in BESIDE))
        beside = (pictures[name] for name in names[1:] if name in pictures)
        mask = next((given[name] for name in names if name in given), None) or next(beside, None)
        if mask is not None:
            found[photo] = mask
    concepts = [each for each in _entries(home) if each.suffix.lower() == ".safetensors" and each.is_file()]
    return ClassFolder(writable(home.name), tuple(photos.values()), found, concepts[0] if concepts else None)


def _warn(reason: str, left_out: list[Path]) -> None:
    if left_out:
        more = ", ..." if len(left_out) > 5 else ""
        files = ", ".join(printable(str(each)) for each in left_out[:5])
        warnings.warn(f"Left out, for {reason}: {files}{more}.", PersamWarning, stacklevel=4)


def _pictures(folder: Path) -> list[Path]:
    return [each for each in _entries(folder) if each.suffix.lower() in IMAGE_SUFFIXES and each.is_file()]


def _entries(folder: Path) -> list[Path]:
    """What is in a folder and not hidden, by name; nothing if it is not there."""
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if not each.name.startswith("."))
