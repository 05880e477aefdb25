"""The picture of the robustness suite: mIoU over the area of the reference mask, and for each form of the reference."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from persam.benchmark.reporting.plots import COLOURS, new_figure

Row = Mapping[str, Any]


def draw_robustness(rows: Sequence[Row], title: str) -> bytes:
    """Draw it.

    Args:
        rows: of the suite, each with ``form``, ``reference``, ``size``, ``miou`` and ``miou_interval`` (None where one
            object gives no interval).
        title: what was measured.

    Returns:
        A PNG.

    Raises:
        PersamError: matplotlib is not installed.
    """
    figure, axes = new_figure(11, 4.5, columns=2)
    left, right = axes[0]
    forms = list(dict.fromkeys(row["form"] for row in rows))
    others = list(dict.fromkeys(row["reference"] for row in rows if row["size"] in {None, 1.0}))
    for number, form in enumerate(forms):
        colour = COLOURS[number]
        sized = sorted((row for row in rows if row["form"] == form and row["size"]), key=lambda row: float(row["size"]))
        sizes = [row["size"] for row in sized]
        left.plot(sizes, [row["miou"] for row in sized], marker="o", color=colour, label=form)
        low, high = zip(*map(_ends, sized), strict=True)
        left.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)
        found = {row["reference"]: row for row in rows if row["form"] == form}
        for place, name in enumerate(others):
            row = found[name]
            below, above = (abs(row["miou"] - end) for end in _ends(row))
            right.errorbar(
                place + 0.16 * (number - (len(forms) - 1) / 2),
                row["miou"],
                yerr=[[below], [above]],
                fmt="o",
                color=colour,
                capsize=3,
            )
    left.set_xscale("log", base=2)
    ticks = sorted({row["size"] for row in rows if row["size"]})
    left.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    left.minorticks_off()
    left.axvline(1, color="0.6", linewidth=1, linestyle=":")
    left.set_xlabel("area of the reference mask / area of the true mask")
    left.set_ylabel("mIoU [95 % bootstrap]")
    left.set_ylim(0, 1)
    left.grid(alpha=0.3)
    left.legend(loc="lower left")
    right.set_ylim(0, 1)
    right.set_xticks(range(len(others)), others)
    right.set_xlim(-0.6, len(others) - 0.4)
    right.set_xlabel("form of the reference")
    right.grid(alpha=0.3)
    figure.suptitle(title, fontsize=10)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _ends(row: Row) -> tuple[float, float]:
    low, high = row["miou_interval"] or (row["miou"], row["miou"])
    return low, high
