"""What holds of every data set as it was read."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

from persam.benchmark.episodes import Loaded


def check_sound(loaded: Loaded, shots: int = 1) -> None:
    """References never among their own tests, names fit for paths and one for each sample, everything readable."""
    assert loaded.episodes
    by_name: dict[str, object] = {}
    tested: set[tuple[str, str]] = set()
    for episode in loaded.episodes:
        assert episode.data_set == loaded.name
        assert episode.tests
        assert len(episode.references) == shots
        assert len({each.photo for each in episode.references}) == shots
        for reference in episode.references:
            assert reference.photo not in {each.photo for each in episode.tests}
        for each in (*episode.references, *episode.tests):
            assert by_name.setdefault(each.name, each) is each or by_name[each.name] == each
            path = PurePosixPath(each.name)
            assert not path.is_absolute()
            assert ".." not in path.parts
        for each in episode.tests:
            assert (episode.object, each.name) not in tested
            tested.add((episode.object, each.name))
    json.dumps(dict(loaded.settings))
    assert loaded.protocol
    assert "\n" not in loaded.protocol


def described(loaded: Loaded) -> list[tuple[object, ...]]:
    """Episodes as plain values, to compare two draws."""
    return [
        (each.object, each.fold, tuple(ref.name for ref in each.references), tuple(test.name for test in each.tests))
        for each in loaded.episodes
    ]
