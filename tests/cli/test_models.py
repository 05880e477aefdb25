"""`persam models`: what can be named, and what is on this machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
import transformers
from safetensors.torch import save_file
from tests.fakes import SMALL_TINY
from tests.models.promptables import saved_promptable
from tests.models.test_checkpoint import CASES
from tests.video.memories import saved_tracker

from persam.models.catalog import catalog, here_as
from persam.models.loading import KINDS
from persam.models.tiny.architecture import TinySam


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with one model's weights in it, and of another only the configuration."""
    folder = tmp_path / "cache"
    for name, file in (("facebook--sam-vit-base", "model.safetensors"), ("facebook--dinov2-base", "config.json")):
        snapshot = folder / f"models--{name}/snapshots/abc"
        snapshot.mkdir(parents=True)
        (folder / f"models--{name}/blobs").mkdir()
        (folder / f"models--{name}/blobs/1").write_text("x")
        (snapshot / file).symlink_to("../../blobs/1")
        (folder / f"models--{name}/refs").mkdir()
        (folder / f"models--{name}/refs/main").write_text("abc")
    scan = huggingface_hub.scan_cache_dir
    monkeypatch.setattr(huggingface_hub, "scan_cache_dir", lambda cache_dir=folder: scan(cache_dir))
    return folder


def test_table(run):
    result = run("models")
    assert result.exit_code == 0
    for words in ("tiny", "facebook/sam-vit-huge", "Zigeng/SlimSAM-uniform-50", "dinov2", "dinov3", "clip"):
        assert words in result.stdout
    for words in (
        "sam-hq-vit-base",
        "sam2.1-hiera-tiny",
        "EdgeTAM",
        "facebook/sam3",
        "mobile_sam.pt",
        "SamHQModel",
    ):
        assert words in result.stdout


def test_every_entry_says_what_it_is_for_and_what_runs_it(tmp_path):
    entries = catalog(tmp_path)
    uses = {use for entry in entries for use in entry.use.split(", ")}
    assert uses == {"model", "encoder", "propagator", "finder"}
    assert len({entry.name for entry in entries}) == len(entries)
    ours = {"TinySam", "MobileSAM"}
    loaded = {kind.network for kind in KINDS.values()}
    for entry in entries:
        assert entry.license
        assert entry.runs, entry.name
        for runs in set(entry.runs.split(", ")) - ours:
            assert hasattr(transformers, runs)
        if "model" in entry.use and entry.runs not in ours:
            assert entry.runs.split(", ")[0] in loaded


def test_what_is_here(run, tmp_path):
    (tmp_path / "sam_vit_h_4b8939.pth").touch()
    (tmp_path / "mobile_sam.pt").touch()
    (tmp_path / "my_own.pth").write_bytes(bytes(2_000_000))
    here = {entry["name"]: entry["here"] for entry in json.loads(run("models", "--json").stdout)}
    assert [name for name, is_here in here.items() if is_here] == [
        "tiny",
        "facebook/sam-vit-base",
        "sam_vit_h_4b8939.pth",
        "mobile_sam.pt",
        "my_own.pth",
    ]


def test_whatever_the_model_option_takes_of_the_folder_is_listed(run, tmp_path, learned, photo_file, mask_file):
    """And nothing else: neither concepts, nor foreign weights, nor what cannot be read."""
    golden = CASES[0].read_bytes()
    for name in ("mine.pth", "other.pt"):
        (tmp_path / name).write_bytes(golden)
    TinySam(SMALL_TINY).save(tmp_path / "trained.safetensors")
    for kind in ("sam", "sam_hq", "sam2"):
        saved_promptable(kind, tmp_path / f"a {kind}")
    saved_tracker("sam2_video", tmp_path / "clips")
    shutil.copy(learned, tmp_path / "disc.safetensors")
    save_file({"weight": torch.zeros(3)}, tmp_path / "lora.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(learned.read_bytes()[:100])
    transformers.ResNetConfig().save_pretrained(tmp_path / "resnet")
    shutil.copytree(tmp_path / "a sam2", tmp_path / "without weights")
    (tmp_path / "without weights/model.safetensors").unlink()
    for name, text in (("damaged", "{"), ("list", "[]"), ("no kind", "{}"), ("odd", '{"model_type": []}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
        (tmp_path / name / "model.safetensors").touch()
    (tmp_path / "photo.jpg").touch()
    entries = {entry["name"]: entry for entry in json.loads(run("models", "--json").stdout)}
    known = {entry.name for entry in catalog(tmp_path / "nowhere")}
    own = {name: entry["use"] for name, entry in entries.items() if name not in known}
    assert own == {
        "a sam": "model",
        "a sam2": "model",
        "a sam_hq": "model",
        "clips": "model, propagator",
        "mine.pth": "model",
        "other.pt": "model",
        "trained.safetensors": "model",
    }
    assert entries["clips"]["runs"] == "Sam2Model"
    for number, name in enumerate(own):
        assert entries[name]["here"]
        result = run("learn", photo_file, mask_file, "-m", name, "-o", f"{number}")
        assert result.exit_code == 0, result.output


def test_without_a_cache(monkeypatch, tmp_path):
    scan = huggingface_hub.scan_cache_dir
    assert catalog(tmp_path)
    monkeypatch.setattr(huggingface_hub, "scan_cache_dir", lambda: scan(tmp_path / "gone"))
    with pytest.raises(huggingface_hub.CacheNotFound):
        scan(tmp_path / "gone")
    assert [entry.name for entry in catalog(tmp_path) if entry.here] == ["tiny"]


def test_by_what_name_a_model_is_here(tmp_path):
    (tmp_path / "sam_vit_b_01ec64.pth").touch()
    (tmp_path / "models" / "mine").mkdir(parents=True)
    here = {
        "tiny": "tiny",
        "sam_vit_b_01ec64": "sam_vit_b_01ec64.pth",  # as a concept knows it
        "models/mine": "models/mine",
        "facebook/sam-vit-base": "facebook/sam-vit-base",
        "facebook/dinov2-base": None,  # only its configuration
        "sam_vit_h_4b8939": None,
    }
    assert {name: here_as(name, folder=tmp_path) for name in here} == here
