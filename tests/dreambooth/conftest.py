"""Tiny random pipelines and a prepared folder, each made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.conftest import draw_scene
from tests.dreambooth.prepared import make_prepared


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that gives the folder of the tiny random pipeline of a family: ``tiny("sd15")``. Leave it as it is."""
    home = tmp_path_factory.mktemp("pipelines")

    def folder_of(family: str) -> Path:
        from tests.dreambooth.tiny_pipelines import make_tiny

        folder = home / family
        return folder if folder.exists() else make_tiny(family, folder)

    return folder_of


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder: a mug, three photos. Leave it as it is."""
    folder = tmp_path_factory.mktemp("prepared")
    make_prepared(folder)
    return folder


@pytest.fixture(scope="session")
def class_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three drawn pictures that stand for other mugs, in the folder of class images. Leave it as it is."""
    home = tmp_path_factory.mktemp("class images")
    (home / "mug").mkdir()
    for number in range(3):
        pixels, _ = draw_scene(36, 36, center=(18, 18), radius=8 + number, seed=100 + number)
        Image.fromarray(pixels).save(home / "mug" / f"{number}.png")
    return home
