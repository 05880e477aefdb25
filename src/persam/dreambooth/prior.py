"""Prior preservation: pictures of other things of the subject's kind, lest a model take all of them for the subject."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from persam.dreambooth.families import Words
from persam.dreambooth.pipelines import enough_memory
from persam.dreambooth.subjects import Subject
from persam.errors import UsageError
from persam.files import safe_name
from persam.finding import find_images
from persam.images import IMAGE_SUFFIXES
from persam.reports.pictures import write_image

_OURS = re.compile(r"class_\d{4}\.png")
FOLDER = "class_images"


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


def class_pictures(folder: Path, count: int) -> tuple[list[Path], list[tuple[int, Path]]]:
    """The pictures of a kind: those that are there, and those to be made, with their numbers.

    A folder of somebody's own pictures is taken as it is.
    """
    pictures = _pictures(folder)
    if any(not _OURS.fullmatch(file.name) for file in pictures):
        return [file for file in find_images([folder]) if isinstance(file, Path)][:count], []
    wanted = [folder / f"class_{number:04}.png" for number in range(count)]
    return wanted, [(number, file) for number, file in enumerate(wanted) if not file.is_file()]


@torch.no_grad()
def make_class_pictures(
    pipeline: Any,
    words: Words,
    missing: list[tuple[int, Path]],
    resolution: int,
    seed: int,
    progress: Callable[..., Any],
) -> None:
    """Let the base model draw a kind. A picture that is made stays: a run that was stopped goes on with the next.

    Args:
        pipeline: the base, not trained yet.
        words: the class prompt, from `persam.dreambooth.families.encode_words`.
        missing: numbers and files of the pictures to make.
        resolution: pixels.
        seed: of the run; each picture has one of its own from it.
        progress: called after each.

    Raises:
        PersamError: the memory does not suffice, or a file cannot be written.
    """
    for number, file in missing:
        generator = torch.Generator().manual_seed(seed * 100_003 + number)
        with enough_memory(
            f"There is too little memory to draw class images at {resolution} pixels",
            "take a lower resolution, bring your own with --class-images DIR, or leave them out with --prior 0",
        ):
            made = pipeline(**words, height=resolution, width=resolution, generator=generator, output_type="np").images[
                0
            ]
        write_image(file, np.round(made * 255).astype(np.uint8))
        progress()
