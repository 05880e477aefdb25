"""What a further concept costs in a photo that is encoded, beside one by itself.

Every call gets a photo that the decoder has not seen, so that it pays for what is then kept of it for all concepts. One
by itself is also timed as the network's own classes decode, which keep nothing (`models/fast_decoder.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from persam.benchmark.suites.timing import Spread, fresh, in_turns
from persam.concept import Concept
from persam.models.fast_decoder import as_published
from persam.persam import PerSAM
from persam.reports.tables import Table

COUNTS = (2, 4, 8)  # concepts of a photo


def time_concepts(
    persam: PerSAM, image: np.ndarray, concept: Concept, rounds: int
) -> tuple[list[Mapping[str, Any]], Table]:
    """Time one concept of an encoded photo, and several, in turns.

    Args:
        persam: the model.
        image: (H, W, 3) uint8 RGB.
        concept: of which there are several: how long one takes does not depend on the others.
        rounds: that count; one more warms up.

    Returns:
        Rows, JSON values, one for each number of concepts, and the same as a table.
    """
    encoding = persam.encode(image)

    def segment(count: int) -> None:
        persam.segment(fresh(encoding), [concept] * count)

    def as_its_classes() -> None:
        with as_published():
            segment(1)

    jobs: dict[str, Callable[[], None]] = {"published": as_its_classes}
    jobs |= {str(count): partial(segment, count) for count in (1, *COUNTS)}
    seconds = in_turns(jobs, rounds, persam.model, lambda: None)
    published, alone = seconds["published"], seconds["1"]
    name = persam.model.name
    rows: list[Mapping[str, Any]] = [
        {"concepts": 1, "model": name, "decoder": "published", "seconds": asdict(Spread.of(published))},
        {"concepts": 1, "model": name, "seconds": asdict(Spread.of(alone))},
    ]
    table: list[tuple[str, ...]] = [
        ("1, decoder as published", Spread.of(published).text(3), "–", "–", "–"),
        ("1", Spread.of(alone).text(3), "–", "–", "–"),
    ]
    for count in COUNTS:
        further = [(many - one) / (count - 1) for one, many in zip(alone, seconds[str(count)], strict=True)]
        figures = {
            "seconds": Spread.of(seconds[str(count)]),
            "further": Spread.of(further),
            "of_one": Spread.of([each / one for each, one in zip(further, alone, strict=True)]),
            "of_one_published": Spread.of([each / one for each, one in zip(further, published, strict=True)]),
        }
        rows.append({"concepts": count, "model": name} | {key: asdict(each) for key, each in figures.items()})
        table.append(
            (str(count), *(each.text(digits) for each, digits in zip(figures.values(), (3, 3, 2, 2), strict=True)))
        )
    columns = ("concepts", "seconds", "a further one", "of one by itself", "of one, decoder as published")
    return rows, Table(f"Concepts of one encoded photo: {name}", columns, tuple(table))
