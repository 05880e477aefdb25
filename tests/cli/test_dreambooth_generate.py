"""`persam dreambooth generate` and `score`, from the command line: folders, JSON, and what bad input gets."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from tests.cli.conftest import Run
from tests.dreambooth.score_fixtures import generated, prepared, saved_clip, saved_dino
from tests.dreambooth.test_runs import run_in
from tests.dreambooth.tiny_pipelines import make_tiny

from persam.cli.dreambooth import app
from persam.dreambooth import background_leak, small_world
from persam.dreambooth.runs import write_run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run and its base, CLIP, DINO, and a prepared folder."""
    folder = tmp_path_factory.mktemp("home")
    make_tiny("sd15", folder / "base")
    make_tiny("sd15", folder / "masked" / "pipeline", seed=1)
    write_run(run_in(folder / "masked", folder / "base", "full"))
    saved_clip(folder / "clip")
    saved_dino(folder / "dino")
    prepared(folder / "photos", name="mug")
    prepared(folder / "single", photos=1, name="mug")
    return folder


def test_generate_then_score(home: Path, run: Run, tmp_path: Path) -> None:
    asked = ("--prompt", "a photo of {subject}", "--prompt", "a red {subject}", "--seeds", "2", "--steps", "2")
    made = run("dreambooth", "generate", home / "masked", "--base", *asked, "-o", "pictures", "--json")
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout)
    assert told["pictures"] == 8
    assert set(told["runs"]) == {"masked", "base"}
    folder = tmp_path / "pictures"
    assert Image.open(folder / "grid.png").height > 400
    assert "generated.html" in [file.name for file in folder.iterdir()]

    networks = ("--clip", home / "clip", "--dino", home / "dino")
    scored = run("dreambooth", "score", "pictures", "--references", home / "photos", *networks, "-o", "scores")
    assert scored.exit_code == 0, scored.output
    for words in ("masked", "base", "DreamBooth (paper)", "0.812", "29.7", "torch-fidelity is not installed"):
        assert words in scored.stdout
    rows = json.loads((tmp_path / "scores" / "scores.json").read_text())["scores"]
    assert len(rows) == 2 + 2 * 2
    assert rows[0]["kid"]["low"] <= rows[0]["kid"]["value"] <= rows[0]["kid"]["high"]
    written = {file.name for file in (tmp_path / "scores").iterdir() if not file.name.startswith(".")}
    assert written == {"scores.json", "scores.md", "scores.tex", "scores.csv", "pictures.csv"}
    assert len((tmp_path / "scores" / "pictures.csv").read_text().splitlines()) == 9
    again = run(
        "dreambooth", "score", "pictures", "--references", home / "photos", *networks, "--json", "--kid", "dino"
    )
    assert json.loads(again.stdout)["kid"] == str(home / "dino")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("generate", "nowhere/run", "-o", "out"), 1, "not on this machine, and the hub cannot be reached"),
        (("generate", "{home}/photos", "-o", "out"), 2, "photos has neither run.json nor model_index.json"),
        (("generate", "{home}/masked", "-o", "out", "--prompts", "empty.txt"), 2, "empty.txt has no prompt"),
        (("generate", "{home}/masked", "-o", "out", "--prompt", " "), 2, "The prompt is empty"),
        (("generate", "{home}/masked", "-o", "out", "--prompt", "a {dog}"), 2, "which stands for nothing"),
        (("generate", "{home}/base", "-o", "out"), 2, "Nothing says what {subject} in the prompt"),
        (("generate", "{home}/masked", "-o", "out", "--subject", "dog"), 2, "know no subject dog; they know: mug"),
        (("generate", "{home}/masked", "-o", "out", "--steps", "0"), 2, "0 steps make no picture"),
        (("generate", "{home}/masked", "-o", "out", "--steps", "600"), 2, "600 steps do not spread"),
        (("generate", "{home}/masked", "-o", "out", "--first-seed", str(2**63 - 1)), 2, "is out of range; give 0 to"),
        (("generate", "{home}/masked", "-o", "empty.txt"), 2, "empty.txt is a file; give a folder"),
        (("score", "{home}/photos", "--references", "{home}/photos"), 2, "has no generated.json"),
        (("score", "made", "--references", "made"), 2, "has no dreambooth.json"),
        (("score", "made", "--references", "{home}/photos", "--kid", "fid"), 2, "There is no --kid"),
        (("score", "made", "--references", "{home}/photos", "--clip", "no/clip"), 1, "no/clip is not on this machine"),
    ],
)
def test_what_bad_input_gets(
    arguments: tuple[str, ...], code: int, said: str, home: Path, refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    generated(tmp_path / "made", prompts=1, seeds=1)
    sentence = refused("dreambooth", *(each.replace("{home}", str(home)) for each in arguments), code=code)
    assert said in sentence
    assert not (tmp_path / "out").exists()


def test_too_few_pictures_for_kid_are_told_beside_the_other_scores(home: Path, run: Run, tmp_path: Path) -> None:
    made = generated(tmp_path / "made", prompts=1, seeds=1)
    told = json.loads((made.folder / "generated.json").read_text().replace("my_mug", "mug"))
    (made.folder / "generated.json").write_text(json.dumps(told))
    networks = ("--clip", home / "clip", "--dino", home / "dino")
    found = run("dreambooth", "score", "made", "--references", home / "single", *networks)
    assert found.exit_code == 0, found.output
    assert "KID needs 2 generated pictures and 2 real photos at least, and there is 1 real photo" in found.stdout


def test_a_picture_that_somebody_changed_is_not_replaced(home: Path, run: Run, tmp_path: Path) -> None:
    arguments = ("dreambooth", "generate", home / "masked", "--prompt", "a {subject}", "--seeds", 1, "-o", "out")
    assert run(*arguments, "--steps", 1).exit_code == 0
    Image.new("RGB", (9, 9)).save(tmp_path / "out" / "images" / "masked" / "prompt_00" / "seed_0000.png")
    again = run(*arguments, "--steps", 2)
    assert again.exit_code == 2
    assert "was changed after persam wrote it" in again.stderr
    assert run(*arguments, "--steps", 2, "--overwrite").exit_code == 0


def test_leak_goes_on_or_begins_anew(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_world, "SmallTraining", partial(small_world.SmallTraining, steps=1, batch=2))
    less = {"photos": 1, "class_count": 1, "sampling_steps": 1}
    monkeypatch.setattr(background_leak.LeakSettings, "runs", {"mask": {"masked": True}})
    monkeypatch.setattr(background_leak, "LeakSettings", partial(background_leak.LeakSettings, **less))
    arguments = ("dreambooth", "leak", "-o", "leak", "--seeds", 2, "--steps", 1)
    made = run(*arguments)
    assert made.exit_code == 0, made.output
    assert "base, not trained" in made.stdout
    assert Image.open(tmp_path / "leak" / "leak.png").width > 100

    def content() -> dict[Path, bytes]:
        return {file: file.read_bytes() for kind in ("*.png", "*.safetensors") for file in tmp_path.rglob(kind)}

    before = content()
    refused = run(*arguments, "--seed", 1)
    assert refused.exit_code == 2
    assert "seed was 0 and is 1; give the same to go on" in refused.stderr
    assert content() == before
    anew = run(*arguments, "--seed", 1, "--overwrite")
    assert anew.exit_code == 0, anew.output
    after = content()
    assert after.keys() == before.keys()
    weights = [file for file in after if "unet" in file.parts]
    assert len(weights) == 2
    assert all(after[file] != before[file] for file in weights)


def test_the_commands_are_there() -> None:
    assert {"generate", "score", "leak"} <= {each.name for each in app.registered_commands}
