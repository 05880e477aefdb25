"""References of the training photos: every set in its turn, each thing checked and looked for in its views."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from tests.fakes import ColourModel

from persam import PerSAM
from training.references import in_turns, lit_view, main, pasted_view, try_thing
from training.views import OWN


def test_sets_take_turns(photos):
    chosen = in_turns(photos, 4, Random(0))
    assert [photos[thing.photo].source for thing in chosen] == ["pets", "street"] * 2
    assert len({(thing.photo, thing.id) for thing in in_turns(photos, 99, Random(0))}) == len(photos.things)


@pytest.mark.parametrize("make", [lit_view, pasted_view])
def test_a_view_shows_the_thing(photos, make):
    views = [make(photos, photos.things[0], Random(seed)) for seed in range(3)]
    assert all((view.mask == OWN).any() for view in views)
    assert not np.array_equal(views[0].image, views[1].image)


def test_a_thing_is_checked_and_looked_for(photos):
    thing = photos.things[0]
    tried = try_thing(PerSAM(ColourModel()), photos, thing, Random(0))
    assert tried is not None
    assert tried.name == f"pets/{thing.photo}/{thing.id}"
    assert 0 <= tried.iou <= 1
    assert 1 <= tried.photos <= 2


def test_the_command_prints_tables(drawn_folder, capsys, monkeypatch):
    monkeypatch.setattr(PerSAM, "from_pretrained", lambda name: PerSAM(ColourModel()))
    main(["--data", str(drawn_folder), "-n", "2"])
    printed = capsys.readouterr().out
    assert "# Verdicts: colours, mode persam, 2 things" in printed
    assert "references as they are" in printed
