"""Two runs on the same photos: the difference, its interval, and where they differ most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from persam.benchmark.records import Record, grouped
from persam.benchmark.running.run_folder import read_records
from persam.errors import UsageError
from persam.metrics import PairedTest, paired_test

_MOST = 10


@dataclass(frozen=True)
class Comparison:
    """The second run less the first, IoU per image.

    Attributes:
        first, second: name of the method in each.
        means: mean IoU of each, over the photos that both have.
        photos: how many that are.
        over_photos: paired test that draws photos.
        over_objects: that draws objects with all their photos; None if there is one object.
        most_different: query and IoU in each, the largest difference first.
        only_first, only_second: queries that one run has alone.
        changed: queries whose photo or truth differ between the runs.
    """

    first: str
    second: str
    means: tuple[float, float]
    photos: int
    over_photos: PairedTest
    over_objects: PairedTest | None
    most_different: tuple[tuple[str, float, float], ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    changed: tuple[str, ...]


def compare(first: Sequence[Record], second: Sequence[Record]) -> Comparison:
    """Compare one method's records with another's, photo by photo.

    Args:
        first: records of one method.
        second: of another, or of the same in another run.

    Raises:
        UsageError: they have no photo in common.
    """
    left, right = {r.query: r for r in first}, {r.query: r for r in second}
    changed = [name for name in left if name in right and not _same_pixels(left[name], right[name])]
    both = [name for name in left if name in right and name not in set(changed)]
    if not both:
        raise UsageError("The two runs have no photo in common; compare runs on the same data set.")
    ious = {name: (left[name].iou, right[name].iou) for name in both}
    one, other = {name: pair[0] for name, pair in ious.items()}, {name: pair[1] for name, pair in ious.items()}
    objects = {name: left[name].object for name in both}
    ranked = sorted(both, key=lambda name: -abs(ious[name][0] - ious[name][1]))
    return Comparison(
        first=first[0].method,
        second=second[0].method,
        means=(sum(one.values()) / len(one), sum(other.values()) / len(other)),
        photos=len(both),
        over_photos=paired_test(one, other),
        over_objects=paired_test(one, other, objects) if len(set(objects.values())) > 1 else None,
        most_different=tuple((name, *ious[name]) for name in ranked[:_MOST] if ious[name][0] != ious[name][1]),
        only_first=tuple(name for name in left if name not in right),
        only_second=tuple(name for name in right if name not in left),
        changed=tuple(changed),
    )


def _same_pixels(one: Record, other: Record) -> bool:
    """Whether both are about the same photo and truth; where one could not be read there is nothing that differs."""
    return not one.digest or not other.digest or one.digest == other.digest


def pairs_of_methods(first: Sequence[Record], second: Sequence[Record]) -> list[tuple[list[Record], list[Record]]]:
    """Which method of one run is compared with which of the other: those of one name, or the only ones.

    Raises:
        UsageError: neither run has a method that the other has, and one has several.
    """
    left, right = grouped(first, "method"), grouped(second, "method")
    shared = [name for name in left if name in right]
    if shared:
        return [(left[name], right[name]) for name in shared]
    if len(left) == len(right) == 1:
        return [(next(iter(left.values())), next(iter(right.values())))]
    raise UsageError(
        f"The runs share no method: {', '.join(left)} and {', '.join(right)}; name one of each with --methods A,B."
    )


def compare_runs(first: str | Path, second: str | Path, methods: tuple[str, str] | None = None) -> list[Comparison]:
    """Compare two runs that `persam bench --output` made.

    Args:
        first: folder of a run.
        second: folder of another.
        methods: which method of each; by default those of equal names, or the only ones.

    Raises:
        UsageError: a folder holds no run, a method is not in it, or the runs have nothing in common.
    """
    left, right = read_records(first), read_records(second)
    if methods is None:
        return [compare(one, other) for one, other in pairs_of_methods(left, right)]
    chosen = []
    for folder, records, name in ((first, left, methods[0]), (second, right, methods[1])):
        groups = grouped(records, "method")
        if name not in groups:
            raise UsageError(f"The run in {folder} has no method {name}; it has {', '.join(groups)}.")
        chosen.append(groups[name])
    return [compare(*chosen)]
