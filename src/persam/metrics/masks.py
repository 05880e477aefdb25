"""What a metric accepts as a mask, checked in one place, and which prediction belongs to which truth.

Pairs are made by name, never by position, so that a missing prediction shifts nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class ArrayLike(Protocol):
    """A NumPy array, or what turns into one: a torch tensor on any device, a Pillow image."""

    def __array__(self, *args: Any, **options: Any) -> np.ndarray: ...


def as_mask(values: ArrayLike, what: str = "mask") -> np.ndarray:
    """Check a mask, and give it as (H, W) bool.

    Args:
        values: (H, W), NumPy or torch: bool; or numbers of any type that are all 0 or 1, or all 0 or 255.
        what: the word for it in error sentences.

    Raises:
        ValueError: It has another number of dimensions or no pixel, or holds other values: a probability, a label map
            and a mask with soft edges can each be cut in several ways, and the caller must say in which.

    >>> as_mask(np.array([[0, 255]], np.uint8))
    array([[False,  True]])
    >>> as_mask(np.array([[0.2, 0.9]]))
    Traceback (most recent call last):
    ValueError: The mask holds values other than 0 and 1 (or 0 and 255); cut it into object and background first.
    """
    detach = getattr(values, "detach", None)  # a torch tensor; torch itself is not needed here
    mask = np.asarray(values if detach is None else detach().cpu())
    if mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"The {what} has the shape {mask.shape}; give (H, W) with at least one pixel.")
    if mask.dtype == np.bool_:
        return mask
    found = mask != 0
    # The first value that is not 0 settles whether it is a 0/1 or a 0/255 mask; all others must agree.
    top = mask.flat[int(found.argmax())]
    if top not in (0, 1, 255) or (found & (mask != top)).any():
        raise ValueError(
            f"The {what} holds values other than 0 and 1 (or 0 and 255); cut it into object and background first."
        )
    return found


def as_masks(
    prediction: ArrayLike | None, target: ArrayLike, ignore: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Check a prediction, its truth and the pixels that do not count, each as `as_mask` does: (H, W) bool.

    A prediction of None is a missing one and counts as empty.

    Raises:
        ValueError: Their sizes differ, or `as_mask` refuses one.

    >>> as_masks(None, np.array([[True, False]]))
    (array([[False, False]]), array([[ True, False]]), None)
    """
    target = as_mask(target, "target")
    prediction = np.zeros_like(target) if prediction is None else as_mask(prediction, "prediction")
    ignore = None if ignore is None else as_mask(ignore, "ignore mask")
    for other, what in ((prediction, "prediction"), (ignore, "ignore mask")):
        if other is not None and other.shape != target.shape:
            raise ValueError(
                f"Masks of different sizes: the {what} has {other.shape[0]} rows and {other.shape[1]} columns, the "
                f"target {target.shape[0]} and {target.shape[1]}; they must agree, as no metric resizes a mask."
            )
    return prediction, target, ignore


@dataclass(frozen=True)
class Pairing:
    """Truths with their predictions.

    Attributes:
        pairs: (truth, prediction), in the order of the truths; None where there is no prediction. Metrics take a
            prediction of None as an empty mask.
        missing: the truths without a prediction.
        unexpected: the predictions without a truth, which count nowhere.

    >>> Pairing(pairs=(("mug/01", None),), missing=("mug/01",), unexpected=()).missing
    ('mug/01',)
    """

    pairs: tuple[tuple[str, str | None], ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


def pair_names(truths: Iterable[str], predictions: Iterable[str], key: Callable[[str], str] | None = None) -> Pairing:
    """Pair truths with predictions of the same name.

    Args:
        truths: names such as ``mug/01``.
        predictions: names likewise, in any order.
        key: what of a name must agree, such as ``lambda name: name.rsplit(".", 1)[0]``; default: all of it.

    Raises:
        ValueError: Two truths, or two predictions, have one name: which belongs to which cannot be told.

    >>> pairing = pair_names(["mug/01", "mug/02", "mug/03"], ["mug/03", "mug/01", "cat/01"])
    >>> pairing.pairs
    (('mug/01', 'mug/01'), ('mug/02', None), ('mug/03', 'mug/03'))
    >>> pairing.missing, pairing.unexpected
    (('mug/02',), ('cat/01',))
    """
    wanted, given = _by_key(truths, key, "truths"), _by_key(predictions, key, "predictions")
    return Pairing(
        tuple((name, given.get(which)) for which, name in wanted.items()),
        tuple(name for which, name in wanted.items() if which not in given),
        tuple(name for which, name in given.items() if which not in wanted),
    )


def _by_key(names: Iterable[str], key: Callable[[str], str] | None, what: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        which = key(name) if key else name
        if which in found:
            raise ValueError(f"Two {what} are called {which}: {found[which]} and {name}; keep one of them.")
        found[which] = name
    return found
