"""The runner by itself: several at once, old jobs, a full folder, and what goes wrong inside."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import draw_scene
from tests.fakes import ColourModel
from tests.server.serving import png

from persam.concept import Concept
from persam.persam import PerSAM
from persam.server.engine import Engine
from persam.server.jobs import runner as runner_file
from persam.server.jobs.job import Job
from persam.server.jobs.runner import JobRunner
from persam.server.settings import Limits, ServerSettings
from persam.server.uploads import UploadFolder

OPTIONS = {"max_instances": 1, "threshold": 0.5, "masks": "none", "format": []} | dict.fromkeys(
    ("overlay", "cutout", "per_instance"), False
)


Begin = Callable[..., JobRunner]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Start a runner in `tmp_path`."""
    open_ones: list[Any] = []

    def started(at_once: int = 1, **settings: Any) -> JobRunner:
        chosen = ServerSettings(tmp_path, **settings)
        engine = Engine(PerSAM(ColourModel()))
        runner = JobRunner(chosen, engine, at_once=at_once)
        runner.start(UploadFolder(tmp_path, chosen.uploads_folder, chosen.limits))
        open_ones.extend((runner, engine))
        return runner

    yield started
    for each in open_ones:
        each.close()


def given(runner: JobRunner, concept: Concept, photos: int = 3) -> Job:
    assert runner._room is not None
    uploads = []
    for number in range(photos):
        upload = runner._room.new(f"{number}.png")
        data = png(draw_scene(center=(50 + 9 * number, 60))[0])
        upload.path.write_bytes(data)
        upload.size, upload.head = len(data), data[:64]
        uploads.append(upload)
    return runner.take_on("album", [concept], OPTIONS, uploads)


def until(question: Callable[[], Any], seconds: float = 30) -> Any:
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        if found := question():
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def ended(runner: JobRunner, job: Job) -> Job:
    return until(lambda: (found := runner.store.get(job.id)).has_ended and found)


def test_one_after_another_or_two_at_once(begin: Begin, disc: Concept, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = begin(at_once=2)
    meet = threading.Barrier(2)
    work = runner_file.work_album

    def met(*job: Any) -> Any:
        meet.wait(20)  # both have to come
        return work(*job)

    monkeypatch.setattr(runner_file, "work_album", met)
    jobs = [given(runner, disc) for _ in range(2)]
    assert [ended(runner, job).state for job in jobs] == ["done", "done"]
    assert runner.counts == {"queued": 0, "running": 0, "done": 2, "failed": 0, "cancelled": 0}


def test_old_jobs_go_and_new_ones_stay(begin: Begin, disc: Concept, tmp_path: Path) -> None:
    runner = begin()
    job = given(runner, disc)
    ended(runner, job)
    given(runner, disc)  # lets the runner look
    assert runner.store.get(job.id).state == "done"
    runner.close()
    again = begin(keep_days=0.0)
    until(lambda: not (tmp_path / "jobs" / job.id).exists())
    until(lambda: job.id not in {each.id for each in again.store.all()})


def test_what_jobs_make_has_to_fit_into_the_folder(
    begin: Begin, disc: Concept, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = begin(limits=Limits(folder_bytes=10_000_000))
    with runner._change:  # the runner does not look yet
        job = given(runner, disc)
        assert runner._room is not None
        monkeypatch.setattr(runner._room, "_used", 10_000_001)
        monkeypatch.setattr(runner._room, "_counted", time.monotonic())
    failed = ended(runner, job)
    assert (failed.state, failed.error) == (
        "failed",
        "The service has no room for more files; delete jobs or concepts, or come later.",
    )


def test_what_goes_wrong_inside_is_in_the_log_alone(
    begin: Begin, disc: Concept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("the inside of /etc/passwd")

    monkeypatch.setattr(runner_file, "work_album", broken)
    runner = begin()
    with caplog.at_level(logging.INFO, logger="persam.server"):
        monkeypatch.setattr(logging.getLogger("persam.server"), "propagate", True)
        job = given(runner, disc)
        found = ended(runner, job)
    assert found.error == f"Something went wrong here; the service's log has it under {job.id}."
    assert "the inside of /etc/passwd" in caplog.text
    monkeypatch.undo()
    assert ended(runner, given(runner, disc)).state == "done"  # the others go on


def test_a_list_that_cannot_be_written_ends_no_job(
    begin: Begin, disc: Concept, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = begin()
    noted = []

    def full(*_: Any) -> None:
        from persam.server.jobs.database import JobStoreError

        noted.append(True)
        raise JobStoreError("No room.")

    monkeypatch.setattr(runner.store, "note_progress", full)
    assert ended(runner, given(runner, disc)).state == "done"
    assert noted


def test_nothing_of_a_refused_job_stays(begin: Begin, disc: Concept, tmp_path: Path) -> None:
    runner = begin(limits=Limits(jobs_waiting=1, job_files=2))
    for photos in (0, 3):
        with pytest.raises(runner_file.PersamError):
            given(runner, disc, photos)
    assert list((tmp_path / "jobs").iterdir()) == []
    assert np.all([each.parent == tmp_path / "uploads" for each in (tmp_path / "uploads").iterdir()])
