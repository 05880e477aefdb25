"""The targets of speed: that the published arithmetic is the published one, and that all is measured; not how long."""

from __future__ import annotations

import json
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import draw_scene
from tests.fakes import random_sam
from tests.models.test_fast_vit import photos, random_encoder

from persam import PerSAM
from persam.benchmark.suites import several, speed, speed_encoder, startup
from persam.benchmark.suites.efficiency import added_time
from persam.benchmark.suites.published_vit import encode_as_published, is_vit
from persam.benchmark.suites.speed import measure_speed, steps_of, three_passes, two_passes
from persam.benchmark.suites.speed_encoder import prompted_masks
from persam.benchmark.suites.speed_parts import ratio
from persam.benchmark.suites.timing import in_turns
from persam.benchmark.suites.timing import random_sam as random_size
from persam.errors import PersamError
from persam.models import decoder_photo, fast_decoder
from persam.models.backends import BACKENDS
from persam.models.base import EncodedImage
from persam.models.fitted import Fitted
from persam.models.sam import Sam
from persam.reports.tables import Table


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
    assert three_passes(model, encoding).shape == two_passes(model, encoding).shape == (40, 64)
    masks = prompted_masks(model, encoding)
    assert masks.shape == (8, *model.low_resolution)
    assert speed_encoder.agreement([masks], [masks]) == [1.0] * 8


def test_plain_sam_makes_as_many_passes_as_persam():
    """Two, of a model with fitted numbers; without them three."""
    numbers = Fitted({"similarity": 5.0, "nearest": 4.0}, 0.0, False, {"likeness": (1.0, 0.5)}, 0.0)
    limits = []
    for fitted in (None, numbers):
        persam = PerSAM(random_sam(), fitted=fitted)
        (target,) = speed.compare_with_plain(persam, "random", {}, 1, lambda: None, memory=False).targets
        limits.append(target.limit)
    assert ["three" in limit for limit in limits] == [True, False]
    assert ["two" in limit for limit in limits] == [False, True]


BOTH = (speed, speed_encoder)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(several, "COUNTS", (2,))
    for module in BOTH:
        monkeypatch.setattr(module, "PHOTO", 64)
        monkeypatch.setattr(module, "open_persam", lambda name, **order: PerSAM(random_sam()))


