"""Stages and memory: that they add up, and that a peak is a peak; never how much it was."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from tests.fakes import random_sam

from persam import PerSAM
from persam.benchmark.suites import efficiency, memory
from persam.benchmark.suites.efficiency import STAGES, StageTimes, _split, measure_efficiency, steps_of, time_stages
from persam.benchmark.suites.memory import JOBS, Memory, measure_memory
from persam.benchmark.suites.timing import drawn_scene
from persam.errors import PersamError


class TestStages:
    def test_split_by_hand(self):
        passes = [(1.0, 3.0), (4.0, 5.0), (6.0, 8.0)]
        assert _split(0.5, passes, 10.0) == (0.5, 2.0, 5.0, 2.0)
        assert _split(0.0, passes[:1], 4.0) == (1.0, 2.0, 0.0, 1.0)

    def test_rows_add_up(self):
        photo = {stage: [1.0, 2.0] for stage in STAGES}
        times = StageTimes(photo, {stage: [2.0, 2.0] for stage in STAGES}, learn=[3.0, 5.0], tune=[1.0, 1.0])
        rows = {name: (plain, tuned) for name, plain, tuned in times.rows()}
        assert list(rows) == [*STAGES, "one photo", "learn a reference", "of that: tune"]
        assert rows["one photo"][0].median == 7.5
        assert rows["one photo"][1].median == 10
        assert rows["learn a reference"][1].median == 5
        assert rows["of that: tune"][1] is None

    def test_every_stage_of_every_round_is_timed(self):
        steps: list[int] = []
        start = time.perf_counter()
        times = time_stages(PerSAM(random_sam()), *drawn_scene(64), 3, lambda: steps.append(1))
        whole = time.perf_counter() - start
        assert len(steps) == 4
        for stages in (times.photo, times.tuned_photo):
            assert list(stages) == list(STAGES)
            assert all(len(seconds) == 3 and min(seconds) >= 0 for seconds in stages.values())
            assert sum(map(sum, stages.values())) < whole
        assert len(times.learn) == len(times.tune) == 3


class TestMemory:
    ORDER: ClassVar[dict[str, Any]] = {"device": "cpu", "dtype": "auto", "mode": "persam", "side": 64}

    def test_over_plain_sam(self):
        peaks = Memory({"SAM": [100, 120], "PerSAM": [130, 140], "PerSAM-F": [110, 110]}, "")
        assert peaks.peak("SAM") == 110
        assert peaks.added("PerSAM") == 25
        assert peaks.added("PerSAM-F") == 0
        assert peaks.added("SAM") == 0

    def test_a_peak_counts_what_is_given_back_before_it_is_read(self):
        memory.reset_peak()
        before = memory.peak_of_process()
        block = np.ones(60_000_000 // 8)
        del block
        assert memory.peak_of_process() >= before + 40_000_000

    @pytest.mark.skipif(not memory.reset_peak(), reason="this system does not let a process set its peak back")
    def test_a_peak_is_set_back(self):
        block = np.ones(60_000_000 // 8)
        del block
        high = memory.peak_of_process()
        assert memory.reset_peak()
        assert memory.peak_of_process() <= high - 40_000_000

    @pytest.mark.parametrize("job", JOBS)
    def test_jobs_end_with_the_photo(self, job):
        run = memory._prepare(PerSAM(random_sam()), job, 64)
        result = run()
        assert (result if job == "SAM" else result.mask).shape == (64, 64)  # type: ignore[union-attr, attr-defined]

    def test_on_a_gpu_the_allocator_is_asked_after_its_peak_was_set_back(self, monkeypatch):
        asked: list[str] = []
        monkeypatch.setattr(torch.cuda, "synchronize", lambda: asked.append("wait"))
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: asked.append("reset"))
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: (asked.append("peak"), 5)[1])
        monkeypatch.setattr(memory, "open_persam", lambda name, **order: PerSAM(random_sam()))
        found = measure_memory(
            "x", device="cuda", dtype="auto", mode="persam", side=64, rounds=2, progress=lambda: asked.append("done")
        )
        assert asked == ["wait", "reset", "wait", "peak", "done"] * 2 * len(JOBS)
        assert found.peaks == {job: [5, 5] for job in JOBS}
        assert found.how == "largest allocation on the GPU"

    def test_a_process_that_fails_says_why(self, monkeypatch):
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(PersamError, match="The memory of SAM could not be measured: exit code 1"):
            memory.peak_in_process("tiny", **self.ORDER, job="SAM")

    def test_what_a_process_does(self, capsys):
        memory._main({"name": "tiny", "job": "PerSAM"} | self.ORDER)
        assert int(capsys.readouterr().out) > 50e6

    @pytest.mark.slow
    def test_a_process_without_a_model_says_so(self):
        with pytest.raises(PersamError, match=r"The memory of SAM could not be measured: .*no model file"):
            memory.peak_in_process("gone.safetensors", **self.ORDER, job="SAM")

    @pytest.mark.slow
    def test_a_process_of_its_own(self):
        small, large = (
            memory.peak_in_process("tiny", **self.ORDER | {"side": side, "job": "SAM"}) for side in (64, 4096)
        )
        assert 50e6 < small < large


def test_findings(monkeypatch):
    monkeypatch.setattr(efficiency, "open_persam", lambda name, **order: PerSAM(random_sam()))
    monkeypatch.setattr(efficiency, "SIDE", 64)
    peaks = Memory({"SAM": [100_000_000] * 2, "PerSAM": [101_000_000] * 2, "PerSAM-F": [103_000_000] * 2}, "so")
    monkeypatch.setattr(efficiency, "measure_memory", lambda name, **order: peaks)
    steps: list[int] = []
    found = measure_efficiency("vit-b", rounds=2, progress=lambda: steps.append(1))
    assert len(steps) == steps_of(2, memory=True) - 6
    assert len(found.tables) == 4
    last = found.tables[-1]
    assert [row[1:3] for row in last.rows] == [
        ("100.0 MB", "+0.0 MB (+0.0%)"), ("101.0 MB", "+1.0 MB (+1.0%)"), ("103.0 MB", "+3.0 MB (+3.0%)"),
    ]  # fmt: skip
    assert [row[-1] for row in last.rows] == ["+0 MB (+0.0%)", "+57 MB (+1.0%)", "+101 MB (+1.8%)"]
    assert re.search(r"Machine: .*thread", found.notes[0])
    json.dumps(found.to_dict())
    assert len(measure_efficiency("vit-b", rounds=1, memory=False).tables) == 3
