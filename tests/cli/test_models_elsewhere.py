"""A concept made with a model of one's own, looked for from another folder: the file is found where it was."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.models.promptables import saved_promptable
from tests.models.test_checkpoint import CASES
from tests.models.test_encoders import build

from persam import Concept, PerSAM
from persam.models import whereabouts


@pytest.fixture(autouse=True)
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setattr(whereabouts, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def away(run: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Go to a folder in which nothing is."""

    def go() -> None:
        (tmp_path / "away").mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / "away")

    return go


def own_model(kind: str) -> str:
    """A model in a folder m beside the photos, named from there."""
    Path("m").mkdir(exist_ok=True)
    if kind == "checkpoint":
        return shutil.copy(CASES[0], "m/mine.pth")
    return saved_promptable(kind, Path("m/mine"))


def learned_with(run, photo_file, mask_file, model, *more) -> tuple[Path, str]:
    """The concept, and the command that `persam learn` names next."""
    result = run("learn", photo_file, mask_file, "-m", model, "-o", "c/a disc", *more)
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Find it in other photos: ")]
    return Path("c/a disc.safetensors").absolute(), line.partition(": ")[2]


def test_what_learn_says_next_works(run, photo_file, mask_file, notes):
    """Also where nothing can be noted."""
    notes.touch()
    for number, kind in enumerate(("checkpoint", "sam", "sam2")):
        model = own_model(kind)
        _, command = learned_with(run, photo_file, mask_file, model, "--overwrite")
        program, *words = shlex.split(command)
        assert program == "persam"
        assert words[-2:] == ["--model", model]
        words[words.index("PHOTOS")] = str(photo_file)
        result = run(*words, "-o", f"found{number}")
        assert result.exit_code == 0, result.output
        shutil.rmtree("m")


def test_what_learn_says_of_the_bundled_model_is_short(run, photo_file, mask_file):
    _, command = learned_with(run, photo_file, mask_file, "tiny")
    assert shlex.split(command) == ["persam", "segment", str(Path("c/a disc.safetensors")), "PHOTOS"]


@pytest.mark.parametrize("kind", ["checkpoint", "sam", "sam2"])
def test_found_from_any_folder(run, photo_file, mask_file, away, kind):
    model = own_model(kind)
    place = Path(model).absolute()
    concept, _ = learned_with(run, photo_file, mask_file, model)
    for go in (lambda: None, away):
        go()
        result = run("segment", concept, photo_file, "--json")
        assert result.exit_code == 0, result.output
        data = json.loads(run("show", concept, "--json").stdout)
        assert data["here"] is True
        assert shlex.split(data["command"]) == ["persam", "segment", str(concept), "PHOTOS", "--model", str(place)]
        learned = run("learn", photo_file, mask_file, "--from", concept, "-o", "more")
        assert learned.exit_code == 0, learned.output
    place.rename(place.with_name("gone"))
    shown = " ".join(run("show", concept).stdout.split())
    assert "on this machine no; say with --model where the file or folder of mine is" in shown
    result = run("segment", concept, photo_file)
    assert result.exit_code == 2
    assert "made with the model mine, a file or folder that is not here; say with --model where it is." in result.stderr


def test_an_encoder_of_ones_own(run, photo_file, mask_file, away):
    build("dinov2").save_pretrained("e/dino")
    asked = "e/dino@layers=1"
    concept, command = learned_with(run, photo_file, mask_file, "tiny", "--encoder", asked)
    assert shlex.split(command)[-2:] == ["--encoder", asked]
    assert Concept.load(concept).encoder_name == "dino@layers=1"
    place = Path("e/dino").absolute()
    away()
    assert run("segment", concept, photo_file).exit_code == 0
    words = shlex.split(json.loads(run("show", concept, "--json").stdout)["command"])
    assert words[-4:] == ["--model", "tiny", "--encoder", f"{place}@layers=1@positions=kept"]
    shutil.rmtree(place)
    shown = run("show", concept).stdout
    assert "say with --encoder where the file or folder of dino is" in " ".join(shown.split())
    result = run("segment", concept, photo_file, "-o", "again")
    assert "made with the encoder dino, a file or folder that is not here; say with --encoder" in result.stderr


def test_the_concept_tells_nobody_where_the_model_is(run, photo_file, mask_file, tmp_path):
    model = Path(own_model("sam2")).absolute()
    concept, _ = learned_with(run, photo_file.name, mask_file.name, model)
    data = concept.read_bytes()
    assert Concept.load(concept).model_name == "mine"
    assert str(tmp_path).encode() not in data
    assert b"m/mine" not in data


def test_models_of_one_name_are_told_apart_by_their_weights(run, photo_file, mask_file, away):
    """Also where one of the same name is at hand."""
    (first, second) = (saved_promptable("sam", Path(f"m{seed}/mine"), seed) for seed in (0, 1))
    files = []
    for model in (first, second):
        concept, _ = learned_with(run, photo_file, mask_file, model)
        files.append(concept.rename(concept.with_stem(f"disc{len(files)}")))
    away()
    shutil.copytree(Path("..") / second, "mine")
    for file in files:
        assert run("segment", file, photo_file, "-o", file.stem).exit_code == 0


def test_one_that_was_moved_and_renamed_is_named_once(run, photo_file, mask_file, away):
    concept, _ = learned_with(run, photo_file, mask_file, own_model("checkpoint"))
    Path("m/mine.pth").rename("new.pth")
    away()
    assert run("segment", concept, photo_file).exit_code == 2
    assert run("segment", concept, photo_file, "--model", "../new.pth").exit_code == 0
    assert run("segment", concept, photo_file, "--overwrite").exit_code == 0


def test_a_hub_id_stands_for_the_hub(run, photo_file, mask_file, away):
    """Also where the same weights lie in a folder of one's own."""
    concept, _ = learned_with(run, photo_file, mask_file, own_model("sam"))
    replace(Concept.load(concept), model_name="somebody/sam", encoder_name="somebody/sam").save(concept)
    shown = " ".join(run("show", concept).stdout.split())
    assert "on this machine no; somebody/sam is downloaded when it is first named" in shown
    assert "--model somebody/sam" in shown


def test_other_weights_in_its_place_are_refused(run, photo_file, mask_file, away):
    concept, _ = learned_with(run, photo_file, mask_file, own_model("sam"))
    saved_promptable("sam", Path("m/mine"), seed=1)
    away()
    result = run("segment", concept, photo_file)
    assert result.exit_code == 1
    assert "was made with the model mine (" in result.stderr


def test_older_concepts_know_a_folder_as_it_was_typed(run, photo_file, mask_file, away):
    model = own_model("sam2")
    concept, _ = learned_with(run, photo_file, mask_file, model)
    for name in (model, str(Path(model).absolute())):
        old = replace(Concept.load(concept), model_name=name, encoder_name=name)
        old.save(concept)
        away()
        assert run("segment", concept, photo_file, "--overwrite").exit_code == 0
        assert json.loads(run("show", concept, "--json").stdout)["here"] is True


def test_a_fingerprint_is_no_path(run, photo_file, mask_file, tmp_path):
    """Nobody's concept makes persam read another file than a note."""
    saved_promptable("sam", tmp_path / "mine")
    (tmp_path / "cache" / "models").mkdir(parents=True)
    (tmp_path / "cache" / "secret.path").write_bytes(os.fsencode(tmp_path / "mine"))
    assert whereabouts.remembered("mine", "../secret") is None
    PerSAM.from_pretrained(tmp_path / "mine", device="cpu")
    assert {file.suffix for file in (tmp_path / "cache" / "models").iterdir()} == {".path"}
