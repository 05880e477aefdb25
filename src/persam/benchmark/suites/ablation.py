"""What each technique is worth: the paper's build-up in mode official, and a mode with one technique set otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from persam.benchmark.methods.ours import PersamMethod
from persam.benchmark.suites.suite import Findings, Trial, change, headline
from persam.method.settings import Settings
from persam.reports.tables import Table

#: What the paper has for the six rows of the build-up: mIoU in percent on PerSeg, ViT-H.
PUBLISHED = (69.1, 72.5, 83.9, 85.8, 89.3, 95.3)
PUBLISHED_ON = "PerSeg, SAM ViT-H, IoU pooled per object, mean over 40 objects"

# Each technique of a preset, off. Those that a preset does not use give no row.
_OFF: dict[str, dict[str, Any]] = {
    "similarity to the mean alone": {"nearest_cue": False, "background_cue": False, "colour_cue": False},
    "no nearest cells": {"nearest_cue": False},
    "no background cells": {"background_cue": False},
    "no colour": {"colour_cue": False},
    "no evidence of pixels": {"pixel_evidence": False},
    "no refinement at the edges": {"refine": False},
    "no identity": {"identity": False},
    "the highest place alone": {"places": 1},
    "no closer look": {"closer_look": "off"},
    "not drawn again": {"redraw": False},
    "nothing from afar": {"from_afar": False},
    "no negative point": {"negative_point": False},
    "no dense prior": {"dense_prior": False},
    "the cascade instead of point and box": {"prior_box": False},
    "one positive point": {"positive_points": 1},
    "no background subspace": {"background_subspace": 0.0},
    "no attention": {"attention": "off"},
    "no semantic prompt": {"semantic": "off"},
    "first pass with one mask": {"first_pass": "single"},
    "no cascade": {"cascade": False},
    "no final agreement": {"final_agreement": 0.0},
    "no fallback": {"fallback": False},
}
_AS_PUBLISHED: dict[str, dict[str, Any]] = {
    "reference cells as published": {"reference_cells": "published"},
    "target feature as published": {"target": "mean"},
    "map at photo size, as published (no cues, no dense prior)": {"map": "photo"},
    "attention as published": {"attention": "sigmoid"},
}
_ON: dict[str, dict[str, Any]] = {
    "with negative point": {"negative_point": True},
    "with dense prior": {"dense_prior": True},
    "with 8 positive points": {"positive_points": 8},
    "with background subspace": {"background_subspace": 0.005},
    "with guided cascade": {"guided_cascade": True},
    "with agreement in each pass": {"agreement": 0.3},
    "with final agreement": {"final_agreement": 0.15},
}


@dataclass(frozen=True)
class Variant:
    """One row of an ablation.

    Attributes:
        name: what differs, unique within an ablation.
        settings: the switches.
        tuned: PerSAM-F.
        against: name of the row that it is compared with, or None for the first.
        published: the paper's mIoU in percent for this row, or None.
    """

    name: str
    settings: Settings
    tuned: bool = False
    against: str | None = None
    published: float | None = None

    def method(self, **shared: Any) -> PersamMethod:
        """The variant as a method; `shared` is what all variants have: the model, another encoder, the solver."""
        return PersamMethod(self.name, settings=self.settings, tuned=self.tuned, **shared)


def build_up() -> list[Variant]:
    """The paper's build-up, each row compared with the one before; it ends with mode official, PerSAM and PerSAM-F."""
    full = Settings.of("official")
    point = full.but(negative_point=False, cascade=False, attention="off", semantic="off")
    negative = point.but(negative_point=True)
    cascade = negative.but(cascade=True)
    attention = cascade.but(attention=full.attention)
    rows = [
        ("positive point", point, False),
        ("+ negative point", negative, False),
        ("+ cascade", cascade, False),
        ("+ attention", attention, False),
        ("+ semantic prompt", full, False),
        ("+ scale tuning (PerSAM-F)", full, True),
    ]
    names = [None, *(name for name, _, _ in rows)]
    return [
        Variant(name, settings, tuned, before, published)
        for (name, settings, tuned), before, published in zip(rows, names[:-1], PUBLISHED, strict=True)
    ]


def one_changed(mode: str) -> list[Variant]:
    """A mode as it is, and with one technique off, in its published form, or on; each compared with the mode as it is.

    Raises:
        UsageError: no such mode.
    """
    preset = Settings.of(mode)
    whole = f"mode {mode}"
    variants = [Variant(whole, preset)]
    for name, changes in (_OFF | _AS_PUBLISHED | _ON).items():
        changed = preset.but(**changes)
        if changed != preset:
            variants.append(Variant(name, changed, against=whole))
    return [*variants, Variant("with scale tuning (PerSAM-F)", preset, tuned=True, against=whole)]


def ablate(trial: Trial, mode: str = "persam") -> Findings:
    """The paper's build-up beside the paper's numbers, and a mode with one technique set otherwise.

    Args:
        trial: on what and with what.
        mode: of the second table.

    Raises:
        UsageError: no such mode.
    """
    building, changing = build_up(), one_changed(mode)
    variants = [*building, *changing]
    found = trial.run([each.method(**trial.shared) for each in variants], mode=mode, solver=trial.solver)
    tests = {each.name: found.difference(each.name, each.against) for each in variants}
    rows = {
        each.name: {
            "table": "build-up" if each in building else "one changed",
            "tuned": each.tuned,
            "settings": each.settings.to_dict(),
            "against": each.against,
            "change": (test := tests[each.name]) and test._asdict(),
            "published_miou": each.published,
        }
        for each in variants
    }

    def cells(variant: Variant) -> tuple[str, ...]:
        name = variant.name
        return name, found.score(name, "miou"), change(tests[name]), found.score(name, "located")

    columns = ("mIoU", "change of IoU per image", "located")
    official = found.about | {"mode": "official"}
    tables = [
        Table(
            f"Build-up: {headline(official)}; each row against the one before",
            ("technique", *columns, "paper's mIoU", "its change"),
            tuple((*cells(each), *published) for each, published in zip(building, _published_cells(), strict=True)),
        ),
        Table(
            f"One technique set otherwise: {headline(found.about)}; each row against the first",
            ("variant", *columns),
            tuple(cells(each) for each in changing),
        ),
    ]
    notes = [f"The paper's mIoU: {PUBLISHED_ON}."]
    if changing[0].settings.prior_box and trial.persam(mode).fitted is not None:
        notes.append("With point and box there is no cascade: what differs in it alone makes no difference.")
    return found.findings("ablation", rows, tables, notes)


def _published_cells() -> list[tuple[str, str]]:
    """The paper's mIoU, and what each row adds to the one before."""
    steps = ["", *(f"{now - before:+.1f}" for before, now in pairwise(PUBLISHED))]
    return [(f"{value:.1f}", step) for value, step in zip(PUBLISHED, steps, strict=True)]
