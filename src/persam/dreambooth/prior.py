"""Prior preservation: pictures of other things of the subject's kind, lest a model take all of them for the subject."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from persam.dreambooth.families import Words
from persam.dreambooth.options import difference, seed_of
from persam.dreambooth.pipelines import enough_memory
from persam.dreambooth.subjects import Subject
from persam.errors import UsageError
from persam.files import safe_name, write_text
from persam.finding import find_images
from persam.images import IMAGE_SUFFIXES
from persam.reports.pictures import write_image

_OURS = re.compile(r"class_\d{4}\.png")
FOLDER = "class_images"
RECORD = "class_images.json"  # beside the pictures that persam drew: model, prompt, resolution and seed


def class_folder(home: Path, subject: Subject) -> Path:
    """Where the pictures of a subject's kind lie: subjects of one kind share them."""
    return home / safe_name(subject.class_word)


def check_class_images(home: Path, subjects: Sequence[Subject]) -> None:
    """See that pictures that somebody brings lie where they are looked for.

    Raises:
        UsageError: they lie in `home` itself; nobody knows of which kind they are.
    """
    for subject in subjects:
        folder = class_folder(home, subject)
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file, where a folder of class images should be.")
        if not folder.exists() and home.is_dir() and _pictures(home):
            raise UsageError(f"{home} holds pictures, but not by their kind; move those of {folder.name} to {folder}.")


def _pictures(folder: Path) -> list[Path]:
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    return [file for file in there if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")]


def class_pictures(
    folder: Path, count: int, how: Mapping[str, Any], *, redraw: bool
) -> tuple[list[Path], list[tuple[int, Path]]]:
    """The pictures of a kind: those that are there, and those to be made, with their numbers.

    A folder of somebody's own pictures, which has no RECORD, is taken as it is.

    Args:
        folder: of the kind.
        count: how many are wanted.
        how: they are drawn: the model, the prompt, the resolution and the seed.
        redraw: those that are there and were drawn otherwise.

    Raises:
        UsageError: there are such, and they are to stay.
    """
    pictures, before = _pictures(folder), _recorded(folder)
    if pictures and (before is None or any(not _OURS.fullmatch(file.name) for file in pictures)):
        return [file for file in find_images([folder]) if isinstance(file, Path)][:count], []
    is_other = bool(pictures) and before != how
    if is_other and not redraw:
        raise UsageError(
            f"The class images in {folder} were drawn otherwise: {difference(before or {}, how)}; choose another "
            "--class-images, or remove them."
        )
    wanted = [folder / f"class_{number:04}.png" for number in range(count)]
    return wanted, [(number, file) for number, file in enumerate(wanted) if is_other or not file.is_file()]


def _recorded(folder: Path) -> dict[str, Any] | None:
    """How the pictures of a folder were drawn; empty: the record is damaged; None: somebody else made them."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@torch.no_grad()
def make_class_pictures(
    pipeline: Any,
    words: Words,
    missing: list[tuple[int, Path]],
    how: Mapping[str, Any],
    device: torch.device,
    progress: Callable[..., Any],
) -> None:
    """Let the base model draw a kind. A picture that is made stays: a run that was stopped goes on with the next.

    Args:
        pipeline: the base, not trained yet; it is on the device afterwards.
        words: the class prompt, from `persam.dreambooth.families.encode_words`.
        missing: numbers and files of the pictures to make, in one folder.
        how: as of `class_pictures`; each picture has a seed of its own from the run's.
        device: that draws.
        progress: called after each.

    Raises:
        PersamError: the memory does not suffice, or a file cannot be written.
    """
    folder, side = missing[0][1].parent, how["resolution"]
    if _recorded(folder) != how:
        for file in _pictures(folder):  # before the record is written: a kill in between mixes nothing
            file.unlink()
        write_text(folder / RECORD, json.dumps(how, indent=1) + "\n")
    with enough_memory(
        f"There is too little memory to draw class images at {side} pixels",
        "take a lower resolution, bring your own with --class-images DIR, or leave them out with --prior 0",
    ):
        pipeline.to(device)
        encoded = {name: tensor.to(device) for name, tensor in words.items()}
        for number, file in missing:
            generator = torch.Generator().manual_seed(seed_of(how["seed"], "class image", number))
            found = pipeline(**encoded, height=side, width=side, generator=generator, output_type="np")
            write_image(file, np.round(found.images[0] * 255).astype(np.uint8))
            progress()


def content_of_pictures(pictures: Sequence[Path]) -> str:
    """A hash of the class images that are trained on."""
    digests = (hashlib.sha256(file.read_bytes()).digest() for file in pictures)
    return hashlib.sha256(b"".join(digests)).hexdigest()
