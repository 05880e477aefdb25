"""What makes a torchmetrics class of a function: the state that is kept, in three kinds, and a late look at PyTorch.

Images have a mean, groups of images have sums of counts (`persam.metrics.overlap.GroupedCounts`), and what must be seen
as a whole is kept row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from persam.errors import PersamError
from persam.metrics.masks import ArrayLike

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor
    from torchmetrics import Metric
else:
    Metric = object  # what it is until `LazyMetric` makes one


class LazyMetric(Metric):
    """A `torchmetrics.Metric` from the moment that it is made, so that its file loads without PyTorch.

    The instance is one of its class and of `torchmetrics.Metric`; the class alone is no subclass of the latter.
    Metrics lie in [0, 1], and higher is better, unless a subclass says otherwise; it names its function as `_figure`.

    Args:
        setting: the function's arguments behind the data.
        options: of `torchmetrics.Metric`.

    Raises:
        PersamError: torchmetrics is not installed.

    >>> LazyMetric.higher_is_better
    True
    """

    is_differentiable = False
    higher_is_better: bool | None = True
    full_state_update = False
    plot_lower_bound: float | None = 0.0
    plot_upper_bound: float | None = 1.0

    _figure: ClassVar[Callable[..., float]]

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Make one, of a class that joins this one and torchmetrics'."""
        plain: type = cls
        return super().__new__(_with_torchmetrics(plain))

    def __init__(self, *setting: float | None, **options: Any) -> None:
        super().__init__(**options)
        self.setting = setting

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the class that can be imported, not as the one that was made of it."""
        return LazyMetric.__new__, (type(self).__bases__[0],), self.__getstate__()

    def _number(self, value: Any) -> Tensor:
        import torch

        return torch.as_tensor(value, dtype=torch.float64, device=self.device).detach()


@cache
def _with_torchmetrics(kind: type) -> type:
    try:
        from torchmetrics import Metric
    except ModuleNotFoundError as error:
        if error.name != "torchmetrics":
            raise
        raise PersamError(
            f"The metric class {kind.__name__} needs torchmetrics; install it with pip install persam[bench]."
        ) from None
    if issubclass(kind, Metric):
        return kind
    return type(kind.__name__, (kind, Metric), {"__module__": kind.__module__, "__doc__": kind.__doc__})


class ImageMean(LazyMetric):
    """Mean over images of a figure of each; a subclass says which, as `_figure`.

    >>> class Area(ImageMean):
    ...     _figure = staticmethod(lambda prediction, target, ignore: prediction.sum())
    >>> area = Area()
    >>> area.update(np.ones((2, 2)), np.ones((2, 2)))
    >>> area.update(np.zeros((2, 2)), np.ones((2, 2)))
    >>> area.compute()
    tensor(2., dtype=torch.float64)
    """

    images: Tensor

    def __init__(self, *setting: float, **options: Any) -> None:
        import torch

        super().__init__(*setting, **options)
        # A MetricCollection takes metrics for one and the same if their states have the same names and, after the first
        # image, the same values. A perfect first image would do that: hence a name of its own.
        self._sum = f"sum of {type(self).__name__} {', '.join(map(str, setting)) or None}"
        self.add_state(self._sum, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: ArrayLike | None, target: ArrayLike, ignore: ArrayLike | None = None) -> None:
        """Add one image; arguments and errors are those of the metric's function."""
        setattr(self, self._sum, getattr(self, self._sum) + self._figure(prediction, target, ignore, *self.setting))
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


class Rows(LazyMetric):
    """Numbers kept row by row, for what is no mean; a subclass says which columns, and makes figures of them.

    >>> class Largest(Rows):
    ...     columns = ("area",)
    ...     nothing = "There is no area."
    ...     def update(self, area):
    ...         self._add(area)
    ...     def compute(self):
    ...         return self._number(self._table()[0].max())
    >>> largest = Largest()
    >>> largest.update(4)
    >>> largest.update([9, 1])
    >>> largest.compute()
    tensor(9., dtype=torch.float64)
    """

    columns: tuple[str, ...]
    nothing: str  # the sentence where there is no row

    def __init__(self, *setting: float | None, **options: Any) -> None:
        import torch

        super().__init__(*setting, **options)
        # A process without a row sends an empty tensor of this type: all states must have it.
        self.set_dtype(torch.float64)
        for column in self.columns:
            self.add_state(column, [], dist_reduce_fx="cat")

    def _add(self, *values: Any) -> None:
        """Add a row, or (N,) of them, one argument a column."""
        for column, value in zip(self.columns, values, strict=True):
            getattr(self, column).append(self._number(value).reshape(-1))

    def _table(self) -> list[np.ndarray]:
        """Every column, (N,) float64 each; ValueError if there is no row."""
        from torchmetrics.utilities import dim_zero_cat

        states = [getattr(self, column) for column in self.columns]
        if not len(states[0]):
            raise ValueError(self.nothing)
        return [dim_zero_cat(state).cpu().numpy() for state in states]


def unique_names(names: Sequence[str], what: str) -> tuple[str, ...]:
    """Names of objects or classes, given at the start, so that every process has them in one order.

    Raises:
        ValueError: There is no name, or one comes twice.

    >>> unique_names(["mug", "cat"], "object")
    ('mug', 'cat')
    """
    given = tuple(names)
    if not given or len(set(given)) < len(given):
        raise ValueError(f"Every {what} needs a name of its own; give at least one, and each once.")
    return given


def place_of(name: str, names: Sequence[str]) -> int:
    """Which of the names it is.

    Raises:
        ValueError: It is none of them.

    >>> place_of("cat", ["mug", "cat"])
    1
    """
    if name not in names:
        raise ValueError(f"{name} is none of the {len(names)} names that this metric was made with.")
    return names.index(name)
