"""Every metric class with updates for it and the function that must give the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from persam import metrics

NAMES = ("mug", "cat", "toy")


@dataclass(frozen=True)
class Case:
    """A class, the function that it follows, and what one update is made of."""

    make: Callable[[], Any]
    expected: Callable[[list[tuple[Any, ...]]], Any]
    rows: str  # "images", "named", "frames" or "photos"
    all_in_first: bool = False


def groups(rows: list[tuple[Any, ...]]) -> dict[str, list[tuple[Any, ...]]]:
    """Named rows (prediction, target, name, ignore) as the functions take them; a name without a row stays."""
    return {name: [(p, t, i) for p, t, which, i in rows if which == name] for name in NAMES}


def mean(function: Callable[..., float], **options: Any) -> Callable[[list[tuple[Any, ...]]], float]:
    return lambda rows: sum(function(*row, **options) for row in rows) / len(rows)


def boundary_groups(rows: list[tuple[Any, ...]]) -> dict[str, list[metrics.Counts]]:
    counted = groups(rows)
    return {name: [metrics.boundary_counts(*image) for image in images] for name, images in counted.items()}


def davis(rows: list[tuple[Any, ...]]) -> dict[str, float]:
    j: dict[str, list[float]] = {}
    f: dict[str, list[float]] = {}
    for prediction, target, name, _, ignore in sorted(rows, key=lambda row: row[3]):
        j.setdefault(name, []).append(metrics.iou(prediction, target, ignore))
        f.setdefault(name, []).append(metrics.boundary_f(prediction, target, ignore))
    score = metrics.davis_score(j, f)
    return {
        "j_and_f": score.j_and_f,
        **{f"j_{key}": value for key, value in vars(score.j).items()},
        **{f"f_{key}": value for key, value in vars(score.f).items()},
    }


def photos(function: Callable[..., float]) -> Callable[[list[tuple[Any, ...]]], float]:
    return lambda rows: function(
        np.concatenate([np.atleast_1d(scores) for scores, _ in rows]),
        np.concatenate([np.atleast_1d(present) for _, present in rows]),
    )


CASES = {
    "ImageIoU": Case(metrics.ImageIoU, metrics.mean_image_iou, "images"),
    "PixelAccuracy": Case(metrics.PixelAccuracy, mean(metrics.pixel_accuracy), "images"),
    "BoundaryIoU": Case(metrics.BoundaryIoU, mean(metrics.boundary_iou), "images"),
    "BoundaryIoU, wide": Case(lambda: metrics.BoundaryIoU(0.2), mean(metrics.boundary_iou, dilation=0.2), "images"),
    "BoundaryF": Case(metrics.BoundaryF, mean(metrics.boundary_f), "images"),
    "BoundaryF, 2 pixels": Case(lambda: metrics.BoundaryF(2), mean(metrics.boundary_f, bound=2), "images"),
    "ObjectIoU": Case(lambda: metrics.ObjectIoU(NAMES), lambda rows: metrics.mean_object_iou(groups(rows)), "named"),
    "ObjectAccuracy": Case(
        lambda: metrics.ObjectAccuracy(NAMES), lambda rows: metrics.mean_object_accuracy(groups(rows)), "named"
    ),
    "ObjectBoundaryIoU": Case(
        lambda: metrics.ObjectBoundaryIoU(NAMES),
        lambda rows: metrics.mean_object_iou(boundary_groups(rows)),
        "named",
    ),
    "ClassIoU": Case(lambda: metrics.ClassIoU(NAMES), lambda rows: metrics.mean_class_iou(groups(rows)), "named"),
    "ForegroundBackgroundIoU": Case(
        lambda: metrics.ForegroundBackgroundIoU(NAMES), lambda rows: metrics.fb_iou(groups(rows)), "named"
    ),
    "DavisJF": Case(lambda: metrics.DavisJF(NAMES), davis, "frames"),
    "DavisJF, all in one": Case(lambda: metrics.DavisJF(NAMES), davis, "frames", all_in_first=True),
    "PresenceAUROC": Case(metrics.PresenceAUROC, photos(metrics.auroc), "photos"),
    "PresenceAUROC, all in one": Case(metrics.PresenceAUROC, photos(metrics.auroc), "photos", all_in_first=True),
    "PresenceFPR": Case(metrics.PresenceFPR, photos(metrics.fpr_at_tpr), "photos"),
    "PresenceThreshold": Case(
        metrics.PresenceThreshold, photos(lambda *data: metrics.best_threshold(*data).value), "photos"
    ),
    "PresenceBrier": Case(metrics.PresenceBrier, photos(metrics.brier_score), "photos"),
    "PresenceBrier, 1 in 4": Case(
        lambda: metrics.PresenceBrier(0.25), photos(lambda *data: metrics.brier_score(*data, share=0.25)), "photos"
    ),
    "PresenceCalibrationError": Case(
        lambda: metrics.PresenceCalibrationError(0.25, 5),
        photos(lambda *data: metrics.calibration_error(*data, share=0.25, bins=5)),
        "photos",
    ),
}


def updates(case: Case, seed: int = 0, count: int = 9) -> list[tuple[Any, ...]]:
    """Arguments of `update`: images of several sizes, some of them torch, some ignored, some predictions missing."""
    rng = np.random.default_rng(seed)
    if case.rows == "photos":
        return [(rng.random(size).round(1), np.arange(size) % 2 == 0) for size in (4, 1, 1, 7)] + [(0.3, True)]
    rows = []
    for number in range(count):
        shape = tuple(rng.integers(1, 16, 2))
        prediction, target, ignore = (rng.random(shape) < share for share in (0.5, 0.6, 0.2))
        if number % 3 == 1:
            prediction, target = torch.from_numpy(prediction), torch.from_numpy(target).to(torch.uint8) * 255
        prediction = None if number == 4 else prediction
        ignore = ignore if number % 2 else None
        name = NAMES[number % 2]  # the last name gets no image
        rows.append(
            {
                "images": (prediction, target, ignore),
                "named": (prediction, target, name, ignore),
                "frames": (prediction, target, name, count - number, ignore),  # last frames first
            }[case.rows]
        )
    return rows


def numbers(computed: Any) -> Any:
    """What `compute` gave, as plain numbers."""
    if isinstance(computed, dict):
        return {name: value.item() for name, value in computed.items()}
    return computed.item()
