"""`persam show`: what a concept file holds."""

from __future__ import annotations

import json

import torch
from safetensors.torch import save_file


def test_prints_what_is_in_the_file(run, learned):
    result = run("show", learned)
    assert result.exit_code == 0
    for words in ("my disc", "tiny", "persam", "cues and score", "160 x 120", "not tuned"):
        assert words in result.stdout


def test_json(run, learned):
    data = json.loads(run("show", learned, "--json").stdout)
    assert data["name"] == "my disc"
    assert data["model"]["name"] == "tiny"
    assert len(data["references"][0]["sha256"]) == 64


def test_missing(refused):
    assert "There is no concept file gone.safetensors" in refused("show", "gone.safetensors", code=1)


def test_damaged(refused, tmp_path):
    (tmp_path / "bad.safetensors").write_text("dear diary")
    assert "bad.safetensors is damaged or no safetensors file" in refused("show", "bad.safetensors", code=1)


def test_foreign(refused, tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "lora.safetensors")
    assert "holds no concept of persam" in refused("show", "lora.safetensors", code=1)
