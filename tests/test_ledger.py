"""Whose is a file: what persam wrote and nobody changed may be replaced, anything else may not."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from persam.errors import PersamError, UsageError
from persam.files import write_text
from persam.ledger import Ledger


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "out") as ledger:
        write_text(ledger.folder / "mine.txt", "persam's")
        yield ledger


class TestOwnership:
    def test_what_persam_wrote_is_replaced(self, ledger):
        assert ledger.is_own("mine.txt")
        ledger.check(["mine.txt", "new.txt"])
        write_text(ledger.folder / "mine.txt", "again")
        assert (ledger.folder / "mine.txt").read_text() == "again"

    def test_a_file_of_others_is_not(self, ledger):
        other = ledger.folder / "masks/a.png"
        other.parent.mkdir()
        other.write_text("theirs")
        with pytest.raises(
            UsageError, match=r"masks/a.png was not written by persam and would be lost; choose another"
        ):
            ledger.check(["mine.txt", "masks/a.png"])
        with pytest.raises(UsageError, match="was not written by persam"):
            write_text(other, "ours")
        assert other.read_text() == "theirs"
        assert [path.name for path in other.parent.iterdir()] == ["a.png"]

    def test_nor_one_that_was_corrected_by_hand(self, ledger):
        (ledger.folder / "mine.txt").write_text("PERSAM'S")  # as long as before
        with pytest.raises(UsageError, match=r"mine.txt was changed after persam wrote it"):
            write_text(ledger.folder / "mine.txt", "again")
        ledger.remove(["mine.txt"])
        assert (ledger.folder / "mine.txt").read_text() == "PERSAM'S"

    def test_all_are_counted(self, ledger):
        for name in "abc":
            (ledger.folder / name).write_text("theirs")
        with pytest.raises(UsageError, match=r"a \(and 2 more\) was not written"):
            ledger.check("abc")

    def test_a_link_is_not_persams(self, ledger, tmp_path):
        (tmp_path / "far.txt").write_text("persam's")
        (ledger.folder / "mine.txt").unlink()
        (ledger.folder / "mine.txt").symlink_to(tmp_path / "far.txt")
        assert not ledger.is_own("mine.txt")

    def test_overwrite_replaces_anything(self, tmp_path):
        (tmp_path / "a.txt").write_text("theirs")
        with Ledger(tmp_path, overwrite=True) as ledger:
            ledger.check(["a.txt"])
            write_text(tmp_path / "a.txt", "ours")
        with Ledger(tmp_path) as ledger:
            assert ledger.is_own("a.txt")

    def test_files_outside_are_nobodys_business(self, ledger, tmp_path):
        (tmp_path / "beside.txt").write_text("old")
        write_text(tmp_path / "beside.txt", "new")
        assert (tmp_path / "beside.txt").read_text() == "new"

    def test_remembered_from_run_to_run_and_in_a_copy(self, ledger, tmp_path):
        ledger.close()
        shutil.copytree(ledger.folder, tmp_path / "copy", copy_function=shutil.copyfile)  # with other times
        os.utime(tmp_path / "copy/mine.txt", (1, 1))
        for folder in (ledger.folder, tmp_path / "copy"):
            with Ledger(folder) as again:
                assert again.is_own("mine.txt")

    def test_killed_before_the_file_got_its_name(self, ledger, monkeypatch):
        """It was noted already: the old one stays persam's, however often that happens."""

        def killed(self: Path, target: Path) -> Path:
            raise KeyboardInterrupt

        for text in ("second", "third"):
            with monkeypatch.context() as patch:
                patch.setattr(Path, "replace", killed)
                with pytest.raises(KeyboardInterrupt):
                    write_text(ledger.folder / "mine.txt", text)
        ledger.close()
        with Ledger(ledger.folder) as again:
            assert again.is_own("mine.txt")

    def test_what_a_loss_of_power_left_empty(self, ledger):
        """Of others it is not persam's, though there is nothing in it: they may want it to be there."""
        for name in ("mine.txt", "others.txt"):
            (ledger.folder / name).write_bytes(b"")
        write_text(ledger.folder / "mine.txt", "again")
        with pytest.raises(UsageError, match="others.txt was not written by persam"):
            write_text(ledger.folder / "others.txt", "x")

    def test_what_may_not_be_read_is_not_adopted(self, ledger, monkeypatch):
        (ledger.folder / "closed.txt").write_text("x")
        monkeypatch.setattr(Path, "is_file", lambda self: refuse())
        ledger.adopt(["closed.txt"])
        monkeypatch.undo()
        assert not ledger.is_own("closed.txt")

    def test_the_list_stays_short(self, ledger):
        for number in range(20):
            write_text(ledger.folder / "mine.txt", str(number))
        write_text(ledger.folder / "gone.txt", "x")
        (ledger.folder / "gone.txt").unlink()
        ledger.close()
        assert len((ledger.folder / ".persam/files.jsonl").read_text().splitlines()) == 1
        with Ledger(ledger.folder) as again:
            assert again.is_own("mine.txt")

    def test_half_written_files_are_swept(self, ledger):
        for name in ("masks/mug/.12-34.tmp.png", ".5-6.tmp.json", "masks/.hidden", "else/.12-34.tmp.png"):
            (ledger.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (ledger.folder / name).write_text("half")
        ledger.sweep(["masks", "overlays"])
        left = {str(path.relative_to(ledger.folder)) for path in ledger.folder.rglob(".*") if path.is_file()}
        assert left - {".persam/lock", ".persam/files.jsonl"} == {"masks/.hidden", "else/.12-34.tmp.png"}


def refuse(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class TestLock:
    @pytest.mark.parametrize("stop", [PermissionError, KeyboardInterrupt])
    def test_is_free_after_a_close_that_fails(self, tmp_path, monkeypatch, stop):
        def fail(*_: object) -> None:
            raise stop

        before = open_files()
        ledger = Ledger(tmp_path / "out")
        for number in range(5):  # so that the list is to be shortened
            write_text(ledger.folder / "mine.txt", str(number))
        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            patch.setattr("persam.ledger._Stamp.fits", fail)
            ledger.close()
        assert open_files() == before
        with Ledger(tmp_path / "out") as again:
            assert again.is_own("mine.txt")

    @pytest.mark.parametrize("stop", [MemoryError, KeyboardInterrupt, PersamError])
    def test_is_free_after_an_opening_that_fails(self, tmp_path, monkeypatch, stop):
        def fail(*_: object) -> None:
            raise stop

        before = open_files()
        with monkeypatch.context() as patch:
            patch.setattr("persam.ledger.Journal", fail)
            with pytest.raises(stop):
                Ledger(tmp_path / "out")
        assert open_files() == before
        Ledger(tmp_path / "out").close()

    def test_two_at_once(self, ledger):
        with pytest.raises(
            PersamError, match=r"Another persam is writing into .*out; wait until it is done, or choose"
        ):
            Ledger(ledger.folder)
        ledger.close()
        Ledger(ledger.folder).close()

    def test_a_killed_one_holds_nothing(self, tmp_path):
        code = "import os, sys; from persam.ledger import Ledger; l = Ledger(sys.argv[1]); os.kill(os.getpid(), 9)"
        assert subprocess.run([sys.executable, "-c", code, tmp_path], check=False).returncode == -9
        Ledger(tmp_path).close()

    def test_nothing_is_left_where_nothing_was_written(self, tmp_path):
        Ledger(tmp_path / "out").close()
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "out").mkdir()
        Ledger(tmp_path / "out").close()
        assert [path.name for path in tmp_path.rglob("*")] == ["out"]

    def test_a_file_in_the_way(self, tmp_path):
        (tmp_path / "out").write_text("x")
        with pytest.raises(PersamError, match="Cannot write .*out"):
            Ledger(tmp_path / "out")


class TestTakingBack:
    """What a failed job wrote into a new folder goes; what is somebody else's stays."""

    def test_a_folder_that_was_made_goes(self, tmp_path):
        with Ledger(tmp_path / "new" / "out") as ledger:
            write_text(ledger.folder / "a" / "b" / "mine.txt", "persam's")
            (ledger.folder / "c").mkdir()
            ledger.take_back()
        assert list(tmp_path.iterdir()) == []

    def test_files_of_others_stay(self, tmp_path):
        (tmp_path / "theirs").mkdir()
        (tmp_path / "empty").mkdir()
        (tmp_path / "theirs" / "a.txt").write_text("theirs")
        with Ledger(tmp_path) as ledger:
            write_text(tmp_path / "theirs" / "mine.txt", "persam's")
            write_text(tmp_path / "made" / "changed.txt", "persam's")
            (tmp_path / "made" / "changed.txt").write_text("theirs now")
            ledger.take_back()
        left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
        assert left == ["empty", "made", "made/changed.txt", "theirs", "theirs/a.txt"]