class TestFindings:
    def test_quick(self, small):
        steps: list[int] = []
        found = measure_speed("random", rounds=1, quick=True, device="cpu", progress=lambda: steps.append(1))
        assert len(steps) == steps_of(1, quick=True)
        targets = [row["target"]["name"] for row in found.rows if "target" in row]
        assert targets == [
            "image encoder, float32",
            "image encoder, the quickest",
            "time that PerSAM adds",
            "a further concept, of 2",
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
        """What is started is not started here; an engine that is not there is a row that says so."""

        def open_one(name: str, **order: object) -> PerSAM:
            if "backend" in order:
                raise PersamError(f"The backend {order['backend']} needs it, which is not installed.")
            return PerSAM(random_sam())

        for module in BOTH:
            monkeypatch.setattr(module, "open_persam", open_one)
            monkeypatch.setattr(module, "peak_in_process", lambda name, *, job, **order: 10**8 + len(job))
        monkeypatch.setattr(speed, "seconds_of_process", lambda call: 2.0)
        monkeypatch.setattr(speed, "imports_of_process", lambda call: {"torch": 3.0, "transformers": 1.0})
        steps: list[int] = []
        found = measure_speed("random", rounds=1, device="cpu", progress=lambda: steps.append(1))
        assert len(steps) == steps_of(1, quick=False)
        targets = {row["target"]["name"]: row["target"] for row in found.rows if "target" in row}
        assert targets["memory that PerSAM adds"]["found"] == "+0.0 MB"
        assert targets["tiny: persam segment of one photo"]["holds"]
        rows = {row["engine"]: row for row in found.rows if "engine" in row}
        assert list(rows) == ["torch, float32", "torch, bf16", *BACKENDS]
        assert min(rows["torch, float32"]["iou"]) == 1
        assert rows["openvino"]["failed"].endswith("The backend openvino needs it, which is not installed")
        (table,) = (table for table in found.tables if table.title.startswith("Engines"))
        assert "not installed" in table.rows[-1][-1]
        assert table.rows[0][3] == "100 MB"
        notes = " ".join(found.notes)
        assert "2 engines could not be measured" in notes
        assert "torch 75%, transformers 25%" in notes
        json.dumps(found.to_dict())

    def test_a_part_that_fails_does_not_end_the_run(self, small, monkeypatch):
        def full(*_: object) -> None:
            raise MemoryError("not enough for 12 x 4096 x 4096 numbers")

        monkeypatch.setattr(speed_encoder, "encode_as_published", full)
        monkeypatch.setattr(speed_encoder, "is_vit", lambda encoder: True)
        found = measure_speed("random", rounds=1, quick=True, device="cpu")
        told = {cells[0]: cells[1] for cells in found.tables[0].rows}
        assert told["image encoder"] == "not measured: image encoder: not enough for 12 x 4096 x 4096 numbers"
        assert "tiny: one photo, read to mask" in told

    @pytest.mark.parametrize(
        ("seconds", "iou", "by", "holds"),
        [(2.0, 0.995, "openvino-int8", True), (2.0, 0.98, "bf16", False), (4.0, 1.0, "bf16", False)],
    )
    def test_the_quickest_whose_masks_are_the_same_counts(self, monkeypatch, seconds, iou, by, holds):
        """Seconds of one photo and masks are made up here."""
        took = {"published arithmetic, float32": 9.0, "persam, float32": 6.0, "persam, bf16": 3.0}
        took |= {"persam, openvino-bf16": 9.5, "persam, openvino-int8": seconds}
        same = iter([1.0, 1.0, 0.999, 1.0, 0.999, 1.0, iou])  # each run of turns begins with the published arithmetic
        monkeypatch.setattr(speed_encoder, "in_turns", lambda jobs, *_: {name: [took[name]] for name in jobs})
        monkeypatch.setattr(speed_encoder, "agreement", lambda *_: [next(same)])
        part = speed_encoder.compare_encoders(
            random_sam(), [draw_scene()[0]], 1, lambda: None, lambda **what: PerSAM(random_sam())
        )
        exact, quickest = part.targets
        assert exact.found == "1.50 [1.50, 1.50] x by float32, mask IoU 1.0000"
        assert exact.holds
        assert f" x by {by}," in quickest.found
        assert quickest.holds == holds

    def test_an_engine_decodes_what_it_encodes_and_is_let_go(self, monkeypatch):
        """The decoder of a model on a GPU does not take what an engine gives on the CPU."""
        decoded: list[str] = []
        engines: list[weakref.ref[object]] = []
        masks = speed_encoder.prompted_masks

        def with_backend(**order: str) -> PerSAM:
            assert not any(each() is not None for each in engines)
            persam = PerSAM(random_sam())
            persam.model.name = order["backend"]
            engines.append(weakref.ref(persam.model))
            return persam

        def watched(model: Sam, encoding: EncodedImage) -> np.ndarray:
            decoded.append(model.name)
            return masks(model, encoding)

        monkeypatch.setattr(speed_encoder, "prompted_masks", watched)
        speed_encoder.compare_encoders(random_sam(), [draw_scene()[0]], 1, lambda: None, with_backend)
        assert decoded == ["random"] * 3 + list(speed_encoder.QUICK_ENGINES)

    @pytest.mark.parametrize("fails", speed_encoder.QUICK_ENGINES)
    def test_an_engine_that_fails_is_left_out_by_itself(self, monkeypatch, fails):
        def with_backend(**order: str) -> PerSAM:
            persam = PerSAM(random_sam())
            if order["backend"] == fails:
                monkeypatch.setattr(persam.model, "encode", full)
            return persam

        def full(photo: np.ndarray) -> EncodedImage:
            raise MemoryError("not enough")

        part = speed_encoder.compare_encoders(random_sam(), [draw_scene()[0]], 1, lambda: None, with_backend)
        (other,) = set(speed_encoder.QUICK_ENGINES) - {fails}
        ours = ["published arithmetic, float32", "persam, float32", "persam, bf16", f"persam, {other}"]
        assert [row["encoder"] for row in part.rows] == ours
        assert len(part.targets) == 2
        assert part.notes[0].startswith(
            f"1 engines could not be measured and are left out, such as {fails}: not enough"
        )

    def test_engines_compute_on_the_cpu_beside_a_gpu(self, small, monkeypatch):
        devices = {}

        def open_one(name: str, *, device: str, dtype: str, backend: str = "torch") -> PerSAM:
            devices[backend] = device
            return PerSAM(random_sam())

        monkeypatch.setattr(speed_encoder, "open_persam", open_one)
        monkeypatch.setattr(speed_encoder, "peak_in_process", lambda name, **order: 10**8)
        order = {"device": "cuda", "dtype": "float32"}
        speed.compare_engines(PerSAM(random_sam()), "random", order, [draw_scene()[0]], 1, lambda: None)
        assert devices == {"torch": "cuda", **dict.fromkeys(BACKENDS, "cpu")}

    def test_another_encoder_is_compared_with_nothing(self):
        part = speed_encoder.compare_encoders(PerSAM.from_pretrained(device="cpu").model, [], 1, lambda: None)
        assert not part.targets
        assert "not the published one" in part.notes[0]


def test_every_measurement_of_concepts_prepares_its_photo(monkeypatch):
    """Else one concept by itself would find what an earlier call has left, and a further one could not be cheaper."""
    prepared: list[object] = []

    class Counted(decoder_photo.PhotoCells):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            prepared.append(self)

    monkeypatch.setattr(fast_decoder, "PhotoCells", Counted)
    monkeypatch.setattr(fast_decoder, "_is_slower", lambda *_: False)  # heads of tiny networks have few channels
    monkeypatch.setattr(several, "COUNTS", (3,))
    persam, (image, mask) = PerSAM(random_sam()), draw_scene()
    concept = persam.learn(image, mask, name="thing")
    prepared.clear()
    several.time_concepts(persam, image, concept, rounds=1)
    assert len(prepared) == 2 * 2  # one and three concepts in two rounds
    prepared.clear()
    added_time(persam, concept, image, rounds=1)
    assert len(prepared) == 1 + 2 * 3 * 3  # tuning; plain SAM, PerSAM and PerSAM-F, three times each in two rounds


@pytest.mark.parametrize(("share", "holds"), [(0.33, True), (0.34, False)])
def test_a_further_concept_has_to_cost_a_third(monkeypatch, share, holds):
    spread = {"median": share, "low": share, "high": share}
    rows = [{"concepts": 4, "of_one_published": spread | {"median": 0.1}}, {"concepts": 8, "of_one_published": spread}]
    monkeypatch.setattr(speed, "time_concepts", lambda *given: (rows, Table("", ("",), ())))
    (target,) = speed.several_concepts(PerSAM(random_sam()), 1, lambda: None).targets
    assert (target.name, target.holds) == ("a further concept, of 8", holds)


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
