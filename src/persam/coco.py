"""Segmentations as one COCO JSON, which pycocotools and every annotation tool load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from persam.files import write_text
from persam.segmentation import Segmentation


class CocoFile:
    """Collect segmentations and write them as COCO's instances format with compressed run-length codes."""

    def __init__(self) -> None:
        self._images: dict[str, dict[str, Any]] = {}
        self._categories: dict[str, dict[str, Any]] = {}
        self._annotations: list[dict[str, Any]] = []

    def add(self, found: Segmentation) -> None:
        """Add one image and concept: an annotation per instance, none when nothing was found."""
        height, width = found.mask.shape
        name = found.image or f"image {len(self._images) + 1}"
        image = self._images.setdefault(
            name, {"id": len(self._images) + 1, "file_name": name, "width": width, "height": height}
        )
        category = self._categories.setdefault(
            found.concept, {"id": len(self._categories) + 1, "name": found.concept, "supercategory": "object"}
        )
        for one in found.found_objects:
            if one.box is not None:
                x0, y0, x1, y1 = one.box
                self._annotations.append(
                    {
                        "id": len(self._annotations) + 1,
                        "image_id": image["id"],
                        "category_id": category["id"],
                        "segmentation": one.rle(),
                        "area": int(one.mask.sum()),
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "iscrowd": 0,
                        "score": round(float(one.score), 6),
                    }
                )

    def to_dict(self) -> dict[str, Any]:
        """Return the COCO structure."""
        return {
            "info": {"description": "Segmented by persam"},
            "licenses": [],
            "images": list(self._images.values()),
            "categories": list(self._categories.values()),
            "annotations": self._annotations,
        }

    def write(self, path: str | Path) -> None:
        """Write the file, whole or not at all."""
        write_text(path, json.dumps(self.to_dict(), ensure_ascii=False))
