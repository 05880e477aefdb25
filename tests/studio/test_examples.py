"""The photos to try the studio with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from persam.demo import originals
from persam.demo.originals import THINGS
from persam.images import read_image
from persam.studio import examples


@dataclass
class Place:
    """Stands for a workshop, of which a folder is all that is asked."""

    folder: Path


def test_there_is_a_photo_of_each_thing_and_an_album_to_find_it_in(tmp_path: Path) -> None:
    place = cast(Any, Place(tmp_path))
    assert examples.example_things() == tuple(THINGS)
    photo = examples.example_photo(place, "cup")
    assert max(read_image(photo).shape) == originals.LONGEST_SIDE
    album = examples.example_album(place, "cup")
    assert len(album) == len({file.name for file in album}) >= 5
    assert all(read_image(file).ndim == 3 for file in album)
    made = album[0].stat().st_mtime_ns
    assert examples.example_album(place, "cup")[0].stat().st_mtime_ns == made, "made once"


def test_without_scikit_image_there_is_nothing_to_try_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(originals, "find_spec", lambda name: None)
    examples.example_things.cache_clear()
    assert examples.example_things() == ()
    examples.example_things.cache_clear()
