"""The runner by itself: one job after another, old jobs, a full folder, and what goes wrong inside."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import draw_scene
from tests.fakes import ColourModel
from tests.server.serving import png

from persam.concept import Concept
from persam.persam import PerSAM
from persam.server.engine import Engine
from persam.server.jobs import runner as runner_file
from persam.server.jobs.database import JobStoreError
from persam.server.jobs.folder import JobFolder, MadeFile
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

    def started(**settings: Any) -> JobRunner:
        chosen = ServerSettings(tmp_path, **settings)
        engine = Engine(PerSAM(ColourModel()))
        runner = JobRunner(chosen, engine)
        runner.start(UploadFolder(tmp_path, chosen.uploads_folder, chosen.limits))
        open_ones.extend((runner, engine))
        return runner

    yield started
    for each in open_ones:
        each.close()


def sent(runner: JobRunner, concept: Concept, photos: int = 3) -> Job:
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


def test_one_after_another(begin: Begin, disc: Concept, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, running, most = begin(), [0], [0]
    work = runner_file.work_album

    def counted(*job: Any) -> Any:
        running[0] += 1
        most[0] = max(most[0], running[0])
        try:
            return work(*job)
        finally:
            running[0] -= 1

    monkeypatch.setattr(runner_file, "work_album", counted)
    jobs = [sent(runner, disc) for _ in range(2)]
    assert [ended(runner, job).state for job in jobs] == ["done", "done"]
    assert most == [1]
    assert runner.counts == {"queued": 0, "running": 0, "done": 2, "failed": 0, "cancelled": 0}


def test_old_jobs_go_and_new_ones_stay(begin: Begin, disc: Concept, tmp_path: Path) -> None:
    runner = begin()
    job = sent(runner, disc)
    ended(runner, job)
    sent(runner, disc)  # lets the runner look
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
        job = sent(runner, disc)
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
        job = sent(runner, disc)
        found = ended(runner, job)
    assert found.error == f"Something went wrong here; the service's log has it under {job.id}."
    assert "the inside of /etc/passwd" in caplog.text
    monkeypatch.undo()
    assert ended(runner, sent(runner, disc)).state == "done"  # the others go on


def test_a_list_that_cannot_be_written_ends_no_job(
    begin: Begin, disc: Concept, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = begin()
    noted = []

    def full(*_: Any) -> None:
        noted.append(True)
        raise JobStoreError("No room.")

    monkeypatch.setattr(runner.store, "note_progress", full)
    assert ended(runner, sent(runner, disc)).state == "done"
    assert noted


def test_an_end_that_cannot_be_written_is_tried_again(
    begin: Begin, disc: Concept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_file, "_RETRY", 0.01)
    runner = begin()
    own, tried = runner.store.end, []

    def full(*job: Any, **about: Any) -> Job:
        tried.append(True)
        if len(tried) < 3:
            raise JobStoreError("No room.")
        return own(*job, **about)

    monkeypatch.setattr(runner.store, "end", full)
    assert ended(runner, sent(runner, disc)).state == "done"
    assert len(tried) == 3


def test_sentences_name_no_place(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "jobs" / "1")
    assert folder.told(f"The photo {folder.sent}/a/b.jpg is damaged.") == "The photo a/b.jpg is damaged."
    assert folder.told(f"Cannot write {folder.made}/masks/m.png: no.") == "Cannot write masks/m.png: no."
    assert folder.told(f"3 frames are kept in {folder.made}/.") == "3 frames are kept in the results/."


@given(
    st.lists(st.sampled_from(["SENT/a.png", "MADE/b", "SENT", "MADE", "/", "x" * 40, "SEN", '"']), max_size=12),
    st.data(),
)
def test_files_name_no_place_wherever_they_are_cut(words: list[str], data: st.DataObject) -> None:
    folder = JobFolder(Path("/srv/jobs/12"))
    text = "".join(words).replace("SENT", str(folder.sent)).replace("MADE", str(folder.made)).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[one:other] for one, other in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = re.sub(rb"/srv/jobs/12/(sent|made)/?", b"", text)
    assert b"".join(folder._without_places(pieces)) == whole


def test_sizes_are_those_of_what_is_sent_and_words_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = JobFolder(tmp_path / "1")
    folder.made.mkdir(parents=True)
    (folder.made / "a.json").write_text(f'{{"image": "{folder.sent}/a.png"}}')
    (folder.made / "b.png").write_bytes(b"12345")
    assert folder.files() == [MadeFile("a.json", len('{"image": "a.png"}')), MadeFile("b.png", 5)]
    monkeypatch.setattr(JobFolder, "content", lambda *_: 1 / 0)
    assert [each.bytes for each in JobFolder(tmp_path / "1").files()] == [18, 5]


def test_nothing_of_a_refused_job_stays(begin: Begin, disc: Concept, tmp_path: Path) -> None:
    runner = begin(limits=Limits(jobs_waiting=1, job_files=2))
    for photos in (0, 3):
        with pytest.raises(runner_file.PersamError):
            sent(runner, disc, photos)
    assert list((tmp_path / "jobs").iterdir()) == []
    assert np.all([each.parent == tmp_path / "uploads" for each in (tmp_path / "uploads").iterdir()])
