"""Overlap of two masks: IoU and pixel accuracy, and their means.

Three means, which differ: over images (each photo counts the same, however large its object), over objects as PerSeg
pools them, over classes as HSNet does. Each mean is a function, and a class that is updated image by image.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from persam.metrics.base import ImageMean, LazyMetric, place_of, unique_names
from persam.metrics.counts import Counts, Measured, count, counted, pooled, pooled_groups
from persam.metrics.masks import ArrayLike

if TYPE_CHECKING:
    from torch import Tensor

_TINY = 1e-10  # PerSeg's guard against 0/0: an object without a pixel in either mask has IoU 0


def iou(prediction: ArrayLike | None, target: ArrayLike, ignore: ArrayLike | None = None) -> float:
    """IoU of two masks, |A and B| / |A or B| in [0, 1]; 1 if both are empty.

    Takes and raises what `count` does.

    >>> import numpy as np
    >>> iou(np.array([[True, True]]), np.array([[True, False]]))
    0.5
    """
    return count(prediction, target, ignore).iou


def pixel_accuracy(prediction: ArrayLike | None, target: ArrayLike, ignore: ArrayLike | None = None) -> float:
    """Share of pixels on which two masks agree, in [0, 1]; 1 if every pixel is ignored.

    Takes and raises what `count` does. Not the "mAcc" of PerSeg, for which see `mean_object_accuracy`.

    >>> import numpy as np
    >>> pixel_accuracy(np.array([[1, 1, 0, 0]]), np.array([[1, 0, 0, 0]]))
    0.75
    """
    return count(prediction, target, ignore).accuracy


# ---- the mean over images


def mean_image_iou(images: Iterable[Measured]) -> float:
    """Mean over images of their IoU, in [0, 1]; an image with nothing to find and nothing found has IoU 1.

    Args:
        images: `Counts`, or (prediction, target) or (prediction, target, ignore) as `count` takes them.

    Raises:
        ValueError: There is no image, or `count` refuses one.

    >>> mean_image_iou([Counts(1, 2, 1, 9), Counts(0, 0, 0, 9)])
    0.75
    """
    ious = [counted(image).iou for image in images]
    if not ious:
        raise ValueError("There is no image to take a mean over; give at least one.")
    return _mean(ious)


class ImageIoU(ImageMean):
    """Mean over images of their IoU, as `mean_image_iou`: each photo counts the same.

    `update` takes one image: prediction (None if missing), target and, if some pixels do not count, ignore. Each is
    (H, W), NumPy or torch; bool, or all 0 and 1, or all 0 and 255. It raises ValueError if sizes differ or one is no
    mask.

    >>> import torch
    >>> metric = ImageIoU()
    >>> metric.update(torch.tensor([[1, 1]]), torch.tensor([[1, 0]]))
    >>> metric.update(torch.tensor([[0, 0]]), torch.tensor([[0, 0]]))
    >>> metric.compute()
    tensor(0.7500, dtype=torch.float64)
    """

    _figure = staticmethod(iou)


class PixelAccuracy(ImageMean):
    """Mean over images of the share of pixels on which the masks agree, `pixel_accuracy`.

    `update` takes one image as `ImageIoU` does.

    >>> import numpy as np
    >>> metric = PixelAccuracy()
    >>> metric.update(np.array([[1, 1, 0, 0]]), np.array([[1, 0, 0, 0]]))
    >>> metric.compute()
    tensor(0.7500, dtype=torch.float64)
    """

    _figure = staticmethod(pixel_accuracy)


class GroupedCounts(LazyMetric):
    """Counts of pixels, summed over the images of each group (object, class); a subclass says which figure.

    The names are given at the start, so that every process has them in one order.

    Args:
        names: of the groups, each once.
        what: is counted; metrics that count the same may share their state in a MetricCollection.
        options: of `torchmetrics.Metric`.

    Raises:
        ValueError: There is no name, or one comes twice.

    >>> import numpy as np
    >>> counts = GroupedCounts(["mug", "cat"])
    >>> counts.update(np.ones((2, 2)), np.ones((2, 2)), "cat")
    >>> counts.totals()["cat"]
    Counts(intersection=4, predicted=4, target=4, total=4)
    """

    def __init__(self, names: Sequence[str], what: str = "masks", **options: Any) -> None:
        import torch

        super().__init__(**options)
        self.names = unique_names(names, "object or class")
        self._counts = f"counts of {what}"  # (groups, 4): intersection, predicted, target, total
        self.add_state(self._counts, torch.zeros((len(self.names), 4), dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self, prediction: ArrayLike | None, target: ArrayLike, name: str, ignore: ArrayLike | None = None
    ) -> None:
        """Add one image of the group `name`; the other arguments and errors are those of `count`.

        Raises:
            ValueError: The name was not given at the start, or `count` refuses a mask.
        """
        place, found = place_of(name, self.names), self._count(prediction, target, ignore)
        state = getattr(self, self._counts)
        state[place] += state.new_tensor([found.intersection, found.predicted, found.target, found.total])

    def compute(self) -> Tensor:
        """Give the metric, () float64; a group without an image counts as one in which nothing was found."""
        return self._number(self._figure({name: [counts] for name, counts in self.totals().items()}))

    def totals(self) -> dict[str, Counts]:
        """Sum of the counts of every group, of this process's images."""
        rows = getattr(self, self._counts).tolist()
        return {name: Counts(*row) for name, row in zip(self.names, rows, strict=True)}

    def _count(self, prediction: ArrayLike | None, target: ArrayLike, ignore: ArrayLike | None) -> Counts:
        return count(prediction, target, ignore)


