"""Every metric once more, straight from its definition: loops over pixels, pairs and thresholds, slow and plain.

Nothing here calls persam; the tests compare the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Place = tuple[int, int]


def places(mask: np.ndarray, ignore: np.ndarray | None = None) -> set[Place]:
    """Where a mask is 1 and not ignored."""
    height, width = mask.shape
    return {
        (y, x) for y in range(height) for x in range(width) if mask[y, x] and not (ignore is not None and ignore[y, x])
    }


def iou_of(one: set[Place], other: set[Place]) -> float:
    return len(one & other) / len(one | other) if one | other else 1.0


def iou(prediction: np.ndarray, target: np.ndarray, ignore: np.ndarray | None = None) -> float:
    return iou_of(places(prediction, ignore), places(target, ignore))


def accuracy(prediction: np.ndarray, target: np.ndarray, ignore: np.ndarray | None = None) -> float:
    right = everything = 0
    for y in range(target.shape[0]):
        for x in range(target.shape[1]):
            if ignore is None or not ignore[y, x]:
                everything += 1
                right += bool(prediction[y, x]) == bool(target[y, x])
    return right / everything if everything else 1.0


def boundary(mask: np.ndarray, dilation: float) -> set[Place]:
    """Pixels of the mask that see something else than the mask within `d` steps of a chess king."""
    height, width = mask.shape
    d = max(1, round(dilation * math.sqrt(height**2 + width**2)))
    object_ = places(mask)
    return {
        (y, x)
        for y, x in object_
        if any((y + dy, x + dx) not in object_ for dy in range(-d, d + 1) for dx in range(-d, d + 1))
    }


def boundary_iou(
    prediction: np.ndarray, target: np.ndarray, ignore: np.ndarray | None = None, dilation: float = 0.02
) -> float:
    ignored = set() if ignore is None else places(ignore)
    return iou_of(boundary(prediction, dilation) - ignored, boundary(target, dilation) - ignored)


def contour(mask: np.ndarray) -> set[Place]:
    height, width = mask.shape
    found = set()
    for y in range(height):
        for x in range(width):
            if y < height - 1 and x < width - 1:
                neighbours = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            elif x < width - 1:
                neighbours = [(y, x + 1)]
            elif y < height - 1:
                neighbours = [(y + 1, x)]
            else:
                neighbours = []
            if any(mask[place] != mask[y, x] for place in neighbours):
                found.add((y, x))
    return found


def boundary_f(
    prediction: np.ndarray, target: np.ndarray, ignore: np.ndarray | None = None, bound: float = 0.008
) -> float:
    if ignore is not None:
        prediction, target = np.where(ignore, False, prediction), np.where(ignore, False, target)
    radius = bound if bound >= 1 else math.ceil(bound * math.sqrt(target.shape[0] ** 2 + target.shape[1] ** 2))
    found, true = contour(prediction), contour(target)
    if not found and not true:
        precision, recall = 1.0, 1.0
    elif not found:
        precision, recall = 1.0, 0.0
    elif not true:
        precision, recall = 0.0, 1.0
    else:
        precision = sum(any(math.dist(a, b) <= radius for b in true) for a in found) / len(found)
        recall = sum(any(math.dist(a, b) <= radius for b in found) for a in true) / len(true)
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def pooled_iou(images: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray | None]], tiny: float = 1e-10) -> float:
    intersection = union = 0
    for prediction, target, ignore in images:
        one, other = places(prediction, ignore), places(target, ignore)
        intersection += len(one & other)
        union += len(one | other)
    return intersection / (union + tiny)


def pooled_accuracy(images: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray | None]]) -> float:
    intersection = sum(len(places(p, i) & places(t, i)) for p, t, i in images)
    return intersection / (sum(len(places(t, i)) for _, t, i in images) + 1e-10)


def fb_iou(images: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray | None]]) -> float:
    """Over all images of all classes; a side without a pixel counts 1."""
    sides = []
    for side in (True, False):
        intersection = union = 0
        for prediction, target, ignore in images:
            one, other = places(prediction == side, ignore), places(target == side, ignore)
            intersection += len(one & other)
            union += len(one | other)
        sides.append(intersection / union if union else 1.0)
    return sum(sides) / 2


def sequence_statistics(values: Sequence[float]) -> tuple[float, float, float]:
    count = len(values)
    # Half-way cases go to the even number, after a hair is added.
    ids = [round(1 + (count - 1) * i / 4 + 1e-10) - 1 for i in range(5)]
    first, last = values[ids[0] : ids[1] + 1], values[ids[3] : ids[4] + 1]
    recall = sum(1 for value in values if value > 0.5) / count
    return sum(values) / count, recall, sum(first) / len(first) - sum(last) / len(last)


def auroc(scores: Sequence[float], present: Sequence[bool]) -> float:
    """Over all pairs of a photo with the object and one without."""
    points = [
        1.0 if yes > no else 0.5 if yes == no else 0.0
        for yes, is_there in zip(scores, present, strict=True)
        if is_there
        for no, is_here in zip(scores, present, strict=True)
        if not is_here
    ]
    return sum(points) / len(points)


def rates(scores: Sequence[float], present: Sequence[bool], threshold: float) -> tuple[float, float]:
    """TPR and FPR of one threshold."""
    yes = [score >= threshold for score, there in zip(scores, present, strict=True) if there]
    no = [score >= threshold for score, there in zip(scores, present, strict=True) if not there]
    return sum(yes) / len(yes), sum(no) / len(no)


def fpr_at_tpr(scores: Sequence[float], present: Sequence[bool], tpr: float) -> float:
    curve = [rates(scores, present, threshold) for threshold in scores]
    return min(alarm for hit, alarm in curve if hit >= tpr)


def photo_weights(present: Sequence[bool], share: float | None) -> list[float]:
    """Each photo alike, or those with the object `share` altogether and those without the rest."""
    if share is None:
        return [1 / len(present)] * len(present)
    of_each = {True: share / sum(present), False: (1 - share) / (len(present) - sum(present))}
    return [of_each[there] for there in present]


def brier(scores: Sequence[float], present: Sequence[bool], share: float | None) -> float:
    rows = zip(photo_weights(present, share), scores, present, strict=True)
    return sum(weight * (score - int(there)) ** 2 for weight, score, there in rows)


def reliability(
    scores: Sequence[float], present: Sequence[bool], share: float | None, bins: int
) -> list[tuple[int, float, float, float]]:
    """Photos, weight, mean score and share with the object of every bin that has photos."""
    found = []
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        rows = [
            (weight, score, there)
            for weight, score, there in zip(photo_weights(present, share), scores, present, strict=True)
            if low <= score < high or (score == 1 and number == bins - 1)
        ]
        if rows:
            weight = sum(row[0] for row in rows)
            mean = sum(row[0] * row[1] for row in rows) / weight
            found.append((len(rows), weight, mean, sum(row[0] for row in rows if row[2]) / weight))
    return found
