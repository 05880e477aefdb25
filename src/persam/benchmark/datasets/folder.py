"""A plain folder of photos and masks, and the folders of annotation studies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from persam.benchmark.datasets import layout
from persam.benchmark.datasets.options import Reference, Shots
from persam.benchmark.episodes import Episode, Loaded, MaskFile, Sample
from persam.errors import UsageError
from persam.images import exif_orientation, open_picture
from persam.words import counted

LAYOUT = (
    "images/ and masks/ of equal names, OBJECT/images/ and OBJECT/masks/, or photos with NAME_mask files beside them"
)
STUDY_LAYOUT = "CATEGORY/images/ and CATEGORY/gold/ or CATEGORY/masks/ of equal names"
_PHOTOS = ("images", "Images", "photos", "JPEGImages")
_MASKS = ("masks", "Masks", "annotations", "Annotations", "labels")
_ENDINGS = ("_mask", "-mask", ".mask")
_SIDEWAYS = {5, 6, 7, 8}  # EXIF orientations


def read_folder(root: Path, reference: Reference = "auto", shots: Shots = 1) -> Loaded:
    """The object of a folder, or of each folder in it: photo `reference` shows it, it is found in all others.

    Masks are any pictures in which the object is brighter than black, of the photo's size; they have the photo's
    name, or that and ``_mask``. Sizes are looked at now, so that a run does not end in its midst.

    A `reference` is named with or without suffix; those after the first are the photos that follow it.

    Raises:
        UsageError: the folder is laid out otherwise, a photo has no mask or one of another size, or nothing is left.
    """
    return _read("folder", root, LAYOUT, reference, shots, _MASKS)


def read_study(root: Path, reference: Reference = "auto", shots: Shots = 1) -> Loaded:
    """The categories of a study folder; the truth is in ``gold/``, or in ``masks/``. See `read_folder`."""
    return _read("study", root, STUDY_LAYOUT, reference, shots, ("gold", *_MASKS))


def _read(data_set: str, root: Path, expected: str, reference: str, shots: int, mask_names: Sequence[str]) -> Loaded:
    pairs = {folder: _pairs(folder, mask_names, expected) for folder in _objects(root, expected)}
    notes = layout.passed_over("masks without a photo", [mask for _, alone in pairs.values() for mask in alone])
    without = [
        folder
        for folder in layout.subfolders(root)
        if root not in pairs and folder not in pairs and layout.photos(folder)
    ]
    notes += layout.passed_over("folders of pictures without masks", without)
    episodes, spent = [], []
    for folder, (samples, _) in pairs.items():
        references, tests = layout.choose_references(samples, shots, _stem(reference, samples))
        name = folder.resolve().name
        if tests:
            episodes.append(Episode(data_set, name, references, tests, layout.words(name)))
        else:
            spent.append(name)
    if not episodes:
        raise UsageError(f"{root} has no photos to find the objects in: each object has its references alone.")
    notes += layout.passed_over("objects with references alone", spent)
    first = "the first by name" if reference == "auto" else reference
    return Loaded(
        data_set,
        tuple(episodes),
        f"{counted(len(episodes), 'object')}, {layout.shots_in_words(shots)} each "
        f"({first}), every other photo on its own; IoU per photo, then the mean over photos",
        {"reference": reference, "shots": shots},
        tuple(notes),
    )


def _stem(reference: str, samples: Sequence[Sample]) -> str:
    """`reference` without the suffix, if it was given with it."""
    return next((each.photo.stem for each in samples if each.photo.name == reference), reference)


def _objects(root: Path, expected: str) -> list[Path]:
    """The folders of one object each: `root` itself, or folders in it."""
    if _is_object(root):
        return [root]
    found = [folder for folder in layout.subfolders(root) if _is_object(folder)]
    if not found:
        raise layout.wrong_layout(root, expected)
    return found


def _is_object(folder: Path) -> bool:
    return _inner(folder, _PHOTOS) is not None or any(
        _of_mask(picture) is not None for picture in layout.photos(folder)
    )


def _inner(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _of_mask(picture: Path) -> str | None:
    """The name of the photo whose mask this is, by its ending, or None."""
    stem = picture.stem
    return next((stem[: -len(end)] for end in _ENDINGS if stem.endswith(end) and len(stem) > len(end)), None)


def _by_ending(masks: Sequence[Path]) -> dict[str, Path]:
    """Masks by the name of their photo, of those that are called NAME_mask."""
    return {name: mask for mask in masks if (name := _of_mask(mask)) is not None}


def _pairs(folder: Path, mask_names: Sequence[str], expected: str) -> tuple[list[Sample], list[Path]]:
    """The photos of an object with their masks, and masks without a photo."""
    inner = _inner(folder, _PHOTOS)
    if inner is None:
        everything = layout.photos(folder)
        pictures = [picture for picture in everything if _of_mask(picture) is None]
        by_name = _by_ending(everything)
        looked_for = f"{folder}/NAME_mask.png"
    else:
        place = _inner(folder, mask_names)
        if place is None:
            raise UsageError(f"{folder} has photos but no masks: looked for {expected}.")
        pictures = layout.photos(inner)
        by_name = _by_ending(layout.photos(place)) | {mask.stem: mask for mask in layout.photos(place)}
        looked_for = f"{place}/NAME.png"
    if not pictures:
        raise UsageError(f"{inner or folder} has no photos; looked for {expected}.")
    name = folder.resolve().name
    samples = []
    for photo in pictures:
        mask = by_name.get(photo.stem)
        if mask is None:
            raise UsageError(f"{photo} has no mask: looked for {looked_for.replace('NAME', photo.stem)}.")
        samples.append(Sample(f"{name}/{photo.stem}", photo, MaskFile(mask, orientation=_check_size(photo, mask))))
    used = {each.truth.path for each in samples if isinstance(each.truth, MaskFile)}
    alone = [mask for mask in dict.fromkeys(by_name.values()) if mask not in used]
    return samples, alone


def _check_size(photo: Path, mask: Path) -> int:
    """The photo's EXIF orientation; the mask must have its size, as stored or upright.

    Raises:
        UsageError: it has another.
    """
    shown, orientation = _size(photo, "photo")
    drawn, _ = _size(mask, "mask")
    if drawn != shown and not (orientation in _SIDEWAYS and drawn == shown[::-1]):
        raise UsageError(
            f"{mask} is {drawn[0]} x {drawn[1]} pixels, its photo {shown[0]} x {shown[1]}; "
            "draw the mask on the photo as it is."
        )
    return orientation


def _size(path: Path, what: str) -> tuple[tuple[int, int], int]:
    """(Width, height) as every viewer shows the picture, and its EXIF orientation; of most files the head is read."""
    try:
        with Image.open(path) as picture:
            size, orientation = picture.size, exif_orientation(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        whole = open_picture(path, what=what)  # says in a sentence what is wrong, or reads what Pillow alone does not
        size, orientation = whole.size, exif_orientation(whole)
    return (size[::-1] if orientation in _SIDEWAYS else size), orientation
