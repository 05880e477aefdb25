"""The targets of speed: that the published arithmetic is the published one, and that all is measured; not how long."""

from __future__ import annotations

import json

import pytest
import torch
from tests.conftest import draw_scene
from tests.fakes import random_sam
from tests.models.test_fast_vit import photos, random_encoder

from persam import PerSAM
from persam.benchmark.suites import several, speed, startup
from persam.benchmark.suites.published_vit import encode_as_published, is_vit
from persam.benchmark.suites.speed import in_turns, measure_speed, prompted_masks, ratio, steps_of, three_passes
from persam.benchmark.suites.timing import random_sam as random_size
from persam.errors import PersamError
from persam.models.backends import BACKENDS


@pytest.mark.parametrize(("grid", "window"), [(16, 7), (14, 7)])
def test_published_arithmetic_equals_transformers(grid, window):
    encoder = random_encoder(grid=grid, window=window)
    assert is_vit(encoder)
    expected, found = encoder(photos(grid, 2))[0], encode_as_published(encoder, photos(grid, 2))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_jobs_take_turns_and_the_first_round_does_not_count():
    done: list[str] = []
    jobs = {name: lambda name=name: done.append(name) for name in "abc"}
    seconds = in_turns(jobs, 2, random_sam(), lambda: None)
    assert done == [*"abc", *"bca", *"cab"]
    assert all(len(each) == 2 for each in seconds.values())
    assert ratio([2, 4, 9], [1, 2, 3]).median == 2


def test_plain_cascade_and_prompted_masks():
    model = random_sam()
    encoding = model.encode(draw_scene(40, 64)[0])
    assert three_passes(model, encoding).shape == (40, 64)
    masks = prompted_masks(model, encoding)
    assert masks.shape == (8, *model.low_resolution)
    assert speed.agreement([masks], [masks]) == [1.0] * 8


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(speed, "PHOTO", 64)
    monkeypatch.setattr(several, "COUNTS", (2,))
    monkeypatch.setattr(speed, "open_persam", lambda name, **order: PerSAM(random_sam()))


class TestFindings:
    def test_quick(self, small):
        steps: list[int] = []
        found = measure_speed("random", rounds=1, quick=True, device="cpu", progress=lambda: steps.append(1))
        assert len(steps) == steps_of(1, quick=True)
        targets = [row["target"]["name"] for row in found.rows if "target" in row]
        assert targets == [
            "image encoder, float32",
            "image encoder, bf16",
            "time that PerSAM adds",
            "tiny: one photo, read to mask",
        ]
        exact = next(row for row in found.rows if row.get("encoder") == "persam, float32")
        assert min(exact["iou"]) > 0.99
        concepts = [(row["model"], row["concepts"], row.get("decoder")) for row in found.rows if "concepts" in row]
        assert concepts == [
            (name, *which) for name in ("random", "tiny") for which in ((1, "published"), (1, None), (2, None))
        ]
        assert {"yes", "no"} >= {cells[-1] for cells in found.tables[0].rows}
        json.dumps(found.to_dict())

    def test_with_processes(self, small, monkeypatch):
        """What is started is not started here; the engines that there are not are told of in one sentence."""

        def open_one(name: str, **order: object) -> PerSAM:
            if "backend" in order:
                raise PersamError(f"The backend {order['backend']} needs it, which is not installed.")
            return PerSAM(random_sam())

        monkeypatch.setattr(speed, "open_persam", open_one)
        monkeypatch.setattr(speed, "peak_in_process", lambda name, *, job, **order: 10**8 + len(job))
        monkeypatch.setattr(speed, "seconds_of_process", lambda call: 2.0)
        monkeypatch.setattr(speed, "imports_of_process", lambda call: {"torch": 3.0, "transformers": 1.0})
        steps: list[int] = []
        found = measure_speed("random", rounds=1, device="cpu", progress=lambda: steps.append(1))
        assert len(steps) == steps_of(1, quick=False) - 4  # the engines that there are not
        targets = {row["target"]["name"]: row["target"] for row in found.rows if "target" in row}
        assert targets["memory that PerSAM adds"]["found"] == "+0.0 MB"
        assert targets["tiny: persam segment of one photo"]["holds"]
        assert [row["engine"] for row in found.rows if "engine" in row] == ["torch, float32", "torch, bf16"]
        notes = " ".join(found.notes)
        assert "4 engines or their memory could not be measured" in notes
        assert "torch 75%, transformers 25%" in notes

    def test_engines_compute_on_the_cpu_beside_a_gpu(self, small, monkeypatch):
        devices = {}

        def open_one(name: str, *, device: str, dtype: str, backend: str = "torch") -> PerSAM:
            devices[backend] = device
            return PerSAM(random_sam())

        monkeypatch.setattr(speed, "open_persam", open_one)
        monkeypatch.setattr(speed, "peak_in_process", lambda name, **order: 10**8)
        order = {"device": "cuda", "dtype": "float32"}
        speed.compare_engines(PerSAM(random_sam()), "random", order, [draw_scene()[0]], 1, lambda: None)
        assert devices == {"torch": "cuda", **dict.fromkeys(BACKENDS, "cpu")}

    def test_another_encoder_is_compared_with_nothing(self):
        part = speed.compare_encoders(PerSAM.from_pretrained(device="cpu").model, [], 1, lambda: None)
        assert not part.targets
        assert "not the published one" in part.notes[0]


@pytest.mark.slow
def test_a_random_model_of_another_canvas():
    """The weights have the size of learned ones, so that masks are neither all nor none."""
    model = random_size("vit-b", torch.device("cpu"), canvas=64)
    masks = prompted_masks(model, model.encode(draw_scene()[0]))
    assert model.image_size == 64
    assert 0.01 < masks.mean() < 0.99


def test_a_process_that_fails_says_why():
    with pytest.raises(PersamError, match=r"segmnt could not be timed: .*segmnt"):
        startup.seconds_of_process(["segmnt"])
