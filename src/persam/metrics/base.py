"""The two kinds of state that metrics of masks keep: a mean over images, and counts of pixels by group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from persam.metrics.functional.masks import ArrayLike
from persam.metrics.functional.overlap import Counts, count


class MaskMetric(Metric):
    """What metrics of masks have in common for torchmetrics: in [0, 1], higher is better, states that add up.

    >>> MaskMetric.higher_is_better
    True
    """

    is_differentiable = False
    higher_is_better: bool | None = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def _number(self, value: float) -> Tensor:
        return torch.tensor(value, dtype=torch.float64, device=self.device)


class ImageMean(MaskMetric):
    """Mean over images of a figure of each; a subclass says which, in `_figure`.

    Args:
        setting: on which the figure depends, if it has one.
        options: of `torchmetrics.Metric`.

    >>> class Area(ImageMean):
    ...     def _figure(self, prediction, target, ignore):
    ...         return count(prediction, target, ignore).predicted
    >>> area = Area()
    >>> area.update(torch.ones(2, 2), torch.ones(2, 2))
    >>> area.update(None, torch.ones(2, 2))
    >>> area.compute()
    tensor(2., dtype=torch.float64)
    """

    images: Tensor

    def __init__(self, setting: float | None = None, **options: Any) -> None:
        super().__init__(**options)
        # A MetricCollection takes metrics for one and the same if their states have the same names and, after the first
        # image, the same values. A perfect first image would do that: hence a name of its own.
        self._sum = f"sum of {type(self).__name__} {setting}"
        self.add_state(self._sum, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: ArrayLike | None, target: ArrayLike, ignore: ArrayLike | None = None) -> None:
        """Add one image; arguments and errors are those of the metric's function."""
        setattr(self, self._sum, getattr(self, self._sum) + self._figure(prediction, target, ignore))
        self.images += 1

    def compute(self) -> Tensor:
        """Give the mean, () float64.

        Raises:
            ValueError: There was no image.
        """
        if not self.images:
            raise ValueError("There is no image to take a mean over; give at least one.")
        total: Tensor = getattr(self, self._sum)
        return total / self.images

    def _figure(self, prediction: ArrayLike | None, target: ArrayLike, ignore: ArrayLike | None) -> float:
        raise NotImplementedError


class GroupedCounts(MaskMetric):
    """Counts of pixels, summed over the images of each group (object, class); a subclass makes a figure of them.

    The names are given at the start, so that every process has them in one order.

    Args:
        names: of the groups, each once.
        what: is counted; metrics that count the same may share their state in a MetricCollection.
        options: of `torchmetrics.Metric`.

    Raises:
        ValueError: There is no name, or one comes twice.

    >>> counts = GroupedCounts(["mug", "cat"])
    >>> counts.update(torch.ones(2, 2), torch.ones(2, 2), "cat")
    >>> counts.totals()["cat"]
    Counts(intersection=4, predicted=4, target=4, total=4)
    """

    def __init__(self, names: Sequence[str], what: str = "masks", **options: Any) -> None:
        super().__init__(**options)
        self.names = tuple(names)
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError("Every object or class needs a name of its own; give at least one, and each once.")
        self._counts = f"counts of {what}"  # (groups, 4): intersection, predicted, target, total
        self.add_state(self._counts, torch.zeros((len(self.names), 4), dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self, prediction: ArrayLike | None, target: ArrayLike, name: str, ignore: ArrayLike | None = None
    ) -> None:
        """Add one image of the group `name`; the other arguments and errors are those of `count`.

        Raises:
            ValueError: The name was not given at the start, or `count` refuses a mask.
        """
        if name not in self.names:
            raise ValueError(f"{name} is none of the {len(self.names)} names that this metric was made with.")
        found = self._count(prediction, target, ignore)
        row = [found.intersection, found.predicted, found.target, found.total]
        getattr(self, self._counts)[self.names.index(name)] += torch.tensor(row, device=self.device)

    def compute(self) -> Tensor:
        """Give the metric, () float64; a group without an image counts as one in which nothing was found."""
        raise NotImplementedError

    def totals(self) -> dict[str, Counts]:
        """Sum of the counts of every group, of this process's images."""
        rows = getattr(self, self._counts).tolist()
        return {name: Counts(*row) for name, row in zip(self.names, rows, strict=True)}

    def _count(self, prediction: ArrayLike | None, target: ArrayLike, ignore: ArrayLike | None) -> Counts:
        return count(prediction, target, ignore)

    def _groups(self) -> dict[str, list[Counts]]:
        """As the functions take them."""
        return {name: [counts] for name, counts in self.totals().items()}
