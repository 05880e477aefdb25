"""Tiny data sets in the real ones' formats, with the truth kept beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (20, 30)  # (H, W)
Box = tuple[int, int, int, int]  # x0, y0, x1, y1, the last two exclusive


def write_photo(path: Path, seed: int, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_palette(path: Path, labels: np.ndarray) -> None:
    """A palette PNG whose indices are the labels and whose colours say nothing about them (as DAVIS 2017's)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(labels.astype(np.uint8), mode="P")
    colours = np.random.default_rng(0).integers(1, 256, (256, 3), dtype=np.uint8)
    colours[0] = 0
    picture.putpalette(colours.tobytes())
    picture.save(path)


def write_grey(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def box_mask(box: Box, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def polygon(box: Box) -> list[list[int]]:
    x0, y0, x1, y1 = box
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def plain_code(mask: np.ndarray) -> dict[str, Any]:
    """COCO's run-length code, uncompressed: lengths of runs down the columns, zeros first. By definition."""
    counts, value, length = [], 0, 0
    for pixel in mask.T.reshape(-1).astype(int).tolist():
        if pixel != value:
            counts.append(length)
            value, length = pixel, 0
        length += 1
    return {"size": list(mask.shape), "counts": [*counts, length]}


def compressed_code(mask: np.ndarray) -> dict[str, Any]:
    """The same with COCO's text code of the counts: differences to the count two before, 5 bits a character."""
    counts = plain_code(mask)["counts"]
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != -1 if bits & 0x10 else value != 0
            text += chr((bits | 0x20 if more else bits) + 48)
    return {"size": list(mask.shape), "counts": text}


def random_box(rng: np.random.Generator, size: tuple[int, int] = SIZE) -> Box:
    x0, y0 = int(rng.integers(0, size[1] - 8)), int(rng.integers(0, size[0] - 8))
    return x0, y0, x0 + int(rng.integers(4, 8)), y0 + int(rng.integers(4, 8))


def image_entry(identity: int, **names: str) -> dict[str, Any]:
    return {"id": identity, "height": SIZE[0], "width": SIZE[1], **names}


def annotation(identity: int, image: int, category: int, segmentation: Any, box: Box, **more: Any) -> dict[str, Any]:
    x0, y0, x1, y1 = box
    return {
        "id": identity,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        **more,
    }


def write_json(path: Path, images: list[Any], categories: list[Any], annotations: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {"info": {}, "licenses": [], "images": images, "categories": categories, "annotations": annotations}
    path.write_text(json.dumps(found))
