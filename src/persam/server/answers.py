"""Segmentations as the service answers with them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from persam.instance import Masked
from persam.outlines import exact_outlines
from persam.reports.pictures import mask_file
from persam.segmentation import Segmentation
from persam.server.schemas import FoundConcept, FoundObject, PhotoAnswer, Rle

MaskForm = Literal["rle", "png", "polygons", "none"]


def result_of(photo: str, found: Sequence[Segmentation], masks: MaskForm) -> PhotoAnswer:
    """What was found in a photo, with its masks in the form that was asked for."""
    height, width = found[0].mask.shape
    concepts = [
        FoundConcept(
            concept=one.concept,
            present=one.present,
            verdict=one.verdict,
            instances=[FoundObject(**_figures(each, masks)) for each in one.instances],
            **_figures(one, masks if one.found else "none"),
        )
        for one in found
    ]
    return PhotoAnswer(photo=photo, width=width, height=height, found=concepts)


def _figures(one: Masked, masks: MaskForm) -> dict[str, Any]:
    numbers = {"score": one.score, "similarity": one.similarity, "predicted_iou": one.predicted_iou}
    rounded = {name: None if value is None else round(float(value), 6) for name, value in numbers.items()}
    return rounded | {"box": one.box, "area": round(one.area, 6), "mask": _mask(one, masks)}


def _mask(one: Masked, form: MaskForm) -> Any:
    if form == "rle":
        return Rle(**one.rle())
    if form == "png":
        return base64.b64encode(mask_file(one.mask)).decode()
    return None if form == "none" else outlines_of(one.mask)


def outlines_of(mask: np.ndarray) -> list[list[list[list[int]]]]:
    """Polygons of a mask, (H, W) bool: for each part its outer ring and those of its holes, of [x, y] each."""
    return [[ring.tolist() for ring in part] for part in exact_outlines(mask)]
