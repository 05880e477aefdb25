"""What a check saw: every reference with its mask, its confidence map, and what persam itself finds in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from persam.doctor.diagnosis import CheckedReference, Diagnosis
from persam.drawing import colour_of, draw_overlay
from persam.explain import Explanation, explain
from persam.explain.explain import PANEL
from persam.geometry import fit, fit_mask
from persam.reports.pictures import Tile


def draw_check(diagnosis: Diagnosis) -> np.ndarray:
    """One row for every reference, (H, W, 3) uint8."""
    rows = tuple(_row(each) for each in diagnosis.references)
    return Explanation(f"Check: {diagnosis.verdict}", rows).page()


def _row(checked: CheckedReference) -> tuple[Tile, ...]:
    one = checked.examined
    photo = one.reference.image
    panels = explain(photo, one.found, reference=(photo, one.mask), concept=one.concept).panels
    confidence = next(panel for panel in panels if panel.caption.startswith("Confidence"))
    shown = fit(photo, PANEL)
    own = draw_overlay(shown, fit_mask(one.found.assumed_mask, shown), colour_of(one.concept.name), line=2)
    return (
        replace(
            panels[0],
            caption=f"{Path(checked.name).name}: {checked.verdict}",
            note=f"mask covers {one.mask.mean():.0%}",
        ),
        confidence,
        Tile(own, "What persam finds here itself", f"IoU {checked.measures.own_iou:.2f} with the mask"),
    )
