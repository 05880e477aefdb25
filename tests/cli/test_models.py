"""`persam models`: what can be named, and what is on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest

from persam.models.catalog import catalog


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


def test_what_is_here(run, tmp_path):
    (tmp_path / "sam_vit_h_4b8939.pth").touch()
    (tmp_path / "my_own.pth").write_bytes(bytes(2_000_000))
    here = {entry["name"]: entry["here"] for entry in json.loads(run("models", "--json").stdout)}
    assert [name for name, is_here in here.items() if is_here] == [
        "tiny",
        "facebook/sam-vit-base",
        "sam_vit_h_4b8939.pth",
        "my_own.pth",
    ]


def test_without_a_cache(monkeypatch, tmp_path):
    scan = huggingface_hub.scan_cache_dir
    assert catalog(tmp_path)
    monkeypatch.setattr(huggingface_hub, "scan_cache_dir", lambda: scan(tmp_path / "gone"))
    with pytest.raises(huggingface_hub.CacheNotFound):
        scan(tmp_path / "gone")
    assert [entry.name for entry in catalog(tmp_path) if entry.here] == ["tiny"]
