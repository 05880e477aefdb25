"""`persam bench album`: what is filled, what is compared, and that every concept is found."""

from __future__ import annotations

import json
import os
import sys

import pytest

from persam.benchmark.suites import album
from persam.benchmark.suites.album import CONCEPTS, TOLD, Filled, _in_a_process, _scene, measure_album, steps_of
from persam.errors import PersamError


@pytest.fixture
def jobs(monkeypatch) -> list[dict]:
    """Fill in this process, where a user's are in processes of their own; jobs go there as text all the same."""
    seen: list[dict] = []

    def fill(job):
        seen.append(job)
        told: list[Filled] = []
        album._fill(json.loads(json.dumps(job)), told.append)
        return told

    monkeypatch.setattr(album, "_in_a_process", fill)
    return seen


def test_albums_are_filled_and_compared(jobs, monkeypatch):
    monkeypatch.setattr(album, "COMPARED", 2)
    steps = []
    found = measure_album("tiny", sizes=(1, 2, 3), side=96, progress=lambda: steps.append(1))
    assert len(steps) == steps_of((1, 2, 3))
    assert [job["marks"] for job in jobs] == [[1, 2, 3], [2], [2], [2], [2]]
    cost, growth = found.tables
    assert [row[0] for row in cost.rows] == [
        "1 concept",
        f"{CONCEPTS} concepts",
        f"{CONCEPTS} concepts, the published way",
        "a further concept, encodings kept",
        "the same again, nothing new",
    ]
    assert {row[1] for row in cost.rows} == {"2"}
    assert [row[0] for row in growth.rows] == ["1", "2", "3"]
    assert float(cost.rows[4][2]) > float(cost.rows[0][2])  # nothing is looked for
    assert all(row["seconds"] > 0 and row["peak"] > 0 for row in found.rows)


def test_growth_alone(jobs):
    steps = []
    found = measure_album("tiny", sizes=(1, 2), side=96, compare=False, progress=lambda: steps.append(1))
    assert len(steps) == steps_of((1, 2), compare=False) == 2
    assert len(jobs) == 1
    (growth,) = found.tables
    assert [row[0] for row in growth.rows] == ["1", "2"]
    assert [(row["what"], row["photos"]) for row in found.rows] == [("1 concept", 1), ("1 concept", 2)]
    assert found.rows[0]["seconds"] < found.rows[1]["seconds"]
    assert found.rows[0]["peak"] == pytest.approx(found.rows[1]["peak"], rel=0.1)
    assert not any("published" in note for note in found.notes)


@pytest.fixture
def python(monkeypatch, tmp_path):
    """Let a shell script stand in for the process that fills an album."""
    if os.name == "nt":
        pytest.skip("needs a shell")
    path = tmp_path / "python"
    monkeypatch.setattr(sys, "executable", str(path))

    def write(text: str) -> None:
        path.write_text(f"#!/bin/sh\n{text}")
        path.chmod(0o755)

    return write


def test_what_a_process_tells_and_why_it_failed(python):
    python(f"""
echo 'a library says hello'; echo '{{"of": "its own"}}'
echo '{TOLD}{{"photos": 3, "seconds": 0.5, "peak": 7}}'
echo 'a warning' >&2; echo 'PersamError: No room is left.' >&2
exit 1
""")
    told = _in_a_process({})
    assert next(told) == Filled(3, 0.5, 7)
    with pytest.raises(PersamError, match=r"An album could not be filled: PersamError: No room is left."):
        next(told)


def test_a_process_ends_with_who_asked_it(python, tmp_path):
    python(f"""echo "{TOLD}{{\\"photos\\": $$, \\"seconds\\": 1, \\"peak\\": 7}}"; sleep 3; touch {tmp_path}/filled""")
    told = _in_a_process({})
    process = next(told).photos
    told.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert not (tmp_path / "filled").exists()


def test_a_process_that_does_not_want_to_end_is_killed(python, monkeypatch):
    monkeypatch.setattr(album, "PATIENCE", 0.1)
    python(f"""trap '' TERM; echo "{TOLD}{{\\"photos\\": $$, \\"seconds\\": 1, \\"peak\\": 7}}"; sleep 1; sleep 3""")
    told = _in_a_process({})
    process = next(told).photos
    told.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_every_concept_has_a_disc_of_its_own():
    scene, masks = _scene(128)
    assert len(masks) == CONCEPTS + 1
    assert sum(mask.astype(int) for mask in masks).max() == 1
    assert len({tuple(scene[mask][0]) for mask in masks}) == len(masks)


@pytest.mark.slow
def test_workers_of_ray_are_timed(jobs):
    pytest.importorskip("ray")
    steps = []
    found = measure_album("tiny", sizes=(10,), side=96, compare=False, workers=(1,), progress=lambda: steps.append(1))
    assert len(steps) == steps_of((10,), compare=False, workers=(1,)) == 4
    _, workers = found.tables
    ((number, rate, over, _),) = workers.rows
    assert (number, over) == ("1", "1.00")
    assert float(rate) > 0
    assert [row["photos"] for row in found.rows[1:]] == [2, 10, 10]
