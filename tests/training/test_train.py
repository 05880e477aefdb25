from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
import torch
from tests.fakes import SMALL_TINY

from persam.models.tiny.architecture import TinySam
from training.batches import make_batch
from training.card import FIGURES
from training.model import as_trainable_sam
from training.passes import Shares, training_step
from training.photos import Photos
from training.train import parser, train

ROOT = Path(__file__).parents[2]


@pytest.fixture
def small_weights(tmp_path: Path) -> Path:
    TinySam(SMALL_TINY).save(tmp_path / "small.safetensors", {"photos_seen": 100, "runs": [{"photos": 100}]})
    return tmp_path / "small.safetensors"


def _options(folder: Path, out: Path, *more: str) -> list[str]:
    fixed = ["--size", "64", "--batch", "4", "--workers", "0", "--every", "1", "--device", "cpu"]
    return ["--data", str(folder), "--output", str(out), *fixed, *more]


def _run(arguments: list[str]) -> dict[str, object]:
    return train(parser().parse_args(arguments), lambda: False).progress


def test_every_pass_gives_finite_losses_and_gradients(photos: Photos) -> None:
    torch.manual_seed(0)
    network, random = TinySam(SMALL_TINY), Random(0)
    model, batch = as_trainable_sam(network), make_batch(photos, 64, 4, random)
    seen: set[str] = set()
    for _ in range(16):
        result = training_step(model, batch, random, Shares(cascade=0.9, correction=0.9))
        network.zero_grad()
        result.total.backward()
        seen |= set(result.figures)
        assert torch.isfinite(result.total)
        assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    assert {"click", "box", "corrected", "contrast", "personal", "second", "third", "boxed", "alone"} <= seen
    assert network.vision_encoder.neck.out[3].weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("point_and_box", "names"), [(0.0, ("personal", "contrast")), (1.0, ("boxed", "alone", "fused_contrast"))]
)
def test_it_learns(photos: Photos, point_and_box: float, names: tuple[str, ...]) -> None:
    """The same few views again and again: their masks get better, and so does the confidence map."""
    torch.manual_seed(0)
    network, random = TinySam(SMALL_TINY), Random(0)
    model, batch = as_trainable_sam(network), make_batch(photos, 64, 4, random)
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=2e-3)
    losses = []
    for _ in range(25):
        result = training_step(model, batch, random, Shares(point_and_box=point_and_box))
        optimiser.zero_grad()
        result.total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        losses.append([float(result.figures[name]) for name in names])
    begun, ended = torch.tensor(losses[:5]).mean(0), torch.tensor(losses[-5:]).mean(0)
    assert (ended < 0.8 * begun).all(), (begun, ended)


def test_a_run_can_begin_with_more_blocks_and_says_so(drawn_folder: Path, small_weights: Path, tmp_path: Path) -> None:
    _run(_options(drawn_folder, tmp_path / "out", "--init", str(small_weights), "--steps", "1", "--depths", "1,2,1,1"))
    network = TinySam.load(tmp_path / "out/latest.safetensors")
    assert network.config.depths == (1, 2, 1, 1)
    assert network.history["runs"][-1]["recipe"] == "blocks added to the encoder: now 1, 2, 1, 1"


def test_half_precision_works_and_keeps_positions_exact(photos: Photos) -> None:
    network, random = TinySam(SMALL_TINY), Random(0)
    model, batch = as_trainable_sam(network), make_batch(photos, 64, 4, random)
    exact = network.get_image_wide_positional_embeddings()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(network.get_image_wide_positional_embeddings(), exact)
        for _ in range(4):
            result = training_step(model, batch, random, Shares(cascade=1, correction=1))
            result.total.backward()
            assert torch.isfinite(result.total)


def test_three_steps_then_resume(drawn_folder: Path, small_weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    begun = ["--steps", "3", "--init", str(small_weights), "--val", str(drawn_folder)]
    progress = _run(_options(drawn_folder, out, *begun))
    assert progress["steps"] == 3
    first = TinySam.load(out / "latest.safetensors")
    assert first.history["photos_seen"] == 112
    assert set(first.history["validation"]) == {"size", "score", *FIGURES}
    assert (out / "best.safetensors").exists()
    resumed = _options(drawn_folder, out, "--steps", "2", "--init", str(small_weights))
    progress = _run([*resumed, "--resume", str(out / "checkpoint.pt")])
    assert progress["steps"] == 5
    assert progress["photos"] == 20
    assert TinySam.load(out / "latest.safetensors").history["photos_seen"] == 120
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")
@pytest.mark.parametrize("group", [False, True], ids=["the process", "its whole group"])
def test_sigterm_ends_the_run_and_leaves_its_files(
    group: bool, drawn_folder: Path, small_weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "training.train", "--init", str(small_weights), "--threads", "1"]
    command += [*_options(drawn_folder, out), "--workers", str(int(group))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (out / "log.jsonl").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (os.killpg if group else os.kill)(process.pid, signal.SIGTERM)
    assert process.wait(timeout=100) == 0
    assert TinySam.load(out / "latest.safetensors").history["photos_seen"] > 100
    assert torch.load(out / "checkpoint.pt", weights_only=True)["progress"]["steps"] > 0


def test_minutes_end_the_run(drawn_folder: Path, small_weights: Path, tmp_path: Path) -> None:
    _run(_options(drawn_folder, tmp_path / "out", "--minutes", "0.02", "--init", str(small_weights)))
    TinySam.load(tmp_path / "out" / "latest.safetensors")
