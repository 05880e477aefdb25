"""Drawn classes on grounds that mislead: what is measured, on which photos, and what is left out."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.classify.drawn import CLASSES, draw, write_classes
from tests.fakes import ColourModel

from persam import PerSAM
from persam.classify.accuracy import CACHE, METHODS, OBJECT, SUREST, TUNED, WHOLE, WORDS, ClassifyBench, bench
from persam.classify.cache import fit_cache
from persam.classify.descriptions import Described, describe
from persam.classify.features import PooledFeatures
from persam.classify.folder import read_classes
from persam.classify.names_file import write_names
from persam.classify.naming import Classifier
from persam.classify.report import accuracy_table, class_table, figures, write_report
from persam.errors import PersamError, UsageError
from persam.metrics.statistics import bootstrap_mean


class Worded(ColourModel):
    """A model's own features with words: those of a class's colour."""

    name = "worded"
    needs_encoding = True

    def of(self, image, masks, encoded=None):
        return PooledFeatures(None, self.name).of(image, masks, encoded)

    def of_words(self, names):
        model = PerSAM(ColourModel())
        photos = [np.full((64, 64, 3), CLASSES[name], np.uint8) for name in names]
        return torch.cat([self.of(photo, [None], model.encode(photo)) for photo in photos])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("drawn") / "things", photos=6)


@pytest.fixture(scope="module")
def described(folder: Path) -> Described:
    return describe(PerSAM(ColourModel()), read_classes(folder))


@pytest.fixture(scope="module")
def result(described: Described) -> ClassifyBench:
    return bench(described, (1, 2, 4, 8), draws=3)


def test_the_object_alone_tells_what_the_whole_photo_does_not(result: ClassifyBench) -> None:
    for method in METHODS:
        alone, whole = result.accuracy(OBJECT, method, 4), result.accuracy(WHOLE, method, 4)
        assert alone is not None
        assert whole is not None
        assert alone.mean > 0.95
        assert whole.mean < 0.85
        gain = result.gain(method, 4)
        assert gain is not None
        assert gain.mean == pytest.approx(alone.mean - whole.mean)
        assert gain.low > 0
    surest = result.accuracy(OBJECT, SUREST, 0)
    assert surest is not None
    assert surest.mean > 0.9


def test_photos_are_described_by_their_objects(described: Described) -> None:
    assert described.names == ("blue", "green", "red")
    assert [photo.is_reference for photo in described.photos] == [number % 6 == 0 for number in range(18)]
    for photo in described.photos:
        name = described.names[photo.label]
        number = int(Path(photo.path).stem)
        if photo.is_reference:
            assert photo.asked is None
            continue
        truth = draw(CLASSES[name], number)[1]
        assert photo.mask is not None
        assert (photo.mask & truth).sum() / (photo.mask | truth).sum() > 0.6
        assert float(photo.shot @ photo.asked) > 0.99
        assert np.argmax(photo.scores) == photo.label


def test_a_mask_that_is_given_is_of_a_shot_alone(tmp_path: Path, folder: Path, described: Described) -> None:
    """What a photo is asked by is the same without it: of a new photo nobody has a mask."""
    things = shutil.copytree(folder, tmp_path / "things")
    wrong = np.zeros((64, 64), bool)
    wrong[:9, :9] = True
    Image.fromarray(wrong).save(things / "red/masks/3.png")
    for one, before in zip(describe(PerSAM(ColourModel()), read_classes(things)).photos, described.photos, strict=True):
        if not one.is_reference:
            assert torch.equal(one.asked, before.asked)
            assert torch.equal(one.shot, before.shot) == (not one.path.endswith("red/3.png"))


def test_no_shot_and_no_reference_is_named(result: ClassifyBench) -> None:
    """In a draw every method names the photos that four shots leave, by however many shots, once each."""
    photos = result.described.photos
    references = {number for number, photo in enumerate(photos) if photo.is_reference}
    assert result.shots == (1, 2, 4)
    drawn = set()
    for draw_number in range(3):
        asked: dict[tuple[str, str, int], list[int]] = {}
        for each in result.named:
            if each.draw == draw_number:
                asked.setdefault((each.features, each.method, each.shots), []).append(each.photo)
        assert len(asked) == 2 * len(METHODS) * 3 + 1
        (named,) = {tuple(each) for each in asked.values()}
        assert len(set(named)) == len(named) == 3 * (6 - 4) == result.photos_in_draw()
        assert not set(named) & references
        assert {photos[number].label for number in named} == {0, 1, 2}
        drawn.add(named)
    assert len(drawn) > 1
    assert result.photos_tested() == len(set().union(*drawn))


def test_the_shots_are_none_of_the_tests(described: Described, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen from within: the keys of a cache are features of other photos than those that it names, the first the
    reference; more shots are the fewer ones and others."""
    shots: list[list[int]] = []

    def spy(keys: torch.Tensor, *arguments: object, **options: object) -> object:
        shots.append(keys.argmax(1).tolist())
        return fit_cache(keys, *arguments, **options)

    monkeypatch.setattr("persam.classify.accuracy.fit_cache", spy)
    photos = tuple(replace(photo, whole=torch.eye(18)[number]) for number, photo in enumerate(described.photos))
    whole = replace(described, photos=photos, describer=replace(described.describer, concepts=()))
    result = bench(whole, (1, 4), draws=1)
    one, four = set(shots[0]), set(shots[2])
    assert len(one) == 3
    assert one == {number for number, photo in enumerate(described.photos) if photo.is_reference}
    assert one < four
    assert not four & {each.photo for each in result.named}


