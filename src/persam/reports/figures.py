"""Plots with axes: one look for all of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from persam.errors import PersamError

# After Okabe and Ito: apart from each other for most colour-blind eyes, and in grey print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def check_plots() -> None:
    """See that plots can be drawn, before hours of work and not after them.

    Raises:
        PersamError: matplotlib is not installed.
    """
    new_figure(1, 1)


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, heights: Sequence[float] | None = None
) -> tuple[Any, Any]:
    """A figure and its axes, (rows, columns), without a screen; rows are as high as `heights` say, or all alike.

    Raises:
        PersamError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PersamError("Plots need matplotlib; install it with pip install 'persam[bench]'.") from error
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, height_ratios=heights)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(length=3, labelsize=9)
    return figure, axes


def png_of(figure: Any) -> bytes:
    """A figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
