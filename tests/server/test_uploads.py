"""Uploads: the room that they have, and the threads that decode them."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from persam.server import uploads
from persam.server.refusals import NoRoomError
from persam.server.settings import Limits
from persam.server.uploads import UploadFolder


@pytest.fixture
def room(tmp_path: Path) -> UploadFolder:
    return UploadFolder(tmp_path, tmp_path / "uploads", Limits(folder_bytes=1000))


def used_by(room: UploadFolder, count: int) -> bool:
    ends = time.monotonic() + 5
    while (room._used, room._is_counting) != (count, False):
        assert time.monotonic() < ends, room._used
        time.sleep(0.005)
    return True


def test_what_is_taken_while_the_folder_is_counted_counts(
    room: UploadFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody waits for the count, unless it may refuse him."""
    (tmp_path / "a").write_bytes(bytes(100))
    room.count()  # the first one, which is waited for
    assert room._used == 100
    event, sizes = threading.Event(), uploads._sizes_below
    monkeypatch.setattr(uploads, "_COUNTED_ANEW", 0.0)
    monkeypatch.setattr(uploads, "_sizes_below", lambda folder: [*sizes(folder), 0 * event.wait(5)])
    room.count()
    room.take(50)
    event.set()
    assert used_by(room, 150)
    room.take(800)
    with pytest.raises(NoRoomError):
        room.take(51)
    room.count()  # waited for: nothing of it was written
    assert room._used == 100
    room.take(900)


def test_what_nobody_waits_for_is_not_decoded(room: UploadFolder) -> None:
    done: list[int] = []
    event = threading.Event()

    async def run() -> None:
        busy = [asyncio.create_task(room.decode(lambda: event.wait(5))) for _ in range(uploads._DECODERS)]
        given_up = asyncio.create_task(room.decode(lambda: done.append(1)))
        await asyncio.sleep(0.02)
        given_up.cancel()
        await asyncio.sleep(0.02)
        event.set()
        assert await asyncio.gather(*busy, return_exceptions=True) == [True] * len(busy)
        assert await room.decode(lambda: 3) == 3

    asyncio.run(run())
    assert not done
    room.close()
