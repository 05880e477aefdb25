"""The list of jobs: what is in it is on the disk, in order, and outlives whoever writes it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from persam.server.engine import StoppingError
from persam.server.jobs import store as store_file
from persam.server.jobs.database import FILE, VERSION, JobStoreError
from persam.server.jobs.job import Job, NoSuchJobError, TooManyJobsError
from persam.server.jobs.store import JobStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    with JobStore(tmp_path) as opened:
        yield opened


def added(store: JobStore, **more: object) -> Job:
    return store.add("album", ["mug"], {"threshold": 0.5}, **more)  # type: ignore[arg-type]


def taken(store: JobStore) -> Job:
    job = store.take()
    assert job is not None
    return job


def killed(store: JobStore) -> JobStore:
    """A store whose server is gone all at once, opened again."""
    folder = store.path.parent
    store._db.close()  # nothing more is written
    return JobStore(folder)


def test_jobs_are_done_in_the_order_in_which_they_came(store: JobStore) -> None:
    ids = [added(store, total=number).id for number in range(3)]
    assert len(set(ids)) == 3
    assert [taken(store).id for _ in range(3)] == ids
    assert store.take() is None
    assert [job.id for job in store.all()] == ids[::-1]


def test_what_was_added_comes_back(store: JobStore) -> None:
    job = added(store, total=7, size=99, notes=["Left out: é."])
    assert store.get(job.id) == job
    assert (job.state, job.concepts, job.options, job.total, job.bytes) == (
        "queued",
        ("mug",),
        {"threshold": 0.5},
        7,
        99,
    )
    assert job.notes == ("Left out: é.",)
    with pytest.raises(NoSuchJobError, match='There is no job "nobody"'):
        store.get("nobody")


def test_an_added_job_is_synced(store: JobStore) -> None:
    assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    assert store._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_no_more_wait_than_may(store: JobStore) -> None:
    for _ in range(2):
        added(store, most_waiting=2)
    with pytest.raises(TooManyJobsError, match="2 jobs wait already") as refused:
        added(store, most_waiting=2)
    assert refused.value.retry_after == 30
    running = taken(store)
    store.note_progress(running, 10, 110, 0, 2.0, {})
    added(store, most_waiting=2)
    with pytest.raises(TooManyJobsError) as refused:
        added(store, most_waiting=2)
    assert refused.value.retry_after == 50  # 100 photos at 2 a second


def test_of_many_who_come_at_once_no_more_wait_than_may(store: JobStore) -> None:
    def come(_: int) -> bool:
        try:
            added(store, most_waiting=5)
        except TooManyJobsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(come, range(40))) == 5


def test_a_job_that_was_running_waits_again(store: JobStore) -> None:
    first, second = added(store), added(store)
    taken(store)
    with killed(store) as again:
        assert [job.state for job in again.all()] == ["queued", "queued"]
        assert taken(again).id == first.id
        assert again.get(second.id).state == "queued"
        told = [event.data["state"] for event in again.events(first.id)]
        assert told == ["queued", "running", "queued", "running"]


def test_a_job_that_ends_the_server_three_times_is_given_up(store: JobStore) -> None:
    job = added(store, total=60)
    for _ in range(3):
        store.note_progress(taken(store), 49, 60, 0, None, {})
        store = killed(store)
    with store:
        found = store.get(job.id)
        assert found.state == "failed"
        assert found.error == (
            "The service was ended 3 times while it was at this job, after 49 of 60 photos, so it is not tried again; "
            "send it without what comes next there, or to a service with more memory."
        )
        assert store.take() is None


def test_a_job_that_gets_further_each_time_is_not_given_up(store: JobStore) -> None:
    job = added(store)
    for done in range(1, 8):
        store.note_progress(taken(store), done, 60, 0, None, {})
        store = killed(store)
    with store:
        assert store.get(job.id).state == "queued"


def test_an_orderly_stop_is_no_try(store: JobStore) -> None:
    job = added(store)
    for _ in range(5):
        assert store.put_back(taken(store))
        assert store.get(job.id).state == "queued"
    with killed(store) as again:
        assert again.get(job.id).tries == 0


@pytest.mark.parametrize("wish", ["cancel", "wish_away"])
def test_a_job_that_is_wished_away_as_the_server_stops_is_not_put_back(store: JobStore, wish: str) -> None:
    added(store)
    running = taken(store)
    getattr(store, wish)(running.id)
    assert not store.put_back(running)
    with killed(store) as again:
        assert again.counts() == {"queued": 0, "running": 0, "done": 0, "failed": 0, "cancelled": 1}


def test_cancelled(store: JobStore) -> None:
    waiting, running = added(store), added(store)
    assert store.cancel(waiting.id).state == "cancelled"
    assert taken(store).id == running.id
    told = store.cancel(running.id)
    assert (told.state, told.wish) == ("running", "cancel")
    ended = store.end(running, "cancelled", counts={"photos": 2})
    assert (ended.state, ended.wish, ended.counts) == ("cancelled", None, {"photos": 2})
    assert store.cancel(running.id) == ended
    with pytest.raises(NoSuchJobError):
        store.cancel("nobody")


@pytest.mark.parametrize("wish", ["cancel", "wish_away"])
def test_what_was_wished_before_a_kill_happens_after_it(store: JobStore, wish: str) -> None:
    job = added(store)
    taken(store)
    getattr(store, wish)(job.id)
    with killed(store) as again:
        assert again.take() is None
        if wish == "cancel":
            assert again.get(job.id).state == "cancelled"
        else:
            assert [each.id for each in again.to_delete()] == [job.id]


def test_deleted_jobs_are_not_seen_and_then_gone(store: JobStore) -> None:
    job, running = added(store), added(store)
    store.wish_away(job.id)
    assert [each.id for each in store.to_delete()] == [job.id]
    assert taken(store).id == running.id  # the other is not begun
    store.wish_away(running.id)
    assert store.to_delete() == [store.to_delete()[0]]  # not while it runs
    assert store.wish_of(running) == "delete"
    for question in (store.get, store.cancel, store.wish_away, store.events):
        with pytest.raises(NoSuchJobError):
            question(job.id)
    assert store.all() == []
    store.forget(job)
    assert store._db.execute("SELECT count(*) FROM events WHERE job = ?", (job.number,)).fetchone() == (0,)


def test_old_jobs(store: JobStore) -> None:
    old, new, waiting = (added(store) for _ in range(3))
    store.end(taken(store), "done")
    border = store.end(taken(store), "failed", error="No.").ended
    assert store.to_delete() == []
    assert [job.id for job in store.to_delete(border)] == [old.id]
    assert {new.id, waiting.id} <= {job.id for job in store.all()}


def test_events_are_numbered_kept_and_pruned(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_file, "KEPT_EVENTS", 10)
    job = added(store)
    running = taken(store)
    for done in range(1, 36):
        store.note_progress(running, done, 35, 0, 1.5, {"last": f"{done}.jpg"})
    store.end(running, "done")
    events = store.events(job.id)
    numbers = [event.id for event in events]
    assert numbers == sorted(numbers)
    assert numbers[:2] == [1, 2]  # states stay
    assert numbers[-1] == store.last_event(job.id) == store.get(job.id).last_event == 38
    assert 10 <= len(numbers) <= 22
    assert events[-2].data == {"done": 35, "total": 35, "problems": 0, "per_second": 1.5, "last": "35.jpg"}
    assert [event.id for event in store.events(job.id, after=36)] == [37, 38]
    assert events[-1].data["state"] == "done"


def test_the_last_event_is_known_while_the_file_is_written_and_gone_with_its_job(store: JobStore) -> None:
    job, running = added(store), added(store)
    taken(store)
    with store._guard, ThreadPoolExecutor(1) as pool:  # somebody writes, and the disk is slow
        assert pool.submit(store.last_event, job.id).result(5) == 2
    with killed(store) as again:
        assert (again.last_event(job.id), again.last_event(running.id)) == (3, 1)
        again.wish_away(job.id)
        again.forget(again.wish_away(running.id))
        for gone in (job.id, running.id, "nobody"):
            with pytest.raises(NoSuchJobError):
                again.last_event(gone)


def test_an_event_that_is_not_written_is_not_known(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever listens looks for it again and again."""
    job = added(store)
    monkeypatch.setattr(store, "_by_number", lambda number: (store._tell(number, "state", {}), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        store.take()
    monkeypatch.undo()
    assert store.last_event(job.id) == store.get(job.id).last_event == 1


def test_what_fails_in_between_changes_nothing(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    added(store)
    monkeypatch.setattr(store, "_tell", lambda *_: 1 / 0)
    for change in (store.take, lambda: added(store)):
        with pytest.raises(ZeroDivisionError):
            change()
    monkeypatch.undo()
    assert [job.state for job in store.all()] == ["queued"]


# ------------------------------------------------------------------------------------------------- the file


def test_it_may_be_closed_by_another_thread(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(store.close).result()
    with pytest.raises(StoppingError):
        store.all()
    JobStore(tmp_path).close()


def written(path: Path, *statements: str) -> None:
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


@pytest.mark.parametrize("kind", ["garbage", "cut", "flipped", "foreign", "newer", "folder"])
def test_a_file_that_cannot_be_used_is_told_and_stays(tmp_path: Path, kind: str) -> None:
    path = tmp_path / FILE
    with JobStore(tmp_path) as store:
        for _ in range(200):
            added(store)
    whole = path.read_bytes()
    words = "is damaged"
    if kind == "garbage":
        path.write_bytes(os.urandom(5000))
    elif kind == "cut":
        path.write_bytes(whole[: len(whole) // 2 // 4096 * 4096])
    elif kind == "flipped":
        path.write_bytes(whole[:4096] + os.urandom(4096) + whole[8192:])
    elif kind == "foreign":
        path.unlink()
        written(path, "CREATE TABLE jobs (mine TEXT)")
        words = "is something else than a list of jobs"
    elif kind == "newer":
        written(path, f"PRAGMA user_version = {VERSION + 1}")
        words = "was written by a newer persam"
    else:
        path.unlink()
        path.mkdir()
        words = "cannot be used"
    before = None if kind == "folder" else path.read_bytes()
    for _ in range(2):  # and it is not held
        with pytest.raises(JobStoreError, match=words) as told:
            JobStore(tmp_path)
        assert str(path) in str(told.value)
        assert "\n" not in str(told.value)
    assert before is None or path.read_bytes() == before


def test_what_goes_wrong_later_names_no_place(store: JobStore) -> None:
    store._db.execute("DROP TABLE events")
    with pytest.raises(JobStoreError, match="list of jobs cannot be used") as told:
        added(store)
    assert str(store.path.parent) not in str(told.value)