def test_where_nothing_is_drawn_it_is_said(described: Described, result: ClassifyBench, tmp_path: Path) -> None:
    said = "1 shot: always the photo with the mask, or of the concept; nothing is drawn but the photos to be named."
    assert said in result.notes
    assert not any(note.startswith("2 shots") for note in result.notes)
    things = write_classes(tmp_path / "things", photos=3, masks=0)
    assert said not in bench(describe(PerSAM(ColourModel()), read_classes(things)), (1,), draws=2).notes


def test_the_interval_draws_photos(result: ClassifyBench) -> None:
    """A photo is named in several draws: what it is taken for then is one observation, not several."""
    places = result.of(WHOLE, CACHE, 2)
    right = result.right[places].astype(float)
    found = result.accuracy(WHOLE, CACHE, 2)
    assert found == bootstrap_mean(right, [result.named[place].photo for place in places])
    assert found != bootstrap_mean(right)
    assert result.accuracy(WHOLE, WORDS, 0) is None


@pytest.mark.parametrize("tune", [False, True])
def test_alpha_and_beta_are_searched_as_new_photos_ask(described: Described, tune: bool) -> None:
    """Where the concepts mistake a photo, so do they a new one: the cache must not be surer than that."""
    photos = list(described.photos)
    for number in (1, 2, 7, 8):  # as if the concept of another class had been surest
        photos[number] = replace(photos[number], asked=described.photos[(number + 6) % 18].asked)
    mistaken = replace(described, photos=tuple(photos))
    found = Classifier.of(mistaken, tune=tune).cache
    shots, asked = (torch.stack([getattr(photo, name) for photo in photos]) for name in ("as_shot", "as_asked"))
    wanted = fit_cache(shots, described.labels, 3, asked=asked, tune=tune)
    before = Classifier.of(described, tune=tune).cache
    assert (found.alpha, found.beta) == (wanted.alpha, wanted.beta) != (before.alpha, before.beta)
    assert torch.equal(found.keys, before.keys)


def test_a_reference_is_asked_as_a_shot(described: Described) -> None:
    for photo in described.photos:
        assert torch.equal(photo.as_shot, photo.shot)
        assert torch.equal(photo.as_asked, photo.shot if photo.is_reference else photo.asked)


def test_the_same_seed_gives_the_same(described: Described) -> None:
    again, other = bench(described, (2,), draws=2), bench(described, (2,), draws=2, seed=1)
    assert again.named == bench(described, (2,), draws=2).named
    assert {(one.draw, one.photo) for one in again.named} != {(one.draw, one.photo) for one in other.named}
    # Others by their side change neither shots nor tests, unless they are more.
    assert set(bench(described, (1, 2), draws=2).named) >= set(again.named)


