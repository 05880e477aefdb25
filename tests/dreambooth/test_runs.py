from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from persam.dreambooth.pipelines import load_pipeline, quiet
from persam.dreambooth.runs import Run, load_run, write_run
from persam.dreambooth.subjects import Subject
from persam.errors import PersamError, UsageError

MUG = Subject("mug", "t@y", "mug", ())


def run_in(folder: Path, base: Path, method: str = "lora") -> Run:
    return Run(folder, str(base), "sd15", method, True, 32, 40, (MUG,), {"seed": 0})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    run = run_in(tmp_path, tmp_path / "base")
    write_run(run)
    assert load_run(tmp_path) == run


def test_a_full_run_gives_its_own_pipeline(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    pipeline = load_pipeline(tiny("sd15"), device="cpu", dtype="float32")
    with torch.no_grad():
        pipeline.unet.conv_in.bias.fill_(7)
    with quiet():
        pipeline.save_pretrained(tmp_path / "pipeline")
    write_run(run_in(tmp_path, tiny("sd15"), "full"))
    assert torch.all(load_run(tmp_path).pipeline("cpu").unet.conv_in.bias == 7)


def test_a_folder_that_is_no_run_is_said(tmp_path: Path, tiny: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match=r"has no run.json, so no training ended there"):
        load_run(tmp_path)
    with pytest.raises(UsageError, match="there is no folder"):
        load_run(tmp_path / "no")
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(PersamError, match="is damaged"):
        load_run(tmp_path)
    write_run(run_in(tmp_path, tiny("sd15")))
    with pytest.raises(PersamError, match="its training did not end"):
        load_run(tmp_path).pipeline("cpu")
    (tmp_path / "pytorch_lora_weights.safetensors").write_bytes(b"no")
    with pytest.raises(PersamError, match="does not fit"):
        load_run(tmp_path).pipeline("cpu")
