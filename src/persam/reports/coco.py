"""What every COCO file of persam is made of, whether of an album's photos or of a clip's frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from persam.journal import json_line

DESCRIPTION = "Segmented by persam"


def coco_entries(entries: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """Entries of a list, one a line, so that the file need not be in memory."""
    for number, entry in enumerate(entries):
        yield (b"," if number else b"") + json_line(entry)


def coco_categories(names: Iterable[str]) -> Iterator[bytes]:
    """The list of categories: these names, with the numbers 1, 2, ... for their ids."""
    return coco_entries(
        {"id": number, "name": name, "supercategory": "object"} for number, name in enumerate(names, start=1)
    )


def coco_shape(one: dict[str, Any]) -> dict[str, Any]:
    """An annotation's mask, area, box and score.

    Args:
        one: a found thing, as `Instance.to_dict` gives it.
    """
    from pycocotools import mask as coco_mask

    x0, y0, x1, y1 = one["box"]
    area = int(coco_mask.area({"size": one["rle"]["size"], "counts": one["rle"]["counts"].encode()}))
    box = [x0, y0, x1 - x0, y1 - y0]
    return {"segmentation": one["rle"], "area": area, "bbox": box, "iscrowd": 0, "score": one["score"]}
