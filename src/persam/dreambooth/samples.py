"""Pictures that a model draws while it is trained, so that one sees when it has learned enough."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from persam.dreambooth.families import Words
from persam.geometry import shrink
from persam.images import read_image
from persam.reports.pictures import GridStyle, Tile, draw_grid, write_image

SHEET = "samples.png"
_STYLE = GridStyle(cell=256, gap=12, text=44, letters=(15, 13))
_NAME = re.compile(r"step_(\d{6})_(\d\d)\.png")


def draw_samples(
    pipeline: Any, words: Mapping[str, Words], folder: Path, step: int, *, resolution: int, steps: int, seed: int
) -> None:
    """Draw a picture for each prompt, always from the same noise, and the sheet of all so far.

    Args:
        pipeline: as far as it is trained.
        words: prompts and what they are encoded.
        folder: for the pictures.
        step: of the training.
        resolution: pixels.
        steps: of the sampler.
        seed: of the noise.
    """
    for number, encoded in enumerate(words.values()):
        picture = pipeline(
            **encoded,
            height=resolution,
            width=resolution,
            num_inference_steps=steps,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
        ).images[0]
        write_image(folder / f"step_{step:06}_{number:02}.png", np.round(picture * 255).astype(np.uint8))
    write_image(folder / SHEET, _sheet(folder, list(words)))


def _sheet(folder: Path, prompts: list[str]) -> np.ndarray:
    """All samples: a row for each step, a column for each prompt."""
    by_step: dict[int, dict[int, Path]] = {}
    for file in sorted(folder.iterdir()):
        if match := _NAME.fullmatch(file.name):
            by_step.setdefault(int(match[1]), {})[int(match[2])] = file
    rows = []
    for step, files in sorted(by_step.items()):
        shown = {number: file for number, file in sorted(files.items()) if number < len(prompts)}
        rows.append(
            [Tile(shrink(read_image(file), _STYLE.cell), prompts[n], f"step {step}") for n, file in shown.items()]
        )
    return draw_grid("Samples while training", rows, _STYLE)
