"""The engine: everybody gets his own, whatever the order, the threads and the mistakes of others."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import draw_scene
from tests.fakes import ColourModel

from persam.persam import PerSAM
from persam.server.engine import Engine


@pytest.fixture
def model() -> PerSAM:
    return PerSAM(ColourModel())


def test_gives_what_the_model_gives(model: PerSAM) -> None:
    photo, mask = draw_scene()
    concept = model.learn(photo, mask, name="disc")
    others = [draw_scene(center=(40 + 5 * n, 60 + 10 * n))[0] for n in range(6)]
    with Engine(model, batch=3) as engine:
        asked = [engine.segment(other, [concept]) for other in others]
        for other, future in zip(others, asked, strict=True):
            (found,), alone = future.result(20), model.segment(other, concept)
            np.testing.assert_array_equal(found.mask, alone.mask)
            assert found.score == alone.score
