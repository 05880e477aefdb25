"""`persam show`: what a concept file holds."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from persam import Concept


def test_prints_what_is_in_the_file(run, learned):
    result = run("show", learned)
    assert result.exit_code == 0
    for words in ("my disc", "tiny", "persam", "cues and score", "160 x 120", "not tuned"):
        assert words in result.stdout
    assert "--finder" not in result.stdout  # it came without words


def test_json(run, learned):
    data = json.loads(run("show", learned, "--json").stdout)
    assert data["name"] == "my disc"
    assert data["model"]["name"] == "tiny"
    assert len(data["references"][0]["sha256"]) == 64


def test_missing(refused):
    assert "There is no concept file gone.safetensors" in refused("show", "gone.safetensors", code=1)


def test_damaged(refused, tmp_path):
    (tmp_path / "bad.safetensors").write_text("dear diary")
    (tmp_path / "mug.jpg").write_bytes(b"a photo")
    assert "mug.jpg is a picture; name the concept file" in refused("show", "mug.jpg", code=1)
    assert "bad.safetensors is damaged or no safetensors file" in refused("show", "bad.safetensors", code=1)


def test_foreign(refused, tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "lora.safetensors")
    assert "holds no concept of persam" in refused("show", "lora.safetensors", code=1)


def test_what_finds_it_and_whether_that_is_here(run, learned):
    result = run("show", learned)
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("finds it with")]
    assert line.split(maxsplit=3)[-1].split() == ["persam", "segment", str(learned), "PHOTOS", "--model", "tiny"]
    assert json.loads(run("show", learned, "--json").stdout)["here"] is True


@pytest.mark.parametrize(
    ("model", "encoder", "said"),
    [
        ("facebook/sam-vit-huge", None, "no; facebook/sam-vit-huge is downloaded when it is first named"),
        ("sam_vit_h_4b8939", None, "no; say with --model where the file or folder of sam_vit_h_4b8939 is"),
        ("tiny", "facebook/dinov2-base", "no; facebook/dinov2-base is downloaded when it is first named"),
        ("mine", None, "yes"),
    ],
)
def test_a_model_that_may_be_elsewhere(run, learned, tmp_path, model, encoder, said):
    (tmp_path / "mine.pth").touch()
    concept = replace(Concept.load(learned), model_name=model)
    concept = replace(concept, encoder_name=encoder or model, encoder="0" * 12 if encoder else concept.model)
    concept.save(tmp_path / "other.safetensors")
    output = " ".join(run("show", "other.safetensors").stdout.split())
    assert f"on this machine {said} finds it with" in output
    data = json.loads(run("show", "other.safetensors", "--json").stdout)
    named = ["--model", "mine.pth" if model == "mine" else model]
    named += ["--encoder", f"{encoder}@positions=kept"] if encoder else []
    assert data["command"].split() == ["persam", "segment", "other.safetensors", "PHOTOS", *named]
    assert data["here"] == (said == "yes")


@pytest.mark.parametrize(
    ("recorded", "named"),
    [
        ("dino@layers=9@positions=removed", "dino@layers=9@positions=removed"),
        ("dino", "dino@positions=kept"),  # as before positions were removed
    ],
)
def test_an_encoder_with_options(run, learned, tmp_path, recorded, named):
    """It is here where the network is here, and the command does what was done."""
    (tmp_path / "dino").mkdir()
    replace(Concept.load(learned), encoder_name=recorded, encoder="0" * 12).save(tmp_path / "other.safetensors")
    data = json.loads(run("show", "other.safetensors", "--json").stdout)
    assert data["here"] is True
    assert data["command"].endswith(f"--model tiny --encoder {named}")
