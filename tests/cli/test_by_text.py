"""`persam learn --text` and `persam segment --finder`: tiny random finders loaded by name, and a scripted one."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.finders import ScriptedFinder, saved_grounding_dino, saved_sam3
from transformers.utils import logging

from persam import Concept, PerSAM, Reference, with_finder
from persam.album.album import Album

logging.disable_progress_bar()

TEXT = ("--text", "red disc")  # of which the random finder finds three things in the drawn photo


@pytest.fixture(scope="session")
def finders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finders")
    saved_sam3(folder / "sam3")
    saved_grounding_dino(folder / "dino")
    return folder


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> ScriptedFinder:
    """Finds the disc of the drawn photo, whatever it is named."""
    finder = ScriptedFinder(((0.2, 0.33, 0.56, 0.83), 0.9))
    monkeypatch.setattr("persam.models.words.load_finder", lambda name, **how: finder)
    return finder


@pytest.fixture
def disc(run, photo_file, mask_file) -> str:
    assert run("learn", photo_file, mask_file, "--text", "disc", "-o", "disc").exit_code == 0
    return "disc.safetensors"


def coverages(path: Path) -> list[float]:
    return [each.coverage for each in Concept.load(path).references]


def test_by_words_alone(run, photo_file, finders, tmp_path):
    result = run("learn", photo_file, *TEXT, "--finder", finders / "sam3", "-o", "a", "--keep-reference")
    assert result.exit_code == 0, result.output
    assert "Learned 'a' from 1 photo" in result.stdout
    assert "finds 3 things that 'red disc' may mean in" in result.stderr
    assert "found by the words 'red disc'; see it with --preview" in result.stderr
    concept = Concept.load(tmp_path / "a.safetensors")
    assert concept.text == "red disc"
    assert concept.kept_references()[0].text == "red disc"
    assert 0 < concept.references[0].coverage < 0.01
    assert "in words 'red disc'" in run("show", "a.safetensors").stdout
    found = run("segment", "a.safetensors", photo_file)
    assert found.exit_code == 0, found.output


def test_what_show_says_finds_it(run, photo_file, finders):
    """The command as it stands, and with a finder, which is the asker's choice."""
    assert run("learn", photo_file, *TEXT, "--finder", finders / "sam3", "-o", "a").exit_code == 0
    _, *words = shlex.split(json.loads(run("show", "a.safetensors", "--json").stdout)["command"])
    words[words.index("PHOTOS")] = str(photo_file)
    assert "words, too with --finder MODEL it also looks for 'red disc'" in " ".join(
        run("show", "a.safetensors").stdout.split()
    )
    for more in ((), ("--finder", finders / "sam3")):
        result = run(*words, *more, "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["done_before"] == 0  # other than without a finder


def test_another_of_several_and_a_picture_of_it(run, photo_file, finders, tmp_path):
    for number in (1, 2):
        more = ("--text-index", number, "--preview", f"{number}.png", "-o", f"{number}")
        result = run("learn", photo_file, *TEXT, "--finder", finders / "sam3", *more)
        assert result.exit_code == 0, result.output
        assert "things that" not in result.stderr
        assert "see it with" not in result.stderr
        assert Image.open(tmp_path / f"{number}.png").size == (160, 120)
    assert coverages(tmp_path / "1.safetensors") != coverages(tmp_path / "2.safetensors")


def test_the_model_reads_the_words_itself(run, photo_file, finders, tmp_path):
    result = run("learn", photo_file, *TEXT, "-m", finders / "sam3", "-o", "own", "--preview", "own.png")
    assert result.exit_code == 0, result.output
    run("learn", photo_file, *TEXT, "--finder", finders / "sam3", "-o", "other")
    assert coverages(tmp_path / "own.safetensors") == coverages(tmp_path / "other.safetensors")


def test_grounding_dino_finds_boxes_and_the_model_draws(run, photo_file, finders, tmp_path):
    result = run("learn", photo_file, "--text", "cat", "--finder", finders / "dino", "-o", "a")
    assert result.exit_code == 0, result.output
    assert Concept.load(tmp_path / "a.safetensors").text == "cat"


def test_several_photos_with_and_without_masks(run, photo_file, mask_file, scripted, tmp_path):
    pairs = ("-r", f"{photo_file}:{mask_file}", "-r", photo_file)
    result = run("learn", photo_file, "--text", "disc", "--finder", "any", *pairs, "-o", "three", "--json")
    assert result.exit_code == 0, result.output
    assert scripted.asked == [((120, 160), "disc")] * 2
    data = json.loads(result.stdout)
    assert [each["text"] for each in data["references"]] == ["disc"] * 3
    first, second, third = (each["coverage"] for each in data["references"])
    assert first == third != second


def test_beside_a_mask_the_words_are_kept_and_no_finder_is_needed(run, photo_file, mask_file, scripted, tmp_path):
    assert run("learn", photo_file, mask_file, "--text", "disc", "--name", "it", "-o", "a").exit_code == 0
    assert run("learn", photo_file, mask_file, "--name", "it", "-o", "b").exit_code == 0
    with_words, without = (Concept.load(tmp_path / f"{name}.safetensors") for name in "ab")
    assert (with_words.text, without.text) == ("disc", "")
    assert with_words.content_hash == without.content_hash  # by themselves, the words find nothing in other photos
    assert scripted.asked == []


def test_words_find_what_the_mask_shows(run, photo_file, scripted, scene, tmp_path):
    """The concept that words made finds the thing as the one that its mask made does."""
    assert run("learn", photo_file, "--text", "disc", "--finder", "any", "-o", "a").exit_code == 0
    assert run("segment", "a.safetensors", photo_file, "-o", "found").exit_code == 0
    (mask,) = (tmp_path / "found").rglob("*.png")
    found = np.array(Image.open(mask).convert("L")) > 127
    assert (found & scene[1]).sum() / (found | scene[1]).sum() > 0.8


def test_one_more_reference_by_words(run, photo_file, mask_file, scripted, tmp_path):
    assert run("learn", photo_file, mask_file, "-o", "a").exit_code == 0
    more = ("--from", "a.safetensors", "--text", "disc", "--finder", "any", "-o", "b")
    assert run("learn", photo_file, *more).exit_code == 0
    assert [each.text for each in Concept.load(tmp_path / "b.safetensors").references] == ["", "disc"]


def test_check_takes_the_same(run, photo_file, scripted):
    result = run("check", photo_file, "--text", "disc", "--finder", "any", "--json")
    assert result.exit_code == 0, result.output


class TestSegment:
    def results(self, run, *arguments) -> dict:
        result = run("segment", *arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def test_the_finder_weighs_in_and_what_was_done_is_not_done_again(self, run, disc, photo_file, scripted):
        alone = self.results(run, disc, photo_file)["results"][0]["score"]
        assert self.results(run, disc, photo_file)["done_before"] == 1
        data = self.results(run, disc, photo_file, "--finder", "any")
        assert data["done_before"] == 0  # another way of looking
        assert data["results"][0]["score"] > alone
        assert scripted.asked == [((120, 160), "disc")]
        assert self.results(run, disc, photo_file, "--finder", "any")["done_before"] == 1

    def test_a_folder_with_other_weights_is_another_finder(self, run, disc, photo_file, scripted, tmp_path):
        (tmp_path / "own").mkdir()
        for weights, done in (("some", 0), ("some", 1), ("others", 0)):
            if not done:
                (tmp_path / "own" / "model.safetensors").write_text(weights)
            data = self.results(run, disc, photo_file, "--finder", tmp_path / "own")
            assert data["done_before"] == done

    def test_by_networks(self, run, disc, photo_file, finders):
        for name in ("sam3", "dino"):
            data = self.results(run, disc, photo_file, "--finder", finders / name, "-o", name, "--max-instances", 3)
            assert 0 <= data["results"][0]["score"] <= 1

    def test_no_words(self, refused, run, photo_file, mask_file):
        run("learn", photo_file, mask_file, "-o", "a")
        sentence = refused("segment", "a.safetensors", photo_file, "--finder", "any", code=2)
        assert "'a' came without words, so a finder has nothing to look for; learn again with --text" in sentence

    def test_words_that_are_too_long_are_refused_once_for_all_photos(
        self, refused, run, photo_file, mask_file, finders
    ):
        run("learn", photo_file, mask_file, "--text", "the very old red mug that my aunt gave me", "-o", "a")
        sentence = refused("segment", "a.safetensors", photo_file, photo_file, "--finder", finders / "sam3", code=2)
        assert "is too long for" in sentence

    def test_no_finder(self, refused, disc, photo_file):
        assert "is not on this machine" in refused("segment", disc, photo_file, "--finder", "facebook/sam3", code=1)
        assert "--explain" in refused("segment", disc, photo_file, "--finder", "any", "--explain", code=2)


class TestAlbum:
    def filled(self, run, *arguments) -> dict:
        result = run("album", *arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def score(self, tmp_path) -> float:
        return json.loads((tmp_path / "album" / "results.jsonl").read_text())["score"]

    def test_the_finder_weighs_in_as_with_segment(self, run, disc, photo_file, scripted, tmp_path):
        kept = ("--cache", "1GB")
        self.filled(run, disc, photo_file, *kept)
        alone = self.score(tmp_path)
        assert scripted.asked == []
        data = self.filled(
            run, disc, photo_file, *kept, "--finder", "any"
        )  # what is kept of the photo does not serve it
        assert data["done_now"] == 1
        both = self.score(tmp_path)
        assert both > alone
        assert scripted.asked == [((120, 160), "disc")]
        assert self.filled(run, disc, photo_file, *kept, "--finder", "any")["done_before"] == 1
        result = run("segment", disc, photo_file, "--finder", "any", "--json")
        assert json.loads(result.stdout)["results"][0]["score"] == pytest.approx(both)

    def test_find_and_fix_ask_it_too(self, run, disc, photo_file, mask_file, scripted, tmp_path):
        self.filled(run, disc, photo_file, "--finder", "any")
        both = self.score(tmp_path)
        ranked = json.loads(run("album", "find", disc, "album", "--finder", "any", "--json").stdout)["ranked"]
        assert ranked[0]["score"] == pytest.approx(both)
        assert len(scripted.asked) == 1  # it is known from the album
        alone = json.loads(run("album", "find", disc, "album", "--json").stdout)["ranked"]
        assert alone[0]["score"] < both
        fixed = run("album", "fix", "album", disc, photo_file, mask_file, "--finder", "any", "-o", "better")
        assert fixed.exit_code == 0, fixed.output
        assert Concept.load(tmp_path / "better.safetensors").text == "disc"

    def test_no_words(self, refused, run, photo_file, mask_file):
        run("learn", photo_file, mask_file, "-o", "a")
        for command in (("album", "a.safetensors", photo_file), ("album", "find", "a.safetensors", ".")):
            assert "came without words" in refused(*command, "--finder", "any", code=2)

    def test_in_python(self, scripted, scene, tmp_path):
        image, mask = scene
        Image.fromarray(image).save(tmp_path / "photo.png")
        model = PerSAM.from_pretrained()
        concept = model.learn(Reference.read(image, mask, text="disc"), name="disc")
        with Album(tmp_path / "album") as album:
            album.fill(model, concept, tmp_path / "photo.png")
            report = album.fill(with_finder(model, scripted), concept, tmp_path / "photo.png")
        assert report.done_now == 1
        assert scripted.asked == [((120, 160), "disc")]


class TestSentences:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (
                ("--text", "mug"),
                "The model tiny reads no words; say with --finder what looks for them, such as facebook/",
            ),
            (("--text", ""), "The text '' names nothing; say in a word or two"),
            (("--finder", "facebook/sam3"), "are about words; say with --text what the object is"),
            (("--text", "mug", "--finder", ""), "A finder is named by a hub id or a folder, such as facebook/sam3"),
            (("--text-index", "2"), "are about words; say with --text"),
            (("--text", "mug", "--box", "1,2,30,40", "--text-index", "2"), "but here something else shows the object"),
        ],
    )
    def test_wrong_calls(self, refused, photo_file, arguments, words):
        assert words in refused("learn", photo_file, *arguments, code=2)

    @pytest.mark.parametrize(
        ("finder", "words"),
        [
            ("facebook/sam3", "is not on this machine, and the hub cannot be reached"),
            (".", "is there, but holds no model that transformers can load"),
            ("gone", "is not on this machine"),
        ],
    )
    def test_finders_that_are_none(self, refused, photo_file, tmp_path, finder, words):
        assert words in refused("learn", photo_file, "--text", "mug", "--finder", finder, code=1)
        assert not list(tmp_path.glob("*.safetensors"))

    def test_a_text_that_is_too_long(self, refused, photo_file, finders):
        text = "the very old red mug that my aunt gave me on Sunday"
        finder = ("--finder", finders / "sam3")
        sentence = refused("learn", photo_file, "--text", text, *finder, code=2)
        assert "which reads 32 tokens and not 42; say it in a word or two" in sentence

    def test_nothing_is_found(self, refused, photo_file, monkeypatch, tmp_path):
        monkeypatch.setattr("persam.models.words.load_finder", lambda name, **how: ScriptedFinder())
        sentence = refused("learn", photo_file, "--text", "mug", "--finder", "any", code=1)
        assert "script finds no 'mug' in" in sentence
        assert not list(tmp_path.glob("*.safetensors"))

    def test_words_without_a_photo(self, refused, photo_file, mask_file, run):
        run("learn", photo_file, mask_file, "-o", "a")
        sentence = refused("learn", "--from", "a.safetensors", "--text", "mug", "-o", "b", code=2)
        assert "Name the first photo to learn from" in sentence
