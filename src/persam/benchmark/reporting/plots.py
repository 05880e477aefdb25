"""Plots of a run: IoU of every object, and scores of photos with and without the object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from persam.benchmark.records import Record, grouped
from persam.files import write_bytes
from persam.reports.figures import COLOURS, new_figure, png_of

PRESENT, ABSENT = COLOURS[0], COLOURS[1]
_MOST_OBJECTS = 60  # more than that have no room for their names


def plot_ious(records: Sequence[Record], title: str, path: Path) -> None:
    """Every photo's IoU: by object where there is room for their names, else as a histogram; one colour a method."""
    methods = grouped(records, "method")
    few = len({record.object for record in records}) <= _MOST_OBJECTS
    figure = _strips(methods) if few else _histogram(methods)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    write_bytes(path, png_of(figure))


def _strips(methods: Mapping[str, Sequence[Record]]) -> Any:
    first = grouped(next(iter(methods.values())), "object")
    names = sorted(first, key=lambda name: float(np.mean([record.iou for record in first[name]])))
    figure, axes = new_figure(8, 1.6 + len(names) * (0.16 + 0.16 * len(methods)))
    axis = axes[0, 0]
    for number, (method, records) in enumerate(methods.items()):
        groups = grouped(records, "object")
        colour = COLOURS[number % len(COLOURS)]
        offset = (len(methods) - 1) / 2 - number
        for row, name in enumerate(names):
            values = [record.iou for record in groups.get(name, [])]
            if not values:
                continue
            height = row + 0.7 * offset / len(methods)
            axis.scatter(values, [height] * len(values), s=14, color=colour, alpha=0.35, linewidths=0)
            label = method if row == 0 else None
            axis.plot([np.mean(values)], [height], "|", color=colour, markersize=12, markeredgewidth=2.5, label=label)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(-0.6, len(names) - 0.4)
    axis.set_xlim(-0.02, 1.02)
    axis.set_xlabel("IoU: each dot a photo, each bar the mean of an object", fontsize=9)
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    figure.legend(loc="outside upper right", ncols=min(4, len(methods)), frameon=False, fontsize=9)
    return figure


def _histogram(methods: Mapping[str, Sequence[Record]]) -> Any:
    figure, axes = new_figure(8, 3.6)
    axis = axes[0, 0]
    for number, (method, records) in enumerate(methods.items()):
        values = [record.iou for record in records]
        colour = COLOURS[number % len(COLOURS)]
        axis.hist(values, bins=np.linspace(0, 1, 41), histtype="step", linewidth=1.6, color=colour, label=method)
    axis.set_xlabel("IoU of a photo", fontsize=9)
    axis.set_ylabel("photos", fontsize=9)
    figure.legend(loc="outside upper right", ncols=min(4, len(methods)), frameon=False, fontsize=9)
    return figure
