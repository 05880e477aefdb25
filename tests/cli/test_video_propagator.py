"""`persam video --propagator`: a network in a folder carries, and what is said of one that cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_scene
from tests.fakes import random_network
from tests.video.memories import saved_tracker


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of frames in which the drawn object moves; its mask in the first one lies beside the folder."""
    folder = tmp_path_factory.mktemp("clip") / "frames"
    folder.mkdir()
    for number in range(3):
        pixels, mask = draw_scene(96, 128, center=(45 + 5 * number, 50), radius=22)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        if number == 0:
            Image.fromarray(mask).save(folder.with_name("first.png"))
    return folder


def test_a_network_in_a_folder_carries(run, frames, tmp_path):
    saved_tracker("sam2_video", tmp_path / "sam2")
    mask = frames.with_name("first.png")
    result = run("video", frames, "--mask", mask, "--propagator", "sam2", "--dtype", "float32", "-o", "out")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2]
    np.testing.assert_array_equal(
        np.array(Image.open(tmp_path / "out/labels/0.png")) > 0, np.array(Image.open(mask)) > 0
    )
    for line in lines:  # its weights are random: what it draws means nothing, but fits together
        labels = np.array(Image.open(tmp_path / "out" / line["labels"]))
        assert labels.shape == (96, 128)
        assert line["objects"][0]["present"] == bool(labels.any())


def test_a_run_is_known_by_the_weights_of_its_network(run, refused, frames, tmp_path):
    saved_tracker("sam2_video", tmp_path / "sam2")
    asked = ("video", frames, "--mask", frames.with_name("first.png"), "--propagator", "sam2", "-o", "out")
    assert run(*asked).exit_code == 0
    assert "done already" in run(*asked).stderr
    saved_tracker("sam2_video", tmp_path / "sam2", seed=1)
    assert "holds the results of a clip, with other weights of the propagator" in refused(*asked, code=2)


def test_what_cannot_carry(refused, frames, tmp_path, monkeypatch):
    monkeypatch.setattr("persam.models.hub._is_offline", lambda: True)
    asked = ("video", frames, "--mask", frames.with_name("first.png"), "--propagator")
    said = refused(*asked, "facebook/sam2.1-hiera-nowhere", code=1)
    assert "facebook/sam2.1-hiera-nowhere is not on this machine" in said
    assert "follow without a propagator" in said
    assert "leave the propagator out" in refused(*asked, "sam2", "--mode", "official", code=2)
    random_network().save_pretrained(tmp_path / "sam")
    assert "of type sam, which carries no masks" in refused(*asked, "sam", code=1)
    assert not (tmp_path / "tracked").exists()
