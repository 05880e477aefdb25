"""Validation writes its figures into the weights, where the model card reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.fakes import SMALL_TINY

from persam.models.tiny.architecture import TinySam
from training.validate import main


def test_record(drawn_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "weights.safetensors"
    TinySam(SMALL_TINY).save(path, {"runs": [{"photos": 7}]})
    before = TinySam.load(path)
    main(["--val", str(drawn_folder), "--weights", str(path), "--pairs", "2", "--record"])
    after = TinySam.load(path)
    figures = after.history["validation"]
    assert after.history["runs"] == [{"photos": 7}]
    assert figures["size"] == after.image_size == before.image_size
    assert 0 < figures["personal_iou"][3] <= 4
    assert f"score {figures['score']:.3f}" in capsys.readouterr().out
    for name, weight in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[name], weight, atol=0, rtol=0)


def test_record_is_at_the_weights_own_size(drawn_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--val", str(drawn_folder), "--weights", str(tmp_path / "w.safetensors"), "--size", "64", "--record"])
    assert caught.value.code == 2
