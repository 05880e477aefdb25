"""The modes side by side: official, paper and persam, PerSAM and PerSAM-F, and how their masks differ step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from persam.benchmark.methods.base import Prediction, SharedPhoto
from persam.benchmark.methods.ours import PersamMethod, prediction_of
from persam.benchmark.reporting.protocols import Figure
from persam.benchmark.reporting.tables import percent
from persam.benchmark.suites.suite import Findings, Trial, headline
from persam.concept import Concept
from persam.instance import Instance
from persam.method.segment import LOOK_BACK, MEAN
from persam.method.settings import PRESETS, Settings
from persam.metrics import bootstrap_mean, iou
from persam.models.base import PromptableModel
from persam.reports.tables import Table

MODES = tuple(PRESETS)
FORMS = ("PerSAM", "PerSAM-F")
AGAINST = "official"  # the mode that the masks of the others are compared with
STEPS = ("step 1", "step 2", "step 3", "final")


def compare_modes(trial: Trial) -> Findings:
    """Every mode, tuned and not, on every photo of a trial, and how far the masks are from mode official's."""
    agreement = StepAgreement()
    order = sorted(MODES, key=lambda mode: mode != AGAINST)
    methods = [ModeMethod(mode, form, agreement=agreement, **trial.shared) for mode in order for form in FORMS]
    found = trial.run(methods, solver=trial.solver)
    sets = list(next(iter(found.summaries.values())).by_data_set)
    sets = sets if len(sets) > 1 else []  # of one data set it would be the column before once more
    rows = {
        each.name: {"mode": each.mode, "form": each.form, "iou_with_official": agreement.numbers(each.name)}
        for each in methods
    }
    accuracy = [
        (
            name,
            found.score(name, "miou"),
            found.score(name, "iou"),
            *(f"{100 * each.by_data_set[data_set]:.1f}" for data_set in sets),
            found.score(name, "located"),
        )
        for name, each in found.summaries.items()
    ]
    steps = [
        (name, *(percent(mean) for mean in means.values()))
        for name in found.summaries
        if (means := agreement.means(name)) is not None
    ]
    columns = ("mode", "mIoU", "IoU per image", *(f"on {data_set}" for data_set in sets), "located")
    tables = [Table(f"Modes: {headline(found.about)}", columns, tuple(accuracy))]
    if steps:
        title = f"IoU with the mask of mode {AGAINST} after each step, in percent, mean over photos [95 % over photos]"
        tables.append(Table(title, ("mode", *STEPS), tuple(steps)))
    notes = [f"{', '.join(f'on {name}' for name in sets)}: IoU per image there."] if sets else []
    return found.findings("modes", rows, tables, notes)


@dataclass
class StepAgreement:
    """IoU of two modes' masks on the same photo, after each step.

    Attributes:
        ious: by method, one tuple for every photo: after steps 1, 2, 3, and of the final masks.
    """

    ious: dict[str, list[tuple[float, ...]]] = field(default_factory=dict)

    def note(self, method: str, masks: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> None:
        """Compare one photo's masks, (H, W) bool, step by step."""
        compared = tuple(iou(mask, other) for mask, other in zip(masks, others, strict=True))
        self.ious.setdefault(method, []).append(compared)

    def means(self, method: str) -> dict[str, Figure] | None:
        """By step: mean over photos and its interval; None if there is no photo."""
        if method not in self.ious:
            return None
        columns = np.array(self.ious[method]).T  # (steps, photos)
        drawn = {step: bootstrap_mean(column) for step, column in zip(STEPS, columns, strict=True)}
        return {step: Figure(mean.mean, over_images=(mean.low, mean.high)) for step, mean in drawn.items()}

    def numbers(self, method: str) -> dict[str, Any] | None:
        """`means` as JSON values, with the number of photos."""
        means = self.means(method)
        return means and {
            step: {"iou": mean.value, "iou_interval": mean.over_images, "photos": len(self.ious[method])}
            for step, mean in means.items()
        }


class ModeMethod(PersamMethod):
    """A mode that also tells how its masks differ from those of mode `AGAINST`, which has to run before it.

    Args:
        mode: whose preset.
        form: PerSAM or PerSAM-F.
        agreement: where to tell it.
        options: as of `PersamMethod`.
    """

    def __init__(self, mode: str, form: str, model: PromptableModel, agreement: StepAgreement, **options: Any) -> None:
        super().__init__(f"{mode} {form}", model, Settings.of(mode), tuned=form == "PerSAM-F", **options)
        self.mode, self.form, self.agreement = mode, form, agreement

    def find(self, photo: SharedPhoto, learned: Concept) -> Prediction:
        """See `Method.find`."""
        found = self.persam.segment(self.encode(photo), learned, explain=True)
        assert found.trace is not None
        masks = [*masks_after_steps(found.trace), found.assumed_mask]
        key = (AGAINST, self.form)
        if self.mode == AGAINST:
            photo.kept[key] = masks
        elif key in photo.kept:  # it is not where official could not learn the reference
            self.agreement.note(self.name, masks, photo.kept[key])
        return prediction_of(found, learned)


def masks_after_steps(trace: Instance, steps: int = 3) -> list[np.ndarray]:
    """The mask that counts after each decoder pass, (H, W) bool each: a dropped pass leaves the one before.

    A way that ended early keeps its last mask. The choice among all passes at the end, or their mean, is no pass.
    """
    masks = trace.masks()
    passes = [number for number, step in enumerate(trace.steps) if step.name not in (LOOK_BACK, MEAN)]
    counting = []
    for end in range(1, steps + 1):
        kept = [number for number in passes[:end] if not trace.steps[number].dropped]
        counting.append(masks[kept[-1] if kept else passes[0]])
    return counting