# ---- pooled over an object's photos, then the mean over objects: the published PerSeg protocol
# In each object, large masks weigh more than small ones; over objects, all weigh the same. Source: the published
# evaluation of PerSAM (arXiv 2305.03048), tables 1 and 3.


def pooled_iou(counts: Counts) -> float:
    """ΣI / (ΣU + 1e-10) of one object's counts, summed over its images; 0 if both masks are empty in all of them.

    >>> round(pooled_iou(Counts(1, 2, 1, 9) + Counts(0, 0, 2, 9)), 6)
    0.25
    """
    return counts.intersection / (counts.union + _TINY)


def pooled_accuracy(counts: Counts) -> float:
    """ΣI / (Σtarget + 1e-10) of one object's counts: the share of the true pixels that were found.

    >>> round(pooled_accuracy(Counts(1, 9, 2, 9)), 6)
    0.5
    """
    return counts.intersection / (counts.target + _TINY)


def object_iou(groups: Mapping[str, Iterable[Measured]]) -> dict[str, float]:
    """IoU of every object, pooled over its images: ΣI / (ΣU + 1e-10), in [0, 1].

    Args:
        groups: images by object: `Counts`, or (prediction, target[, ignore]) as `count` takes them. A missing
            prediction belongs in, as None: an object that was never predicted has IoU 0 and is counted.

    Raises:
        ValueError: There is no object, or `count` refuses a mask.

    >>> ious = object_iou({"mug": [Counts(1, 2, 1, 9), Counts(2, 2, 3, 9)], "cat": [Counts(0, 0, 4, 9)]})
    >>> {name: round(value, 6) for name, value in ious.items()}
    {'mug': 0.6, 'cat': 0.0}
    """
    return {name: pooled_iou(counts) for name, counts in pooled_groups(groups).items()}


def object_accuracy(groups: Mapping[str, Iterable[Measured]]) -> dict[str, float]:
    """Share of every object's true pixels that were found: ΣI / (Σtarget + 1e-10), in [0, 1].

    Takes and raises what `object_iou` does.

    >>> accuracies = object_accuracy({"mug": [Counts(1, 2, 1, 9), Counts(2, 2, 3, 9)]})
    >>> round(accuracies["mug"], 6)
    0.75
    """
    return {name: pooled_accuracy(counts) for name, counts in pooled_groups(groups).items()}


def mean_object_iou(groups: Mapping[str, Iterable[Measured]]) -> float:
    """PerSeg's mIoU: the mean over objects of `object_iou`, whose arguments and errors these are.

    >>> round(mean_object_iou({"mug": [Counts(3, 4, 4, 9)], "cat": [Counts(0, 0, 4, 9)]}), 6)
    0.3
    """
    return _mean(object_iou(groups).values())


def mean_object_accuracy(groups: Mapping[str, Iterable[Measured]]) -> float:
    """PerSeg's mAcc: the mean over objects of `object_accuracy`, whose arguments and errors these are.

    >>> round(mean_object_accuracy({"mug": [Counts(3, 4, 4, 9)], "cat": [Counts(0, 0, 4, 9)]}), 6)
    0.375
    """
    return _mean(object_accuracy(groups).values())


