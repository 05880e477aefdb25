"""Is the object there at all: a threshold on the confidence, found on the references themselves.

The paper uses one number (0.45, DINOv2, mean of cosines), which cannot fit every encoder. persam asks how confident the
map becomes on the reference itself; in another photo the object has to come near to that.
"""

from __future__ import annotations

from torch import Tensor

# Measured with the bundled model on views made of its validation photos: 90 % of the objects that are there pass, and
# 35 % of views of something else. Photos of PerSeg, FSS-1000 and DAVIS are easier: 99 % and 28 %.
NEAR = 0.75


def threshold_from(confidence: Tensor, target: Tensor) -> float:
    """Lowest confidence at which a concept counts as present.

    Args:
        confidence: map of a reference for its own concept, (rows, columns).
        target: which cells show the object, bool, at least one.
    """
    return NEAR * float(confidence[target].max())
