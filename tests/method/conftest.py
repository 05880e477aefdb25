"""What tests of looking again share: the bundled model, and a disc that it has learned."""

from __future__ import annotations

import pytest
from tests.conftest import draw_scene

from persam import Concept, PerSAM


@pytest.fixture(scope="module")
def model() -> PerSAM:
    return PerSAM.from_pretrained()


@pytest.fixture(scope="module")
def concept(model: PerSAM) -> Concept:
    return model.learn(*draw_scene())
