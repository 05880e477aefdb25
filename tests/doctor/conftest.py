"""A model that finds drawn things by colour, the drawn scene as a reference, and measures of a sound one."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.conftest import draw_scene
from tests.fakes import ColourModel

from persam import PerSAM, Reference
from persam.doctor.measures import Examined, Measures
from persam.geometry import Frame
from persam.models.base import EncodedImage

SOUND = Measures(
    cells=120.0,
    area=0.15,
    border=0.0,
    cut=0.0,
    parts=1,
    main_part=1.0,
    edges=2.0,
    sharpness=0.45,
    lost=0.0,
    colours=0.3,
    own_iou=0.85,
    own_size=1.0,
    separation=1.0,
    mistaken=0.0,
    mirrored_iou=0.85,
    score=0.9,
)


@pytest.fixture(scope="session")
def colours() -> PerSAM:
    return PerSAM(ColourModel())


def reference_of(seed: int = 0, **scene: object) -> Reference:
    image, mask = draw_scene(seed=seed, **scene)  # type: ignore[arg-type]
    return Reference.read(image, mask)


@pytest.fixture
def made() -> Callable[..., Examined]:
    """What an examination might have given: a disc in a photo of 120 x 160 pixels, with these measures, and a score
    that is a probability if it is `fitted`."""

    def make(mask: np.ndarray | None = None, source: str = "", *, fitted: bool = True, **measures: object) -> Examined:
        image, disc = draw_scene()
        encoded = EncodedImage(torch.zeros(1, 3, 16, 16), Frame.padded((120, 160), 128, (16, 16)))
        values = {**vars(SOUND), **measures}
        reference = Reference(image, mask=disc, source=source)
        concept = SimpleNamespace(fitted=object() if fitted else None)
        return Examined(reference, encoded, disc if mask is None else mask, concept, None, Measures(**values))  # type: ignore[arg-type]

    return make
