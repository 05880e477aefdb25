"""Who holds the paper can read the way of a photo through the method: few files, few jumps between them, few records.

Counted are the functions of the facade, of `encoding.py`, of `method/`, of SAM behind the protocol with the guidance
in its decoder, and of `geometry.py` (`WAY`) that one call of `segment` enters, in the order in which it enters each for
the first time; a change of file is where the next one lies in another file than the one before. Not counted: other
places of the photo, which go the same way once more; what reads and checks the photo and the concept; the network's own
layers (on a CPU in `models/fast_decoder.py`, records of its own included); and the forms of the answer.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from itertools import groupby, pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from tests.conftest import draw_scene

import persam
from persam import PerSAM
from persam.geometry import Frame
from persam.models.loading import load_model

PACKAGE = Path(persam.__file__).parent
WAY = ("persam.py", "encoding.py", "geometry.py", "method/", "models/sam.py")
LAYERS = {  # networks', though written here
    "persam.models.decoder_cells",
    "persam.models.decoder_photo",
    "persam.models.fast_decoder",
    "persam.models.fast_vit",
}
FILES, CHANGES, RECORDS = 9, 27, 10


@dataclasses.dataclass(frozen=True)
class Way:
    """Functions as (file, name) in the order in which they were first entered, and the names of the records made."""

    steps: list[tuple[str, str]]
    records: set[str]

    @property
    def files(self) -> set[str]:
        return {file for file, _ in self.steps}

    @property
    def changes(self) -> int:
        return sum(one != other for (one, _), (other, _) in pairwise(self.steps))

    def __str__(self) -> str:
        visits = [
            f"  {file}: {', '.join(name for _, name in steps)}"
            for file, steps in groupby(self.steps, lambda step: step[0])
        ]
        heads = f"{len(self.files)} files, {self.changes} changes of file, {len(self.records)} records"
        return "\n".join(["", *visits, f"  records: {', '.join(sorted(self.records))}", f"  {heads}"])


def way_of(model: PerSAM, photo: np.ndarray, concept: persam.Concept) -> Way:
    """The way of one photo, followed as it is segmented."""
    entered: dict[tuple[str, str], None] = {}
    records = set()

    def follow(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call":
            return
        if code.co_name == "__init__" and code.co_filename.startswith("<"):  # dataclasses write it
            made = type(frame.f_locals.get("self"))
            ours = made.__module__.startswith("persam.") and made.__module__ not in LAYERS
            if ours and dataclasses.is_dataclass(made):
                records.add(made.__name__)
        elif code.co_filename.startswith(str(PACKAGE)) and not code.co_name.startswith("<"):
            file = Path(code.co_filename).relative_to(PACKAGE).as_posix()
            if file.startswith(WAY):
                entered.setdefault((file, code.co_qualname.replace(".<locals>", "")))

    Frame.inside.cache_clear()  # what is kept from an earlier photo would not be entered
    sys.setprofile(follow)
    try:
        model.segment(photo, concept)
    finally:
        sys.setprofile(None)
    return Way(list(entered), records)


@pytest.fixture(scope="module")
def network():
    return load_model()


@pytest.mark.parametrize("tuned", [False, True], ids=["learned", "tuned"])
@pytest.mark.parametrize(("mode", "radius"), [("persam", 60), ("persam", 12), ("paper", 60), ("official", 60)])
def test_it_is_read_in_one_sitting(network, mode, tuned, radius):
    model = PerSAM(network, settings=persam.Settings.of(mode).but(places=1))
    concept = model.learn(*draw_scene())
    concept = model.tune(concept) if tuned else concept
    photo, _ = draw_scene(480, 640, center=(330, 200), radius=radius, seed=1)
    way = way_of(model, photo, concept)
    assert len(way.files) <= FILES, way
    assert way.changes <= CHANGES, way
    assert len(way.records) <= RECORDS, way
    assert ("method/find.py", "find") in way.steps  # it was followed


def test_the_page_lists_its_files(network):
    text = (Path(__file__).parents[2] / "docs" / "method.md").read_text(encoding="utf-8")
    section = text.split("## The way of a photo\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\|[ \d]*\| `([\w/.]+)` \|", section, re.MULTILINE)
    model = PerSAM(network)
    assert set(listed) == way_of(model, draw_scene(seed=1)[0], model.learn(*draw_scene())).files
