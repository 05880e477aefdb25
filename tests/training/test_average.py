"""Networks that were trained side by side become one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.fakes import SMALL_TINY

from persam.models.tiny.architecture import TinySam
from training.average import average, main

BEFORE = {"photos": 5, "size": 64, "recipe": "first trial"}


def _trained(seed: int, photos: int) -> TinySam:
    torch.manual_seed(seed)
    network = TinySam(SMALL_TINY)
    network.history = {
        "photos_seen": 5 + photos,
        "data": {"cups": 3},
        "runs": [BEFORE, {"photos": photos, "size": 64}],
        "validation": {"size": 64, "score": 0.5},
    }
    return network


def test_weights_and_statistics_are_the_mean_and_the_history_has_all_runs() -> None:
    one, two = _trained(1, 10), _trained(2, 20)
    two.history["runs"][1]["recipe"] = "blocks added"
    for network, value in ((one, 1.0), (two, 3.0)):
        network.vision_encoder.neck.out[1].running_mean.fill_(value)
    mean = average([one, two])
    assert not mean.training
    assert (mean.vision_encoder.neck.out[1].running_mean == 2).all()
    states = [each.state_dict() for each in (one, two, mean)]
    for name, value in states[2].items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (states[0][name] + states[1][name]) / 2)
    note = "one of 2 side by side, whose weights were averaged"
    assert mean.history == {
        "photos_seen": 35,
        "data": {"cups": 3},
        "runs": [
            BEFORE,
            {"photos": 10, "size": 64, "recipe": note},
            {"photos": 20, "size": 64, "recipe": f"blocks added; {note}"},
        ],
    }
    assert "recipe" not in one.history["runs"][1]


def test_the_order_does_not_matter() -> None:
    one, two = _trained(1, 10), _trained(2, 20)
    for first, second in zip(average([one, two]).parameters(), average([two, one]).parameters(), strict=True):
        torch.testing.assert_close(first, second)


def test_what_has_no_mean_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other, untrained = _trained(1, 10), _trained(2, 20), TinySam(SMALL_TINY)
    other.history["runs"][0] = {"photos": 6}
    deeper = TinySam(replace(SMALL_TINY, depths=(2, 1, 1, 1)))
    for second, says in ((other, "same weights"), (deeper, "different form"), (untrained, "does not say")):
        with pytest.raises(ValueError, match=says):
            average([one, second])
    for name, network in (("one", one), ("other", other)):
        network.save(tmp_path / f"{name}.safetensors")
    with pytest.raises(SystemExit):
        main([str(tmp_path / "one.safetensors"), str(tmp_path / "other.safetensors"), "-o", str(tmp_path / "both")])
    assert "same weights" in capsys.readouterr().err
    assert not (tmp_path / "both").exists()


def test_the_command_writes_a_file_that_loads(tmp_path: Path) -> None:
    for seed, photos in ((1, 10), (2, 20)):
        _trained(seed, photos).save(tmp_path / f"{seed}.safetensors")
    main([str(tmp_path / "1.safetensors"), str(tmp_path / "2.safetensors"), "-o", str(tmp_path / "both.safetensors")])
    assert TinySam.load(tmp_path / "both.safetensors").history["photos_seen"] == 35
