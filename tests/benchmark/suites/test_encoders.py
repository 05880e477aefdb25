"""The table of models and encoders, with models from folders and a hub that is out of reach."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.fakes import random_network
from transformers import Dinov2Config, Dinov2Model

from persam.benchmark.records import grouped
from persam.benchmark.running.run import run
from persam.benchmark.suites import encoders
from persam.benchmark.suites.encoders import compare_encoders, is_tuned
from persam.benchmark.suites.suite import PhotoSet, read_photos
from persam.errors import PersamError, UsageError
from persam.method.settings import Settings

PERSAM = Settings.of("persam")
MISSING, NO_ENCODER = "nobody/no-such-sam", "nobody/no-such-dino"


@pytest.fixture
def photos(data: Path) -> PhotoSet:
    return read_photos(data / "perseg", "perseg")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A tiny random SAM and a tiny random DINOv2."""
    root = tmp_path_factory.mktemp("models")
    random_network().save_pretrained(root / "sam")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56}
    Dinov2Model(Dinov2Config(**sizes, patch_size=14, mlp_ratio=2)).save_pretrained(root / "dino")
    return str(root / "sam"), str(root / "dino")


def test_every_pair_and_what_is_missing(photos, folders):
    sam, dino = folders
    steps: list[int] = []
    found = compare_encoders(
        [sam, MISSING, sam],
        [dino, NO_ENCODER],
        photos,
        PERSAM,
        device="cpu",
        dtype="float32",
        progress=lambda: steps.append(1),
    )
    assert len(steps) == 4
    assert [row["method"] for row in found.rows] == ["PerSAM", "PerSAM"]
    assert set(found.about["skipped"]) == {MISSING, NO_ENCODER}
    assert "is not on this machine" in found.about["skipped"][MISSING]

    own, other = found.rows
    assert (own["encoder"], other["encoder"]) == (None, dino)
    assert own["fingerprint"] == other["fingerprint"]
    assert own["encoder_fingerprint"] != other["encoder_fingerprint"]
    for row in found.rows:
        assert row["photos"] == 4
        assert 0 < row["seconds"]["low"] <= row["seconds"]["median"] <= row["seconds"]["high"]
    (table,) = found.tables
    assert [row[1] for row in table.rows] == ["own", dino]
    assert sum(note.startswith("Left out: ") for note in found.notes) == 2
    json.dumps(found.to_dict())


def test_the_encoder_makes_the_map(photos, folders, monkeypatch):
    """Another encoder, another map; the pairs of one model share nothing, so that their seconds can be compared."""
    sam, dino = folders
    answers = []
    monkeypatch.setattr(encoders, "run", lambda *asked: answers.extend(found := run(*asked)) or found)
    compare_encoders([sam], [dino], photos, PERSAM, device="cpu", dtype="float32")
    scores = {name: [answer.score for answer in found] for name, found in grouped(answers, "method").items()}
    assert list(scores) == [f"{sam} + own", f"{sam} + {dino}"]
    own, other = scores.values()
    assert len(own) == len(other) == 4
    assert own != other


def test_no_model_at_all(photos):
    with pytest.raises(PersamError, match=r"None of the models is to be had: .*no-such-sam.*") as caught:
        compare_encoders([MISSING], [], photos, PERSAM)
    assert not isinstance(caught.value, UsageError)
    assert str(caught.value).count("\n") == 0


def test_a_wrong_call_is_no_missing_model(photos):
    with pytest.raises(UsageError, match="no device"):
        compare_encoders(["tiny"], [], photos, PERSAM, device="abacus")


def test_methods():
    assert not is_tuned("persam")
    assert is_tuned("persam-f")
    with pytest.raises(UsageError, match="use persam or persam-f"):
        is_tuned("unet")
