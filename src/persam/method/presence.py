"""Is the object there at all: a threshold on the confidence, found on the references themselves.

The paper uses one number (0.45, DINOv2, mean of cosines).  It cannot fit every encoder, so persam asks the references:
how confident is the map on the object, and how confident does it get elsewhere in the same photo?
"""

from __future__ import annotations

from torch import Tensor

BETWEEN = 0.5  # where between the two the threshold lies


def threshold_from(cells: Tensor, target: Tensor, background: Tensor) -> float:
    """Lowest confidence at which the concept counts as present.

    Args:
        cells: confidence map of a reference with its own concept, (rows, columns).
        target: which cells show the object, bool, at least one.
        background: which show the photo without it, bool; may be empty.
    """
    on = float(cells[target].max())
    if not bool(background.any()):
        return on * BETWEEN
    off = float(cells[background].quantile(0.9)) if background.sum() > 1 else float(cells[background].max())
    return off + BETWEEN * (on - off) if on > off else on
