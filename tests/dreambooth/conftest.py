"""Tiny random pipelines, each made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that gives the folder of the tiny random pipeline of a family: ``tiny("sd15")``. Leave it as it is."""
    home = tmp_path_factory.mktemp("pipelines")

    def folder_of(family: str) -> Path:
        from tests.dreambooth.tiny_pipelines import make_tiny

        folder = home / family
        return folder if folder.exists() else make_tiny(family, folder)

    return folder_of
