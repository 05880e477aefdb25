"""The table of the modes: official, paper and persam, PerSAM and PerSAM-F, on the data sets in one folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from persam.benchmark.accuracy import Outcome, interval, measure
from persam.benchmark.episodes import Episode
from persam.method.settings import PRESETS, Settings
from persam.models.base import FeatureEncoder, PromptableModel

MODES = tuple(PRESETS)
PROTOCOL = (
    "one reference per object, every other photo on its own; IoU per photo at its full size, mean over photos; "
    "located: the highest place of the confidence map lies on the object; [..] 95 % bootstrap over photos"
)


def compare_modes(
    model: PromptableModel,
    episodes: Sequence[Episode],
    encoder: FeatureEncoder | None = None,
    solver: str = "direct",
    progress: Callable[[], object] | None = None,
) -> list[Outcome]:
    """Every mode, tuned and not, on every photo."""
    forms = {
        f"{mode} {method}": (Settings.of(mode), method == "PerSAM-F")
        for mode in MODES
        for method in ("PerSAM", "PerSAM-F")
    }
    outcomes = []
    for outcome in measure(model, episodes, forms, encoder, solver):
        outcomes.append(outcome)
        if progress is not None and outcome.form == "official PerSAM":
            progress()
    return outcomes


def summarise(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """One row a form: mean IoU over photos with its interval, over objects, each data set, and share located."""
    rows = []
    for form in dict.fromkeys(outcome.form for outcome in outcomes):
        of_form = [outcome for outcome in outcomes if outcome.form == form]
        iou = np.array([outcome.iou for outcome in of_form])
        located = np.array([float(outcome.on_object) for outcome in of_form])
        rows.append(
            {
                "form": form,
                "photos": len(of_form),
                "miou": float(iou.mean()),
                "miou_interval": interval(iou),
                "miou_over_objects": _mean_of_means(of_form, "object"),
                "located": float(located.mean()),
                "located_interval": interval(located),
                "by_data_set": _means(of_form, "data_set"),
                "by_object": _means(of_form, "object"),
            }
        )
    return rows


def _means(outcomes: Sequence[Outcome], key: str) -> dict[str, float]:
    groups: dict[str, list[float]] = {}
    for outcome in outcomes:
        groups.setdefault(getattr(outcome, key), []).append(outcome.iou)
    return {name: float(np.mean(values)) for name, values in groups.items()}


def _mean_of_means(outcomes: Sequence[Outcome], key: str) -> float:
    return float(np.mean(list(_means(outcomes, key).values())))
