"""Which prediction belongs to which truth: by name, never by position, so that a missing one shifts nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


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
