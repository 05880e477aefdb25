"""Random episodes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persam.benchmark.datasets.sampling import Drawing, FoldClass
from persam.benchmark.episodes import MaskFile, Sample
from persam.errors import UsageError


def category(folder, name, crops):
    """A class of `len(crops)` photos with so many samples each."""
    samples = []
    for photo, count in enumerate(crops):
        path = folder / f"{name}-{photo}.jpg"
        path.touch()
        samples += [Sample(f"{name}/{photo}-{crop}", path, MaskFile(path)) for crop in range(count)]
    return FoldClass(name, name, samples)


@given(st.integers(0, 50), st.integers(1, 10))
def test_classes_are_dealt_out_in_turn(count, folds):
    dealt = Drawing(folds, None, 1, 1, 0).deal(range(count), lambda place: FoldClass(str(place), "", []))
    found = [[int(each.name) for each in dealt[fold]] for fold in range(folds)]
    if folds > 1:
        assert list(Drawing(folds, 1, 1, 1, 0).deal(range(count), lambda place: FoldClass("", "", []))) == [1]
    assert sorted(place for fold in found for place in fold) == list(range(count))
    assert all(place % folds == fold for fold, places in enumerate(found) for place in places)


@settings(max_examples=30)
@given(crops=st.lists(st.integers(1, 3), min_size=2, max_size=6), shots=st.integers(1, 3), seed=st.integers(0, 9))
def test_an_episode_s_photos_are_all_different(tmp_path_factory, crops, shots, seed):
    one = category(tmp_path_factory.mktemp("photos"), "cup", crops)
    drawing = Drawing(1, None, 20, shots, seed)
    if len(crops) <= shots:
        with pytest.raises(UsageError, match=f"has the {shots + 1} photos that an episode takes"):
            drawing.draw("x", {0: [one]})
        return
    episodes, notes = drawing.draw("x", {0: [one]})
    assert not notes
    for episode in episodes:
        photos = [each.photo for each in (*episode.references, *episode.tests)]
        assert len(set(photos)) == shots + 1 == len(photos)
    assert len({episode.tests[0].name for episode in episodes}) == 20


def test_queries_references_and_crops_are_drawn_alike(tmp_path):
    one = category(tmp_path, "cup", [1, 2, 1, 1])
    episodes, _ = Drawing(1, 0, 4000, 1, 0).draw("x", {0: [one]})
    pairs = Counter((each.tests[0].photo.stem, each.references[0].photo.stem) for each in episodes)
    assert len(pairs) == 12
    assert max(abs(count - 4000 / 12) for count in pairs.values()) < 5 * np.sqrt(4000 / 12)
    crops = Counter(each.references[0].name for each in episodes)
    assert abs(crops["cup/1-0"] - crops["cup/1-1"]) < 5 * np.sqrt(1000)


def test_a_fold_does_not_change_another(tmp_path):
    classes = {fold: [category(tmp_path, f"{fold}{k}", [1] * 5) for k in range(3)] for fold in range(3)}

    def names(folds, fold=None):
        episodes, _ = Drawing(3, fold, 10, 1, 7).draw("x", folds)
        return [each.tests[0].name for each in episodes]

    assert names(classes)[10:20] == names({1: classes[1]}, 1)


def test_too_few_photos_and_absent_ones(tmp_path):
    poor, rich = category(tmp_path, "poor", [3]), category(tmp_path, "rich", [1, 1, 1])
    episodes, notes = Drawing(4, 2, 30, 1, 0).draw("x", {2: [poor, rich]})
    assert {each.object for each in episodes} == {"rich"}
    assert notes == ["passed over: classes of fold 2 with fewer than 2 photos (poor)"]
    rich.samples[1].photo.unlink()
    with pytest.raises(UsageError, match=r"1 photos of the episodes are not there: .*rich-1\.jpg\."):
        Drawing(4, 2, 30, 1, 0).draw("x", {2: [rich]})


def test_in_words():
    assert (
        Drawing(4, None, 1000, 1, 3)
        .in_words()
        .startswith("all 4 folds, 1000 random episodes a fold, 1 reference each, seed 3;")
    )
    assert Drawing(4, 1, 10, 5, 0).in_words().startswith("fold 1 of 4, 10 random episodes a fold, 5 references each")
