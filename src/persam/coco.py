"""Results as one COCO JSON, which pycocotools and every annotation tool load."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from persam.files import write_bytes
from persam.journal import json_line

DESCRIPTION = "Segmented by persam"


def write_coco(path: str | Path, lines: Sequence[dict[str, Any]]) -> None:
    """Write lines of ``results.jsonl`` as COCO's instances format, whole or not at all.

    Raises:
        PersamError: The file cannot be written.
    """
    write_bytes(path, json_line(coco_of(lines)))


def coco_of(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Lines of ``results.jsonl`` as COCO has them: an annotation per found thing, masks as compressed run-length codes.

    Photos are named from their common folder on, which is ``info.photos``: annotation tools ask for the folder, and
    look for the names in it.
    """
    home = _common_folder([line["image"] for line in lines])
    images: dict[str, dict[str, Any]] = {}
    categories: dict[str, dict[str, Any]] = {}
    annotations: list[dict[str, Any]] = []
    for line in lines:
        size = {"width": line["width"], "height": line["height"]}
        image = images.setdefault(
            line["image"], {"id": len(images) + 1, "file_name": _below(home, line["image"]), **size}
        )
        category = categories.setdefault(
            line["concept"], {"id": len(categories) + 1, "name": line["concept"], "supercategory": "object"}
        )
        for one in line["instances"]:
            if one["box"] is not None:
                about = {"id": len(annotations) + 1, "image_id": image["id"], "category_id": category["id"]}
                annotations.append(about | _shape(one) | {"iscrowd": 0, "score": one["score"]})
    return {
        "info": {"description": DESCRIPTION, "photos": home},
        "licenses": [],
        "images": list(images.values()),
        "categories": list(categories.values()),
        "annotations": annotations,
    }


def _shape(one: dict[str, Any]) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    x0, y0, x1, y1 = one["box"]
    area = int(coco_mask.area({"size": one["rle"]["size"], "counts": one["rle"]["counts"].encode()}))
    return {"segmentation": one["rle"], "area": area, "bbox": [x0, y0, x1 - x0, y1 - y0]}


def _common_folder(images: Sequence[str]) -> str:
    """The deepest folder that has all photos; empty where there is none, as on two disks of Windows."""
    try:
        return os.path.commonpath([str(PurePath(image).parent) for image in images])
    except ValueError:
        return ""


def _below(home: str, image: str) -> str:
    return PurePath(image).relative_to(home).as_posix() if home else image
