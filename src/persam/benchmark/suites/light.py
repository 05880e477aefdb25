"""Is the object still found in other light?  The photos are re-lit; the references stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np

from persam.benchmark.methods.base import SharedPhoto
from persam.benchmark.methods.ours import PersamMethod
from persam.benchmark.suites.suite import Findings, Trial, change, headline
from persam.method.cues import fuses_cues
from persam.method.settings import Settings
from persam.models.base import EncodedImage, PromptableModel
from persam.reports.tables import Table

Light = Callable[[np.ndarray], np.ndarray]


def exposed(pixels: np.ndarray, red: float, green: float, blue: float) -> np.ndarray:
    """More or less light in each channel, clipped as a camera clips: (H, W, 3) uint8 RGB."""
    table = np.arange(256)[:, None] * np.array([red, green, blue])
    return cv2.LUT(np.ascontiguousarray(pixels), table.clip(0, 255).astype(np.uint8)[None])


def grey(pixels: np.ndarray) -> np.ndarray:
    """No colour at all: (H, W, 3) uint8 RGB."""
    return cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def faded(pixels: np.ndarray) -> np.ndarray:
    """Half of the colour: (H, W, 3) uint8 RGB."""
    return cv2.addWeighted(pixels, 0.5, grey(pixels), 0.5, 0)


AS_IT_IS = "as it is"
LIGHTS: Mapping[str, Light] = MappingProxyType(
    {
        AS_IT_IS: lambda pixels: pixels,
        "half the light": lambda pixels: exposed(pixels, 0.5, 0.5, 0.5),
        "overexposed": lambda pixels: exposed(pixels, 1.5, 1.5, 1.5),
        "warm (evening)": lambda pixels: exposed(pixels, 1.2, 0.95, 0.65),
        "cold (shade)": lambda pixels: exposed(pixels, 0.75, 0.95, 1.25),
        "faded": faded,
        "grey": grey,
    }
)


class LitMethod(PersamMethod):
    """PerSAM that is asked about every photo in another light.

    Attributes:
        light: which one, a key of `LIGHTS`.
        form: what differs in the settings, in words.
    """

    def __init__(self, form: str, light: str, model: PromptableModel, settings: Settings, **options: Any) -> None:
        super().__init__(f"{form}, {light}", model, settings, **options)
        self.form, self.light = form, light

    def describe(self) -> dict[str, Any]:
        """See `Method.describe`."""
        return super().describe() | {"light": self.light}

    def encode(self, photo: SharedPhoto) -> EncodedImage:
        """The photo's encoding, in this light."""
        if self.light == AS_IT_IS:
            return super().encode(photo)
        return self.persam.encode(LIGHTS[self.light](photo.pixels))


def relight(trial: Trial, mode: str = "persam") -> Findings:
    """PerSAM in every light, each against the photo as it is; with its cues, without colour, without all of them.

    Args:
        trial: on what and with what.
        mode: of the method.

    Raises:
        UsageError: no such mode.
    """
    settings = Settings.of(mode)
    forms = {f"mode {mode}": settings}
    if fuses_cues(settings):
        forms["without colour"] = settings.but(colour_cue=False)
        forms["similarity alone"] = settings.but(nearest_cue=False, background_cue=False, colour_cue=False)
    methods = [
        LitMethod(form, light, settings=chosen, **trial.shared) for form, chosen in forms.items() for light in LIGHTS
    ]
    found = trial.run(methods, mode=mode, solver=None)
    tests = {
        each.name: found.difference(each.name, None if each.light == AS_IT_IS else f"{each.form}, {AS_IT_IS}")
        for each in methods
    }
    rows: dict[str, dict[str, Any]] = {
        each.name: {
            "form": each.form,
            "light": each.light,
            "change": (test := tests[each.name]) and test._asdict(),
        }
        for each in methods
    }

    def cells(method: LitMethod) -> tuple[str, ...]:
        name = method.name
        return method.light, found.score(name, "miou"), change(tests[name]), found.score(name, "located")

    tables = [
        Table(
            f"{form}: {headline(found.about)}; change of IoU per image against the photo as it is",
            ("light", "mIoU", "change", "located"),
            tuple(cells(each) for each in methods if each.form == form),
        )
        for form in forms
    ]
    notes = [
        "The references stay as they are; light and colour of the photos in which the object is looked for change."
    ]
    return found.findings("light", rows, tables, notes)
