"""A candidate beside the packaged weights: the same weights reach the same, others do not, and all is really asked."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest
import torch
from tests.benchmark.conftest import write_data_sets
from tests.training.conftest import draw_photo

from persam.errors import PersamError
from persam.models.fitted import PACKAGED, key_of, read_fitted
from persam.models.loading import load_model
from persam.models.tiny.architecture import PACKAGED_WEIGHTS, TinySam
from training import trial

ROW = re.compile(r"photos (\S+) · (change \S+ \[.*?\] · )?located (\S+) · things (\S+) · views (\S+) · AUROC (\S+) · ")


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The options of a trial on a few drawn photos, and of the demo one thing in two photos."""
    for number in range(3):
        draw_photo(tmp_path / "val" / "bins" / f"bin{number}__0", number)
    items = {f"bin{number}__0": {"part": "val", "objects": ["disc", "square"]} for number in range(3)}
    (tmp_path / "objects.json").write_text(json.dumps({"bins": {"items": items}}))
    monkeypatch.setattr(trial, "run_demo", partial(trial.run_demo, things=["cup"], photos=2))
    data = write_data_sets(tmp_path / "data")
    options = {"data": data, "val": tmp_path / "val", "objects": tmp_path / "objects.json", "views": 2, "size": 96}
    return [f"--{name}={value}" for name, value in options.items()]


def test_weights_side_by_side(asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    TinySam().save(tmp_path / "random.safetensors", {})
    numbers = json.loads(PACKAGED.read_text())
    ours = numbers[key_of(load_model(), None)]
    other = key_of(load_model(str(tmp_path / "random.safetensors")), None)
    (tmp_path / "fitted.json").write_text(json.dumps({other: ours}))
    trial.main([*asked, str(PACKAGED_WEIGHTS), f"{tmp_path / 'random.safetensors'}:{tmp_path / 'fitted.json'}"])
    said = " ".join(capsys.readouterr().out.split())
    packaged, same, random = ROW.findall(said)
    assert same[1] == "change +0.0 [+0.0, +0.0] · "
    assert same[:1] + same[2:] == packaged[:1] + packaged[2:]
    assert float(random[0]) < float(packaged[0])
    assert "IoU per image of 7 photos, 4 of named things, 2 pairs of views, 2 answers in the demo; " in said


def test_weights_without_numbers_are_refused(asked: list[str], tmp_path: Path) -> None:
    torch.manual_seed(1)
    TinySam().save(tmp_path / "random.safetensors", {})
    assert key_of(load_model(str(tmp_path / "random.safetensors")), None) not in read_fitted(PACKAGED)
    with pytest.raises(PersamError, match=r"has no numbers of this model and encoder; fit them with training\.fit"):
        trial.main([*asked, str(tmp_path / "random.safetensors")])
