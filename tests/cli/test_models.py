"""`persam models`: what can be named, and what is on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest
import transformers

from persam.models.catalog import catalog, here_as
from persam.models.loading import KINDS


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
    for words in ("sam-hq-vit-base", "sam2.1-hiera-tiny", "EdgeTAM", "facebook/sam3", "mobile_sam.pt", "SamHQModel"):
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
