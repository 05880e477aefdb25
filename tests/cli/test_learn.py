"""`persam learn`: every form of reference, and what is said of bad input."""

from __future__ import annotations

import errno
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.fakes import SMALL_TINY

from persam import Concept
from persam.models.tiny.architecture import TinySam


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.suffix == ".safetensors" or path.name.startswith(".")]


class TestForms:
    def test_mask(self, run, photo_file, mask_file, tmp_path):
        result = run("learn", photo_file, mask_file, "--name", "my mug", "--preview", "check.png")
        assert result.exit_code == 0, result.output
        assert "Learned 'my mug' from 1 photo" in result.stdout
        concept = Concept.load(tmp_path / "my mug.safetensors")
        assert concept.name == "my mug"
        assert concept.scale_weights is None
        assert concept.thumbnail is None
        assert Image.open(tmp_path / "check.png").size == (160, 120)

    def test_name_follows_the_output(self, run, photo_file, mask_file, tmp_path):
        assert run("learn", photo_file, mask_file, "-o", "Tasse ☕").exit_code == 0
        assert Concept.load(tmp_path / "Tasse ☕.safetensors").name == "Tasse ☕"

    def test_json_alone_on_stdout(self, run, photo_file, mask_file):
        data = json.loads(run("learn", photo_file, mask_file, "--json", "--thumbnail").stdout)
        assert data["path"] == "photo.safetensors"
        assert data["has_thumbnail"]
        assert data["references"][0]["size"] == [120, 160]

    def test_json_tells_what_the_file_holds(self, run, photo_file, mask_file):
        assert not json.loads(run("learn", photo_file, mask_file, "--json").stdout)["has_thumbnail"]

    def test_a_way_to_tune_without_tuning(self, refused, photo_file, mask_file):
        assert "add --tune" in refused("learn", photo_file, mask_file, "--solver", "adamw", code=2)

    def test_tune(self, run, photo_file, mask_file, tmp_path):
        assert run("learn", photo_file, mask_file, "--tune").exit_code == 0
        assert sum(Concept.load(tmp_path / "photo.safetensors").scale_weights) == pytest.approx(1, abs=1e-4)

    @pytest.mark.parametrize(
        "form",
        [
            ["--box", "32,42,89,99"],
            ["--box", "32 42 89 99"],
            ["--point", "60,55", "--point", "60,85", "--not-point", "5,5"],
            ["--box", "32,42,89,99", "--point", "60,70"],
            ["--scribble", "strokes.png"],
        ],
    )
    def test_other_forms(self, run, photo_file, form, tmp_path):
        strokes = np.zeros((120, 160), bool)
        strokes[52:90, 55:60] = True
        Image.fromarray(strokes).save(tmp_path / "strokes.png")
        result = run("learn", photo_file, *form)
        assert result.exit_code == 0, result.output

    def test_transparent_cut_out(self, run, scene, tmp_path):
        Image.fromarray(np.dstack([scene[0], scene[1].astype(np.uint8) * 255])).save(tmp_path / "cut.png")
        assert run("learn", "cut.png").exit_code == 0

    def test_several_references(self, run, photo_file, mask_file, tmp_path):
        pair = f"{photo_file}:{mask_file}"
        result = run("learn", photo_file, mask_file, "-r", pair, "-r", pair, "-o", "three")
        assert result.exit_code == 0, result.output
        assert len(Concept.load(tmp_path / "three.safetensors").references) == 3