def test_words_alone_and_in_the_cache(folder: Path) -> None:
    described = describe(PerSAM(ColourModel()), read_classes(folder), Worded())
    result = bench(described, (1, 2), draws=1)
    alone = result.accuracy(OBJECT, WORDS, 0)
    assert alone is not None
    assert alone.mean == 1
    assert not any("words" in note for note in result.notes)
    table = accuracy_table(result)
    assert table.columns == ("features", "method", "no shot", "1 shot", "2 shots")
    assert [row[:2] for row in table.below] == [(WHOLE, WORDS), (OBJECT, WORDS), (OBJECT, SUREST)]


def test_without_masks_whole_photos_are_looked_at(tmp_path: Path) -> None:
    things = write_classes(tmp_path / "things", photos=3, masks=1)
    shutil.rmtree(things / "red/masks")
    described = describe(PerSAM(ColourModel()), read_classes(things))
    assert described.unshown == ("red",)
    assert not described.has_foreground
    result = bench(described, (1, 2), draws=2)
    assert {one.features for one in result.named} == {WHOLE}
    assert "Whole photos alone: no mask shows red." in result.notes
    assert result.gain(CACHE, 1) is None
    assert [row[0] for row in accuracy_table(result).rows] == [WHOLE] * 3


def test_a_concept_in_the_place_of_a_mask(tmp_path: Path, folder: Path, described: Described) -> None:
    """As good as the mask that it was learned from, whose photo is known by its content, whatever its name."""
    things = shutil.copytree(folder, tmp_path / "things")
    model = PerSAM(ColourModel())
    model.learn(things / "red/0.png", things / "red/masks/0.png", name="anything").save(things / "red/c.safetensors")
    (things / "red/0.png").rename(things / "red/7.png")
    found = describe(model, read_classes(things))
    references = [Path(photo.path).name for photo in found.photos if photo.is_reference]
    assert references == ["0.png", "0.png", "7.png"]
    assert Classifier.of(found).name(things / "green/3.png").name == "green"
    wanted = {photo.path.replace(str(folder), str(things)): photo.asked for photo in described.photos}
    for photo in found.photos:
        if not photo.is_reference:
            np.testing.assert_allclose(photo.asked, wanted[photo.path], atol=1e-5)


def test_what_cannot_be_read_is_counted_and_left_out(tmp_path: Path) -> None:
    things = write_classes(tmp_path / "things", photos=4, masks=2)
    (things / "red/3.png").write_bytes(b"no picture")
    (things / "green/masks/0.png").write_bytes(b"no picture")  # the next mask shows it
    Image.new("L", (64, 64)).save(things / "blue/masks/1.png")  # a mask of nothing: persam looks itself
    (things / "grey").mkdir()
    (things / "grey/0.png").write_bytes(b"")
    told: list[tuple[Path, str | None]] = []
    classes = read_classes(things)
    grey = next(each for each in classes if each.name == "grey")
    (things / "grey/masks").mkdir()
    shutil.copy(things / "red/masks/0.png", things / "grey/masks/0.png")
    with pytest.raises(PersamError, match=r"No mask of the class grey can be used: .*empty"):
        describe(PerSAM(ColourModel()), read_classes(things))
    described = describe(
        PerSAM(ColourModel()), [each for each in classes if each is not grey], on_photo=lambda *one: told.append(one)
    )
    left_out = [Path(file).relative_to(things).as_posix() for file, _ in described.left_out]
    assert left_out == ["blue/masks/1.png", "green/masks/0.png", "red/3.png"]  # a photo without its mask is used
    assert len(told) == 12
    (problem,) = [problem for photo, problem in told if photo == things / "red/3.png"]
    assert problem is not None
    assert problem.endswith("GIF or AVIF file.")
    assert len(described.photos) == 11
    assert [Path(photo.path).name for photo in described.photos if photo.is_reference] == ["0.png", "1.png", "0.png"]
    result = bench(described, (1,), draws=1)
    assert any("files were left out because they cannot be read" in note for note in result.notes)
    whole = describe(PerSAM(ColourModel()), classes, foreground=False)
    assert whole.names == ("blue", "green", "red")
    assert ("grey", "No photo of this class can be read.") in whole.left_out


