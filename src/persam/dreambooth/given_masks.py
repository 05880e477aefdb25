"""Which of the masks that there are already is of which photo: in a folder of results, and in any other."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from persam.errors import UsageError
from persam.files import expanded, stays_below
from persam.finding import RESULTS
from persam.images import IMAGE_SUFFIXES
from persam.journal import lines_in
from persam.places import Place, is_remote

MASKS = "masks"


def photo_key(photo: str | Place) -> str:
    """What a photo is known by, however it was named: its real path, or its address."""
    return str(photo) if not str(photo) or is_remote(photo) else os.path.realpath(str(photo))


def masks_for(photos: Sequence[Place], folder: str | Path) -> dict[str, Path]:
    """Find the mask of each photo.

    Beside results of persam, ``results.jsonl`` tells which photo a mask is of. All other masks are named like their
    photos, ``mug.png`` for ``mug.jpg``.

    Args:
        photos: in any folders.
        folder: of masks, or of results with those of one concept.

    Returns:
        By `photo_key`; a photo without a mask is left out.

    Raises:
        UsageError: there are no masks, or of several concepts; two photos or two masks have one name, so that it is
            not known which belong together.
    """
    home = _home_of(folder)
    files = sorted(file for file in home.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise UsageError(f"There are no masks in {home}; they are pictures that are named like their photos.")
    told = _told_in_results(home)
    by_key = {photo_key(image): home / mask for mask, image in told.items() if (home / mask).is_file()}
    found = {photo_key(photo): by_key[photo_key(photo)] for photo in photos if photo_key(photo) in by_key}
    masks: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        if file not in found.values():
            masks[PurePosixPath(told.get(file.name, file.name)).stem].append(file)
    others: dict[str, list[Place]] = defaultdict(list)
    for photo in photos:
        if photo_key(photo) not in found:
            others[Path(photo.name).stem].append(photo)
    for stem, alike in others.items():
        if stem in masks:
            found[photo_key(alike[0])] = _only_one(alike, masks[stem])
    return found


def _home_of(folder: str | Path) -> Path:
    home = expanded(folder)
    if not home.is_dir():
        raise UsageError(f"There is no folder {home}; give the folder of the masks.")
    if (home / MASKS).is_dir():
        inner = sorted(each for each in (home / MASKS).iterdir() if each.is_dir())
        if len(inner) > 1:
            raise UsageError(f"{home} has masks of several concepts; give one folder, such as {inner[0]}.")
        home = inner[0] if inner else home / MASKS
    return home


def _told_in_results(home: Path) -> dict[str, str]:
    """The photo of each mask in a folder ``masks/CONCEPT`` of results, by the mask's name; of other folders none."""
    real = Path(os.path.realpath(home))
    try:
        lines = lines_in((real.parent.parent / RESULTS).read_bytes())
    except OSError:
        return {}
    told = [(_mask_of(line), line.get("image")) for line in lines]
    return {
        PurePosixPath(mask).name: image
        for mask, image in told
        if isinstance(image, str) and PurePosixPath(mask).parent == PurePosixPath(MASKS, real.name)
    }


def _mask_of(line: dict[str, Any]) -> str:
    files = line.get("files")
    mask = files.get("mask") if isinstance(files, dict) else None
    return mask if isinstance(mask, str) and stays_below(mask) else ""


def _only_one(photos: Sequence[Place], masks: Sequence[Path]) -> Path:
    """The mask of photos of one name, if there is one of each.

    Raises:
        UsageError: there are more.
    """
    if len(photos) > 1:
        raise UsageError(
            f"{photos[0]} and {photos[1]} have one name, and {masks[0]} may be of either; prepare their folders one "
            "after the other, each with a folder of its masks."
        )
    masks = [mask for mask in masks if photo_key(mask) != photo_key(photos[0])] or masks  # they may lie together
    if len(masks) > 1:
        raise UsageError(f"{masks[0]} and {masks[1]} may both be of {photos[0]}; move the wrong one away.")
    return masks[0]