class ObjectIoU(GroupedCounts):
    """PerSeg's mIoU: IoU pooled over each object's images, then the mean over objects, as `mean_object_iou`.

    Made with the names of all objects: one of which no image came has IoU 0 and counts. `update` takes one image as
    `ImageIoU` does, with the object's name behind the target.

    >>> import numpy as np
    >>> metric = ObjectIoU(["mug", "cat"])
    >>> metric.update(np.array([[1, 1]]), np.array([[1, 0]]), "mug")
    >>> metric.update(None, np.array([[1, 0]]), "cat")
    >>> metric.compute()
    tensor(0.2500, dtype=torch.float64)
    """

    _figure = staticmethod(mean_object_iou)


class ObjectAccuracy(GroupedCounts):
    """PerSeg's mAcc: the share of each object's true pixels that was found, then the mean, as `mean_object_accuracy`.

    Made and updated as `ObjectIoU`.

    >>> import numpy as np
    >>> metric = ObjectAccuracy(["mug"])
    >>> metric.update(np.array([[1, 0]]), np.array([[1, 1]]), "mug")
    >>> metric.compute()
    tensor(0.5000, dtype=torch.float64)
    """

    _figure = staticmethod(mean_object_accuracy)


# ---- pooled over a class's episodes: the few-shot protocol of HSNet (arXiv 2104.01538), used on COCO-20i, FSS-1000,
# LVIS-92i and the part sets. Intersections and unions of foreground and of background are summed per class.


def class_iou(groups: Mapping[str, Iterable[Measured]]) -> dict[str, float]:
    """IoU of every class, ΣI / max(ΣU, 1) over all its episodes, in [0, 1].

    Args:
        groups: images by class: `Counts`, or (prediction, target[, ignore]) as `count` takes them.

    Raises:
        ValueError: There is no class, or `count` refuses a mask.

    >>> class_iou({"dog": [Counts(1, 2, 1, 9), Counts(2, 2, 3, 9)], "owl": [Counts(0, 0, 4, 9)]})
    {'dog': 0.6, 'owl': 0.0}
    """
    return {name: counts.intersection / max(counts.union, 1) for name, counts in pooled_groups(groups).items()}


def mean_class_iou(groups: Mapping[str, Iterable[Measured]]) -> float:
    """The mIoU of HSNet's protocol: the mean over classes of `class_iou`, whose arguments and errors these are.

    It differs from PerSeg's `mean_object_iou` in the guard against 0/0 only, and in what a group is.

    >>> mean_class_iou({"dog": [Counts(3, 4, 4, 9)], "owl": [Counts(0, 0, 4, 9)]})
    0.3
    """
    return _mean(class_iou(groups).values())


def fb_iou(groups: Mapping[str, Iterable[Measured]]) -> float:
    """FB-IoU: the mean of the foreground's and the background's IoU, each pooled over all episodes of all classes.

    (Σ I_fg / Σ U_fg + Σ I_bg / Σ U_bg) / 2, as HSNet's logger has it: classes are summed, not averaged. A side that
    has no pixel in any mask, 0/0 there, counts 1: there was nothing to find and nothing found.

    Takes and raises what `class_iou` does.

    >>> fb_iou({"dog": [Counts(1, 2, 1, 4)], "owl": [Counts(1, 1, 2, 4)]})
    0.5833333333333333
    """
    counts = pooled(pooled_groups(groups).values())
    return (counts.iou + counts.background.iou) / 2


class ClassIoU(GroupedCounts):
    """HSNet's mIoU: IoU pooled over each class's episodes, then the mean over classes, as `mean_class_iou`.

    Made with the names of all classes. `update` takes one image as `ImageIoU` does, with the class behind the target.

    >>> import numpy as np
    >>> metric = ClassIoU(["dog", "owl"])
    >>> metric.update(np.array([[1, 1]]), np.array([[1, 0]]), "dog")
    >>> metric.update(np.array([[1, 0]]), np.array([[1, 0]]), "owl")
    >>> metric.compute()
    tensor(0.7500, dtype=torch.float64)
    """

    _figure = staticmethod(mean_class_iou)


class ForegroundBackgroundIoU(GroupedCounts):
    """FB-IoU: mean of the foreground's and the background's IoU, each pooled over all episodes, as `fb_iou`.

    Made and updated as `ClassIoU`.

    >>> import numpy as np
    >>> metric = ForegroundBackgroundIoU(["dog"])
    >>> metric.update(np.array([[1, 1, 0, 0]]), np.array([[1, 0, 0, 0]]), "dog")
    >>> metric.compute()
    tensor(0.5833, dtype=torch.float64)
    """

    _figure = staticmethod(fb_iou)


def _mean(values: Collection[float]) -> float:
    return sum(values) / len(values)