def test_a_class_with_one_photo_is_a_shot_and_never_asked_for(tmp_path: Path) -> None:
    things = write_classes(tmp_path / "things", photos=4)
    for number in (1, 2, 3):
        (things / f"red/{number}.png").unlink()
    result = bench(describe(PerSAM(ColourModel()), read_classes(things)), (1, 2), draws=2)
    asked = {result.described.photos[one.photo].label for one in result.named}
    assert asked == {0, 1}
    assert "Of classes with fewer photos all but one are shots: red." in result.notes
    assert ("red", "0", "–", "–") in class_table(result).rows


def test_nothing_to_name(tmp_path: Path, described: Described) -> None:
    things = write_classes(tmp_path / "things", photos=1)
    with pytest.raises(PersamError, match="There is no photo to be named"):
        bench(describe(PerSAM(ColourModel()), read_classes(things)))
    with pytest.raises(UsageError, match="counted from 1"):
        bench(described, (0, 1))
    for photo in things.rglob("[0-9].png"):
        if "masks" not in photo.parts and "red" not in photo.parts:
            photo.write_bytes(b"")
    with pytest.raises(
        PersamError, match=r"^Fewer than two classes have a photo that can be read \(not: blue, green\)"
    ):
        describe(PerSAM(ColourModel()), read_classes(things), foreground=False)


def test_the_report(tmp_path: Path, result: ClassifyBench) -> None:
    page = write_report(result, tmp_path)
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    shown = len({result.named[place].photo for place in result.of(OBJECT, CACHE, 4)})
    assert text.count("<figure") == shown
    assert text.count("data:image/") == shown + 1
    told = json.loads((tmp_path / "classify.json").read_text())
    assert told == json.loads(json.dumps(figures(result)))
    (one,) = [
        each for each in told["accuracy"] if (each["features"], each["method"], each["shots"]) == (OBJECT, TUNED, 2)
    ]
    assert one["mean"] == result.accuracy(OBJECT, TUNED, 2).mean
    assert told["classes"] == {"blue": 6, "green": 6, "red": 6}
    table = (tmp_path / "table.md").read_text()
    assert "No class has photos enough for 8 shots." in table
    assert len((tmp_path / "named.csv").read_text().splitlines()) == len(result.named) + 1
    with Image.open(tmp_path / "accuracy.png") as picture:
        assert picture.width > 800


@pytest.mark.parametrize("tune", [False, True])
def test_new_photos_are_named(tmp_path: Path, described: Described, tune: bool) -> None:
    classifier = Classifier.of(described, tune=tune)
    assert classifier.features == OBJECT
    for number, (name, colour) in enumerate(CLASSES.items()):
        Image.fromarray(draw(colour, 50 + number)[0]).save(tmp_path / f"{name}.png")
        named = classifier.name(str(tmp_path / f"{name}.png"))
        assert named.name == name
        assert sum(named.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert named.probability > named.probabilities[named.runner_up]
        with pytest.raises(TypeError, match="names"):
            named.to_dict()
        line = named.to_dict(described.names)
        assert (line["class"], line["object_like"]) == (name, name)


def test_a_name_that_is_no_utf8(tmp_path: Path, folder: Path, described: Described) -> None:
    """Its photo is named and shown on the sheet, and in a report; written is what can be."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    try:
        shutil.copy(folder / "red/3.png", odd)
    except OSError:
        pytest.skip("this disk takes no such name")
    named = Classifier.of(described).name(odd)
    write_names([named], described, tmp_path / "out", sheet=True)
    (line,) = (tmp_path / "out/classes.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["image"] == f"{tmp_path}/caf\\udce9.png"
    assert (tmp_path / "out/sheet.png").stat().st_size > 1000
    things = shutil.copytree(folder, tmp_path / "things")
    odd.rename(things / "red" / odd.name)
    (things / "red" / (odd.stem + "t.png")).touch()
    found = describe(PerSAM(ColourModel()), read_classes(things))
    assert len(found.left_out) == 1
    page = write_report(bench(found, (1,), draws=1), tmp_path / "report")
    assert page.read_text(encoding="utf-8").count("<figure") == 16