class TestWords:
    """What may not be meant is said on stderr, and in JSON; the result is there all the same."""

    @pytest.mark.parametrize(
        ("mask", "words"),
        [
            (np.eye(120, 160, dtype=bool) & (np.arange(160) < 3), "marks 3 pixels of the photo, hardly enough"),
            (np.pad(np.zeros((60, 60), bool), ((30, 30), (50, 50)), constant_values=True), "as if it were inverted"),
            (np.kron([[0, 1], [2, 3]], np.ones((60, 80))).astype(np.uint8), "has the labels 1, 2, 3, and all of them"),
        ],
    )
    def test_masks(self, run, photo_file, tmp_path, mask, words):
        Image.fromarray(mask).save(tmp_path / "m.png")
        result = run("learn", photo_file, "m.png", "--json")
        assert result.exit_code == 0, result.output
        (sentence,) = json.loads(result.stdout)["warnings"]
        assert sentence.startswith("The mask m.png ")
        assert words in sentence
        assert result.stderr.count(sentence) == 1

    def test_none_of_a_sound_one(self, run, photo_file, mask_file):
        result = run("learn", photo_file, mask_file, "--json")
        assert json.loads(result.stdout)["warnings"] == []
        assert result.stderr == ""

    def test_a_label_of_every_reference(self, run, photo_file, tmp_path):
        labels = np.kron([[0, 1], [2, 3]], np.ones((60, 80))).astype(np.uint8)
        Image.fromarray(labels).save(tmp_path / "m.png")
        result = run("learn", photo_file, "m.png", "-r", f"{photo_file}:m.png", "--label", "2", "--json")
        data = json.loads(result.stdout)
        assert (data["warnings"], [each["coverage"] for each in data["references"]]) == ([], [0.25, 0.25])

    def test_a_photo_that_is_turned(self, run, scene, mask_file, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 3
        Image.fromarray(scene[0]).save(tmp_path / "p.jpg", exif=exif)
        assert "add --mask-as-stored" in run("learn", "p.jpg", mask_file, "-o", "a").stderr
        assert "add --mask-as-stored" not in run("learn", "p.jpg", mask_file, "-o", "b", "--mask-as-stored").stderr
        shown, stored = (Concept.load(tmp_path / f"{name}.safetensors") for name in "ab")
        assert not torch.equal(shown.targets[0].direction, stored.targets[0].direction)

    def test_a_photo_of_several_pages(self, run, scene, mask_file, tmp_path):
        pages = [Image.fromarray(scene[0]), Image.fromarray(scene[0][::-1])]
        pages[0].save(tmp_path / "p.tif", save_all=True, append_images=pages[1:])
        (sentence,) = json.loads(run("learn", "p.tif", mask_file, "--json").stdout)["warnings"]
        assert "p.tif has 2 pages; only the first is taken" in sentence


class TestBadPhotos:
    @pytest.mark.parametrize(
        ("kind", "words"),
        [
            ("missing", "There is no photo at"),
            ("empty", "is empty (0 bytes)"),
            ("cut", "is truncated or damaged"),
            ("text", "is not a picture that can be read"),
            ("bomb", "400 million pixels, more than the 250 million allowed"),
            ("folder", "is a folder, not a photo"),
        ],
    )
    def test_refused(self, refused, damaged, mask_file, tmp_path, kind, words):
        sentence = refused("learn", damaged[kind], mask_file, code=1)
        assert words in sentence
        assert str(damaged[kind]) in sentence
        assert leftovers(tmp_path) == []


class TestBadMasks:
    @pytest.mark.parametrize(
        ("mask", "words"),
        [
            (np.zeros((120, 160), np.uint8), "has no object"),
            (np.full((120, 160), 255, np.uint8), "covers everything"),
            (np.eye(120, 120, dtype=np.uint8), "is 120 x 120 pixels, the photo 160 x 120: another aspect"),
            (np.eye(160, 120, dtype=np.uint8), "lies on its side"),
        ],
    )
    def test_refused(self, refused, photo_file, tmp_path, mask, words):
        Image.fromarray(mask).save(tmp_path / "bad.png")
        assert words in refused("learn", photo_file, "bad.png", code=1)
        assert leftovers(tmp_path) == []

    @pytest.mark.parametrize("kind", ["missing", "empty", "cut", "text"])
    def test_files(self, refused, photo_file, damaged, kind):
        assert f"mask {damaged[kind]}" in refused("learn", photo_file, damaged[kind], code=1).replace("at ", "")

    @pytest.mark.parametrize("factor", [1, 128, 255, 257])
    def test_values_that_people_store(self, run, scene, photo_file, tmp_path, factor):
        mask = scene[1].astype(np.uint16 if factor == 257 else np.uint8) * factor
        Image.fromarray(mask).save(tmp_path / "m.png")
        data = json.loads(run("learn", photo_file, "m.png", "--json").stdout)
        assert data["references"][0]["coverage"] == pytest.approx(scene[1].mean(), abs=1e-4)


@pytest.mark.usefixtures("mask_file")
class TestWrongCalls:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ([], "Nothing shows where the object is"),
            (["--box", "1,2,3"], "--box takes x0,y0,x1,y1 in photo pixels"),
            (["--box", "a,b,c,d"], "--box takes"),
            (["--box", "1,2,900,100"], "reaches out of the photo, which is 160 x 120 pixels"),
            (["--point", "999,5"], "lies outside the photo"),
            (["--point", "5"], "--point takes x,y"),
            (["--not-point", "5,5"], "Every point lies beside the object"),
            (["mask.png", "--box", "1,2,3,4"], "not both"),
            (["--box", "1,2,30,40", "-o", "mug.png"], "A concept file ends in .safetensors; mug.png does not"),
            (["--box", "1,2,30,40", "-r", "other.jpg"], "--reference takes PHOTO:MASK"),
            (["--box", "1,2,30,40", "--mode", "best"], "best"),
            (["--box", "1,2,30,40", "--device", "abacus"], "abacus"),
            (["--box", "1,2,30,40", "--dtype", "int3"], "int3"),
            (["--box", "1,2,30,40", "--tune", "--solver", "prayer"], "prayer"),
            (["--box", "1,2,30,40", "--solver", "prayer"], 'There is no solver "prayer"'),
            (["--box", "1,2,30,40", "--label", "2"], "A label chooses a part of a mask"),
            (["photo_mask.png", "--label", "7"], "has no labels to choose from; leave --label out"),
            (["photo_mask.png", "--label", "mug"], "A label is a number such as 3"),
        ],
    )
    def test_refused(self, refused, photo_file, tmp_path, arguments, words):
        assert words in refused("learn", photo_file, *arguments, code=2)
        assert leftovers(tmp_path) == []


