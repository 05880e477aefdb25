"""Prepared folders of drawn photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from tests.conftest import draw_scene

from persam.dreambooth.subjects import Subject, TrainingPhoto, write_prepared


def make_prepared(
    folder: Path, *subjects: tuple[str, str, str], photos: int = 3, captions: bool = True
) -> list[Subject]:
    """A prepared folder, each subject a name, an identifier and a class word; discs on a noisy ground."""
    made = []
    for number, (name, identifier, word) in enumerate(subjects or (("mug", "t@y", "mug"),)):
        taken = []
        for photo in range(photos):
            pixels, mask = draw_scene(40, 56, center=(20 + 5 * photo, 20), radius=12, seed=10 * number + photo)
            image, outline = folder / name / f"{photo}.png", folder / name / f"{photo}_mask.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(image)
            Image.fromarray(mask.astype(np.uint8) * 255).save(outline)
            taken.append(TrainingPhoto(image, outline, f"a photo of {identifier} {word}" if captions else ""))
        made.append(Subject(name, identifier, word, tuple(taken)))
    write_prepared(folder, made)
    return made
