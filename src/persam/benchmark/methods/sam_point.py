"""Vanilla SAM from the positive point: what the decoder gives where the confidence map is highest, and nothing else.

The first row of the paper's ablation.  One decoder pass on one point, the best of SAM's three masks by predicted IoU;
no negative point, no guidance, no cascade.
"""

from __future__ import annotations

from typing import Any

from persam.benchmark.methods.ours import PersamMethod
from persam.method.settings import Settings
from persam.models.base import FeatureEncoder, PromptableModel

PLAIN = {
    "positive_points": 1,
    "negative_point": False,
    "dense_prior": False,
    "attention": "off",
    "semantic": "off",
    "first_pass": "scales",
    "cascade": False,
    "agreement": 0.0,
    "final_agreement": 0.0,
    "fallback": False,
}


class SamPoint(PersamMethod):
    """Plain SAM at the peak of the confidence map.

    Args:
        name: of the method.
        model: the promptable model.
        mode: how the confidence map is made and where its peak is read.
        encoder: another encoder for the confidence map.
    """

    def __init__(
        self, name: str, model: PromptableModel, mode: str = "persam", encoder: FeatureEncoder | None = None
    ) -> None:
        super().__init__(name, model, Settings.of(mode).but(**PLAIN), encoder=encoder)

    def describe(self) -> dict[str, Any]:
        """See `Method.describe`."""
        return super().describe() | {"method": "SAM, positive point"}
