"""How alike is alike enough, as far as the confidence map alone can tell: the reference itself says."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import TypedDict

from torch import Tensor

from persam.method.learn import Learned, cells_beside
from persam.method.prior import confidence_cells

# Measured with the bundled model on views made of its validation photos: 85 % of the objects that are there pass, and
# 22 % of views of something else.
NEAR = 0.75
# Of any encoder: shares of a reference's cells, not similarities; see `threshold_between`. Chosen on 38 photos of 10
# objects with features of seven kinds and levels: 83 to 87 % of the answers are right (with `NEAR`, 50 to 85 %).
LEAST, MOST = 0.25, 0.9
BUT_THE_MOST_ALIKE = 0.98


def threshold_of(learned: Learned, *, tuned: bool = False) -> float:
    """Lowest similarity at which the object of a reference counts as present, of the encoder that `NEAR` was measured
    with: a share of the reference's own."""
    return NEAR * float(_similarity(learned, tuned)[learned.cells].max())


def calibrated_threshold(learned: Learned, *, tuned: bool = False) -> tuple[float, float]:
    """Lowest similarity at which the object of a reference counts as present, and the reference's own, of any encoder.

    The paper uses one number (0.45, DINOv2, mean of cosines), which cannot fit every encoder: all of one's cosines may
    lie above 0.9, all of another's below 0.3. Here the reference itself tells, see `threshold_between`.
    """
    similarity, frame = _similarity(learned, tuned), (learned.image.other or learned.image).frame
    object_values = similarity[learned.cells]
    beside = similarity[cells_beside(frame, frame.cover(learned.mask), learned.cells)]
    return threshold_between(object_values, beside), float(object_values.max())


class Levels(TypedDict):
    """Fields of a concept, which says what they are."""

    threshold: float
    own_similarity: float | None


def levels_of(material: Sequence[Learned], *, calibrated: bool, tuned: bool = False) -> Levels:
    """A concept's `threshold` and `own_similarity`, means of its references'; without calibration the first alone."""
    if not calibrated:
        return {"threshold": mean(threshold_of(each, tuned=tuned) for each in material), "own_similarity": None}
    levels = [calibrated_threshold(each, tuned=tuned) for each in material]
    return {"threshold": mean(low for low, _ in levels), "own_similarity": mean(own for _, own in levels)}


def threshold_between(object_values: Tensor, beside: Tensor) -> float:
    """Half way from the similarity of a reference's background to that of its object; what the encoder's level and
    spread are makes no difference.

    In another photo the peak has to be more alike than the background, but for its most alike cells, which show the
    object's rim or another of its kind; and not less than a quarter of the object's own cells, for a background may be
    blank; and need not be more than nearly all of them, for a background may be full of the like.

    Args:
        object_values: similarity of the object's cells, (n,), at least one. Each is a part of what it is compared with,
            so it is taken as the others alone would have it.
        beside: of the background's, (m,); none: the object's own have to do.
    """
    count = len(object_values)
    if count > 1:
        object_values = (count * object_values - 1) / (count - 1)  # exact for the mean of cosines
    elif not len(beside):
        return NEAR * float(object_values)
    least, most = (float(object_values.quantile(share)) for share in (LEAST, MOST))
    if not len(beside):
        return least
    middle = (float(object_values.max()) + float(beside.quantile(BUT_THE_MOST_ALIKE))) / 2
    return middle if count == 1 else min(max(middle, least), most)


def _similarity(learned: Learned, tuned: bool) -> Tensor:
    """Of every cell of a reference to what was learned from it, (rows, columns)."""
    return confidence_cells((learned.image.other or learned.image).features, [learned.target], tuned)
