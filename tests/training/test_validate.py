"""Validation measures what PerSAM does, set by set, and writes it into the weights, where the model card reads it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.fakes import SMALL_TINY

from persam.concept import Concept
from persam.method.threshold import levels_of
from persam.models.base import EncodedImage
from persam.models.sam import Sam
from persam.models.tiny.architecture import TinySam
from persam.persam import PerSAM
from training import validate
from training.card import FIGURES
from training.model import as_sam
from training.photos import Photos
from training.validate import main
from training.views import OWN, View


@pytest.fixture
def network() -> TinySam:
    torch.manual_seed(0)
    return TinySam(SMALL_TINY).eval()


def test_examples_are_drawn_from_every_set_and_another_set_changes_none(photos: Photos) -> None:
    examples = validate.make_examples(photos, 64, pairs=3)
    assert examples.pair_sets == ["pets"] * 3 + ["street"] * 3
    assert examples.sets == ["pets"] * 3 + ["street"] * 3
    # and with a set that has too little to ask for pairs
    alone = validate.make_examples(Photos([*photos.photos[3:], photos.photos[0]]), 64, pairs=3)
    assert alone.sets == ["street"] * 3 + ["pets"]
    assert alone.pair_sets == ["street"] * 3


def _by_hand(model: Sam, pairs: list[tuple[View, View]]) -> tuple[list[float], list[float]]:
    """Whether the first point lies on the object, and IoU, of every pair."""
    persam, located, ious = PerSAM(model), [], []
    for pair in pairs:
        for reference, test in (pair, pair[::-1]):
            image, mask = reference.photo()
            concept = persam.learn(image, mask == OWN)
            image, mask = test.photo()
            found = persam.segment(image, concept)
            x, y = found.points[0]
            located.append(mask[int(y), int(x)] == OWN)
            known = mask != 255
            both = (found.assumed_mask & (mask == OWN) & known).sum()
            either = ((found.assumed_mask | (mask == OWN)) & known).sum()
            ious.append(both / either)
    return located, ious


def _learned(persam: PerSAM, image: np.ndarray, mask: np.ndarray) -> Concept:
    """With the threshold that the bundled weights have, whatever the weights."""
    concept = persam.learn(image, mask == OWN)
    return replace(concept, **levels_of(concept.material, calibrated=False))


def test_personal_figures_are_those_of_persam(
    photos: Photos, network: TinySam, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[EncodedImage, Concept, float]] = []
    measure = validate.score_in

    def remembered(model: Sam, image: EncodedImage, concept: Concept) -> float:
        asked.append((image, concept, measure(model, image, concept)))
        return asked[-1][2]

    monkeypatch.setattr(validate, "score_in", remembered)
    model = as_sam(network)
    examples = validate.make_examples(photos, 64, pairs=4)
    examples.pairs.pop()  # so that the sets are not of one size
    examples.pair_sets.pop()
    figures = validate.personal_figures(model, examples)
    for name, values in zip(("located", "personal_iou"), _by_hand(model, examples.pairs), strict=True):
        pets, street = np.mean(values[:8]), np.mean(values[8:])
        assert figures[name][0] == pytest.approx((pets + street) / 2, abs=1e-6)
        assert figures[name][3] == 7

    persam = PerSAM(model)
    views = [view.photo() for pair in examples.pairs for view in pair]
    features = [persam.encode(image).features for image, _ in views]
    present = [persam.segment(views[i ^ 1][0], _learned(persam, *views[i])).score for i in range(14)]
    absent = []
    for i, (image, concept, value) in enumerate(asked):
        (where,) = [j for j, each in enumerate(features) if torch.equal(each, image.features)]
        assert (where < 8) != (i < 8)  # a view of the other set
        absent.append(persam.segment(views[where][0], concept).score)
        assert absent[-1] == pytest.approx(value, abs=1e-6)
    assert len(absent) == 14
    wins = sum((a > b) + 0.5 * (a == b) for a in present for b in absent)
    assert figures["presence"][0] == pytest.approx(wins / 14**2)


def test_validation_gives_every_figure(photos: Photos, network: TinySam) -> None:
    figures = validate.evaluate(network, validate.make_examples(photos, 64, pairs=3), batch=4)
    assert list(figures) == list(FIGURES)
    assert all(0 <= low <= mean <= high <= 1 for mean, low, high, _ in figures.values())
    assert [count for *_, count in figures.values()] == [6] * 5


def test_one_set_alone_says_nothing_of_presence(photos: Photos, network: TinySam) -> None:
    alone = Photos(photos.photos[:3])
    figures = validate.evaluate(network, validate.make_examples(alone, 64, pairs=1))
    assert list(figures) == list(FIGURES)[:4]
    assert list(validate.evaluate(network, validate.make_examples(alone, 64, pairs=0))) == list(FIGURES)[:2]


def test_figures_of_photos_are_grouped_by_their_sets(photos: Photos, network: TinySam) -> None:
    some = validate.make_examples(Photos(photos.photos[:4]), 64, pairs=0)
    halves = [validate.make_examples(Photos(part), 64, pairs=0) for part in (photos.photos[:3], photos.photos[3:4])]
    model = as_sam(network)
    whole, pets, street = (validate.prompted_figures(model, each, 2) for each in (some, *halves))
    for name in ("click_iou", "box_iou"):
        assert whole[name][0] == pytest.approx((pets[name][0] + street[name][0]) / 2)


def test_the_command(drawn_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, names = tmp_path / "weights.safetensors", tmp_path / "names.json"
    TinySam(SMALL_TINY).save(path, {})
    items = {f"{index:03}": {"objects": ["ball", "tile"]} for index in range(3)}
    names.write_text(json.dumps({"street": {"items": items}}))
    arguments = ["--val", str(drawn_folder), "--weights", str(path), "--size", "32", "64", "--pairs", "2"]
    main([*arguments, "--json", "--objects", str(names)])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["size"] for line in lines] == [32, 64]
    assert lines[0]["located"][3] == 4
    main(arguments)
    assert "personal_iou" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError):
        main([*arguments, "--objects", str(tmp_path / "missing.json")])


def test_record(drawn_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "weights.safetensors"
    TinySam(SMALL_TINY).save(path, {"runs": [{"photos": 7}]})
    before = TinySam.load(path)
    main(["--val", str(drawn_folder), "--weights", str(path), "--pairs", "2", "--record"])
    after = TinySam.load(path)
    figures = after.history["validation"]
    assert after.history["runs"] == [{"photos": 7}]
    assert figures["size"] == after.image_size == before.image_size
    assert 0 < figures["personal_iou"][3] <= 4
    assert f"score {figures['score']:.3f}" in capsys.readouterr().out
    for name, weight in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[name], weight, atol=0, rtol=0)


def test_record_is_at_the_weights_own_size(drawn_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--val", str(drawn_folder), "--weights", str(tmp_path / "w.safetensors"), "--size", "64", "--record"])
    assert caught.value.code == 2
