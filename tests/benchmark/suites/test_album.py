"""`persam bench album`: what is filled, what is compared, and that every concept is found."""

from __future__ import annotations

import json

from persam.benchmark.suites import album
from persam.benchmark.suites.album import CONCEPTS, _scene, measure_album, steps_of


def test_albums_are_filled_and_compared(monkeypatch):
    """In this process, where a user's are in processes of their own; the jobs are handed on as text all the same."""
    jobs = []

    def fill(job):
        jobs.append(job)
        return album._fill(json.loads(json.dumps(job)))

    monkeypatch.setattr(album, "_in_a_process", fill)
    steps = []
    found = measure_album("tiny", sizes=(1, 2, 3), side=96, progress=lambda: steps.append(1))
    assert len(steps) == len(jobs) == steps_of((1, 2, 3))
    cost, growth = found.tables
    assert [row[0] for row in cost.rows] == [
        "1 concept",
        f"{CONCEPTS} concepts",
        f"{CONCEPTS} concepts, the published way",
        "a further concept, encodings kept",
        "the same again, nothing new",
    ]
    assert [row[0] for row in growth.rows] == ["1", "2", "3"]
    assert float(cost.rows[4][2]) > float(cost.rows[0][2])  # nothing is looked for
    assert all(row["seconds"] > 0 and row["peak"] > 0 for row in found.rows)


def test_every_concept_has_a_disc_of_its_own():
    scene, masks = _scene(128)
    assert len(masks) == CONCEPTS + 1
    assert sum(mask.astype(int) for mask in masks).max() == 1
    assert len({tuple(scene[mask][0]) for mask in masks}) == len(masks)
