"""Is the object still found if its reference is a portrait?  The references are cut; the photos stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from persam.benchmark.methods.base import Example, SharedPhoto
from persam.benchmark.methods.ours import PersamMethod
from persam.benchmark.suites.suite import Findings, Trial, change, headline
from persam.concept import Concept
from persam.errors import UsageError
from persam.instance import mask_box
from persam.method.afar import looks_from_afar
from persam.method.settings import Settings
from persam.models.base import PromptableModel
from persam.reports.tables import Table

MARGIN = 0.1  # of the object's box, on every side of it
AS_IT_IS, PORTRAIT = "as it is", "a portrait"


def portrait(photo: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A photo (H, W, 3) and the mask (H, W) of its object, cut around that with a small margin."""
    box = mask_box(mask)
    if box is None:
        return photo, mask
    x0, y0, x1, y1 = box
    right, down = round(MARGIN * (x1 - x0)), round(MARGIN * (y1 - y0))
    window = np.s_[max(0, y0 - down) : y1 + down, max(0, x0 - right) : x1 + right]
    return np.ascontiguousarray(photo[window]), mask[window]


class PortraitMethod(PersamMethod):
    """PerSAM that is shown every reference as a portrait, or as it is.

    Attributes:
        reference: `AS_IT_IS` or `PORTRAIT`.
        form: what differs in the settings, in words.
    """

    def __init__(self, form: str, reference: str, model: PromptableModel, settings: Settings, **options: Any) -> None:
        super().__init__(f"{form}, {reference}", model, settings, **options)
        self.form, self.reference = form, reference

    def describe(self) -> dict[str, Any]:
        """See `Method.describe`."""
        return super().describe() | {"reference": self.reference}

    def learn(self, examples: Sequence[Example], category: str) -> Concept:
        """See `Method.learn`."""
        if self.reference == PORTRAIT:
            cut = [portrait(each.photo.pixels, each.mask) for each in examples]
            examples = [Example(SharedPhoto(photo), mask) for photo, mask in cut]
        return super().learn(examples, category)


def show_portraits(trial: Trial, mode: str = "persam") -> Findings:
    """PerSAM with portraits as references and with the references as they are, learned from afar too and not.

    Args:
        trial: on what and with what.
        mode: of the method.

    Raises:
        UsageError: no such mode, or nothing can be learned from afar in it, or with this model.
    """
    settings = Settings.of(mode)
    if not settings.from_afar:
        raise UsageError(f"Nothing is learned from afar in mode {mode}; use mode persam.")
    if not looks_from_afar(settings, trial.persam(mode).fitted):
        raise UsageError("Nothing is learned from afar with this model, as no numbers were fitted for its encoder.")
    forms = {"as it is seen": settings.but(from_afar=False), "from afar, too": settings}
    methods = [
        PortraitMethod(form, reference, settings=chosen, **trial.shared)
        for reference in (AS_IT_IS, PORTRAIT)
        for form, chosen in forms.items()
    ]
    found = trial.run(methods, mode=mode, solver=None)
    first = next(iter(forms))
    rows: dict[str, dict[str, Any]] = {}
    cells = []
    for each in methods:
        test = found.difference(each.name, None if each.form == first else f"{first}, {each.reference}")
        rows[each.name] = {"form": each.form, "reference": each.reference, "change": test and test._asdict()}
        figures = (found.score(each.name, "miou"), change(test), found.score(each.name, "located"))
        cells.append((each.reference, each.form, *figures))
    table = Table(
        f"Portraits as references: {headline(found.about)}; change of IoU per image",
        ("reference", "learned", "mIoU", "change", "located"),
        tuple(cells),
    )
    notes = [
        f"A portrait is the reference photo cut around its object, with {MARGIN:.0%} of the object's box on every side."
    ]
    return found.findings("portraits", rows, [table], notes)
