"""A study of drawn photos, masked by simulated people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.fakes import ColourModel
from tests.study.people import CAREFUL, DILATOR, ERODER, Habit, mask_photos, save, write_photos

from persam import PerSAM
from persam.study import Study, StudyResult, new, read, run

PEOPLE = {"anna": CAREFUL, "ben": ERODER, "cleo": DILATOR}
SEED = 3


def make_study(
    folder: Path,
    people: dict[str, Habit],
    *,
    categories: tuple[str, ...] = ("disc",),
    photos: int = 6,
    gold: bool = True,
) -> dict[str, dict[str, np.ndarray]]:
    """Make a study in `folder`/study; return the true masks by category and photo."""
    truth = {name: write_photos(folder / "photos" / name, photos, 10 * n) for n, name in enumerate(categories)}
    made = new(folder / "study", {name: folder / "photos" / name for name in categories}, list(people))
    for number, category in enumerate(made.categories):
        mask_photos(category.folder, truth[category.name], people, SEED + number)
        if gold:
            for name, mask in truth[category.name].items():
                save(category.folder / "gold" / f"{name}.png", mask)
    return truth


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two categories of six photos, three annotators, and the truth."""
    make_study(tmp_path, PEOPLE, categories=("disc", "plate"))
    return tmp_path / "study"


@pytest.fixture
def study(folder: Path) -> Study:
    return read(folder)


@pytest.fixture
def persam() -> PerSAM:
    """Finds discs by their colour, without weights."""
    return PerSAM(ColourModel())


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """The study, run once for all tests of a file that only look at it."""
    home = tmp_path_factory.mktemp("run")
    make_study(home, PEOPLE, categories=("disc", "plate"))
    return run(read(home / "study"), PerSAM(ColourModel()))