class Trap:
    """Unpickling this would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


class TestModels:
    def learn(self, refused, photo_file, mask_file, model: object) -> str:
        return refused("learn", photo_file, mask_file, "--model", model, code=1)

    def test_unknown_name(self, refused, photo_file, mask_file):
        assert "no/such-model" in self.learn(refused, photo_file, mask_file, "no/such-model")

    @pytest.mark.parametrize("name", ["gone.pth", "gone.safetensors"])
    def test_missing_file(self, refused, photo_file, mask_file, name):
        assert name in self.learn(refused, photo_file, mask_file, name)

    def test_no_checkpoint(self, refused, photo_file, mask_file, tmp_path):
        (tmp_path / "sam.pth").write_text("no checkpoint at all")
        assert "sam.pth" in self.learn(refused, photo_file, mask_file, "sam.pth")

    def test_checkpoint_of_another_model(self, refused, photo_file, mask_file, tmp_path):
        torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
        assert "not one of SAM" in self.learn(refused, photo_file, mask_file, "other.pth")

    @pytest.mark.parametrize("how", ["torch", "pickle"])
    def test_code_in_a_checkpoint_is_never_run(self, refused, photo_file, mask_file, tmp_path, how):
        trap = {"model": Trap(tmp_path / "sprung")}
        if how == "torch":
            torch.save(trap, tmp_path / "evil.pth")
        else:
            (tmp_path / "evil.pth").write_bytes(pickle.dumps(trap))
        assert "evil.pth" in self.learn(refused, photo_file, mask_file, "evil.pth")
        assert not (tmp_path / "sprung").exists()

    def test_weights_of_something_else(self, refused, photo_file, mask_file, learned):
        assert "disc.safetensors" in self.learn(refused, photo_file, mask_file, learned)

    def test_weights_that_are_no_numbers(self, refused, photo_file, mask_file, tmp_path):
        network = TinySam(SMALL_TINY)
        network.vision_encoder.neck.lat[0].weight.data[0, 0] = float("nan")
        network.save(tmp_path / "mine.safetensors")
        sentence = self.learn(refused, photo_file, mask_file, "mine.safetensors")
        assert "The weights of the model mine are damaged: vision_encoder.neck.lat.0.weight holds NaN" in sentence

    def test_fitted_numbers_of_another_model(self, refused, photo_file, mask_file, tmp_path):
        (tmp_path / "f.json").write_text("{}")
        arguments = ("learn", photo_file, mask_file, "--fitted")
        assert "f.json has no numbers of this model" in refused(*arguments, "f.json", code=1)
        assert "gone.json cannot be read" in refused(*arguments, "gone.json", code=1)


class TestWriting:
    def test_no_room_on_the_disk(self, refused, photo_file, mask_file, tmp_path, monkeypatch):
        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
        sentence = refused("learn", photo_file, mask_file, "-o", "mug.safetensors", code=1)
        assert "mug.safetensors" in sentence
        assert "no room" in sentence.lower() or "no space" in sentence.lower()
        assert leftovers(tmp_path) == []

    def test_place_that_cannot_be_written(self, refused, photo_file, mask_file, tmp_path):
        (tmp_path / "file").write_text("x")
        assert "mug.safetensors" in refused("learn", photo_file, mask_file, "-o", "file/mug.safetensors", code=1)
