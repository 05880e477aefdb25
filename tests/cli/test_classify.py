"""`persam classify` as a user calls it, with the bundled model and with a CLIP from a folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.classify.drawn import CLASSES, draw, write_classes
from tests.cli.conftest import Run
from tests.finders import CLIP_WORDS, clip_tokenizer
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig


@pytest.fixture
def things(tmp_path: Path) -> Path:
    """Three classes of two photos, one of each with a mask; and three new photos."""
    (tmp_path / "new").mkdir()
    for number, (name, colour) in enumerate(CLASSES.items()):
        Image.fromarray(draw(colour, 70 + number, 96)[0]).save(tmp_path / f"new/{name}.png")
    return write_classes(tmp_path / "things", photos=2, side=96)


def test_new_photos_are_named(run: Run, things: Path, tmp_path: Path) -> None:
    done = run("classify", "new", "--classes", "things", "-o", "out", "--sheet")
    assert done.exit_code == 0, done.output
    assert "3 photos named by Tip-Adapter from 6 photos of 3 classes, object alone" in done.stderr
    assert "without the classes' names" in done.stderr
    rows = list(csv.DictReader((tmp_path / "out/classes.csv").open()))
    assert [Path(row["image"]).stem for row in rows] == [row["class"] for row in rows] == ["blue", "green", "red"]
    lines = [json.loads(line) for line in (tmp_path / "out/classes.jsonl").read_text().splitlines()]
    assert [line["class"] for line in lines] == ["blue", "green", "red"]
    for row, line in zip(rows, lines, strict=True):
        assert float(row["probability"]) == line["probability"] == line["probabilities"][row["class"]]
        assert row["runner_up"] != row["class"]
    assert (tmp_path / "out/sheet.html").stat().st_size > 1000
    assert Image.open(tmp_path / "out/sheet.png").width > 300
    again = run("classify", "new", "--classes", "things", "-o", "out", "--whole", "--json")
    assert again.exit_code == 0, again.output
    told = json.loads(again.stdout)
    assert (told["looked_at"], told["method"], told["words"]) == ("whole photo", "Tip-Adapter", False)
    assert [sorted(one["probabilities"]) for one in told["results"]] == [["blue", "green", "red"]] * 3


def test_by_the_words_of_a_clip(run: Run, things: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    last = len(CLIP_WORDS) - 1
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    text = small | {"vocab_size": last + 1, "max_position_embeddings": 77, "bos_token_id": 0, "eos_token_id": last}
    vision = CLIPVisionConfig(**small, image_size=28, patch_size=14)
    CLIPModel(CLIPConfig(vision_config=vision.to_dict(), text_config=text, projection_dim=16)).save_pretrained("clip")
    clip_tokenizer().save_pretrained("clip")
    arguments = ["classify", "bench", "things", "--encoder", "clip", "--shots", "1", "--draws", "1", "--whole"]
    done = run(*arguments, "--json", "-o", "report")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["words"]
    assert {"words alone", "Tip-Adapter-F"} <= {one["method"] for one in told["accuracy"]}
    done = run(*arguments, "--no-words")
    assert done.exit_code == 0, done.output
    assert "clip knows no words, so the text term of Tip-Adapter is left out." in done.stdout


def test_the_bench(run: Run, things: Path, tmp_path: Path) -> None:
    done = run("classify", "bench", "things", "--shots", "1,2", "--draws", "2", "-o", "report")
    assert done.exit_code == 0, done.output
    for part in (
        "Tip-Adapter-F",
        "nearest class mean",
        "surest concept",
        "Object alone less whole photo",
        "chance 33.3",
    ):
        assert part in done.stdout
    assert "The report is report/report.html" in done.stderr
    assert "<h1>Few-shot classification</h1>" in (tmp_path / "report/report.html").read_text()


def test_what_is_missing_is_told(run: Run, refused: Callable[..., str], things: Path, tmp_path: Path) -> None:
    (things / "red/masks/0.png").unlink()
    (tmp_path / "new/red.png").write_bytes(b"")
    (things / "grey").mkdir()
    done = run("classify", "new", "--classes", "things", "-o", "out")
    assert done.exit_code == 1
    assert "Left out, for there is no photo in it: grey." in done.stderr
    assert "No mask shows red, so whole photos are looked at; give one mask of each class" in done.stderr
    assert "1 of 3 photos could not be named: new/red.png." in done.stderr
    assert len((tmp_path / "out/classes.csv").read_text().splitlines()) == 3


def test_wrong_calls(refused: Callable[..., str], things: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "one/cat").mkdir(parents=True)
    (tmp_path / "one/cat/1.jpg").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/classes.csv").write_text("mine")
    assert "There is no class with photos in empty" in refused("classify", "new", "--classes", "empty", code=2)
    assert "one class only (cat)" in refused("classify", "new", "--classes", "one", code=2)
    assert "There is no folder gone" in refused("classify", "bench", "gone", code=2)
    assert "--shots takes numbers" in refused("classify", "bench", "things", "--shots", "one", code=2)
    assert "was not written by persam" in refused("classify", "new", "--classes", "things", "-o", "mine", code=2)
    assert (tmp_path / "mine/classes.csv").read_text() == "mine"
    assert "not on this machine" in refused("classify", "bench", "things", "--encoder", "no/clip", code=1)
    assert not Path("classify-report").exists()
