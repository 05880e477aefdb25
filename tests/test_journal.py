"""Lines of JSON that only grow: they come back, and a torn one does no harm."""

from __future__ import annotations

import errno
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persam.errors import PersamError
from persam.journal import Journal, json_line

MEND = "start over with --fresh"


def test_lines_come_back(tmp_path):
    journal = Journal(tmp_path / "deep" / "j.jsonl")
    journal.append([{"a": 1}, {"b": "ü\n"}])
    journal.append([{"c": None}])
    assert Journal(journal.path).lines == journal.lines == [{"a": 1}, {"b": "ü\n"}, {"c": None}]


@given(name=st.text(st.characters(codec=None)))
def test_any_name_of_a_file_comes_back_in_one_line(name):
    """Also with ends of lines, and with bytes that are no UTF-8, which Python has as halves of letters."""
    row = json_line({"image": name})
    assert json.loads(row) == {"image": name}
    assert len(row.decode().splitlines()) == 1


@pytest.mark.parametrize("torn", [b'{"b', b'{"b": 2}', b"\xc3"])
def test_a_torn_last_line_is_dropped(tmp_path, torn):
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"a": 1}\n' + torn)
    journal = Journal(path)
    assert journal.lines == [{"a": 1}]
    assert path.read_bytes().endswith(torn)  # reading alone changes nothing
    journal.append([{"c": 3}])
    assert path.read_bytes() == b'{"a": 1}\n{"c": 3}\n'


@pytest.mark.parametrize("line", [b"nonsense", b"[1]", b"\xff\xfe"])
def test_damage_in_the_midst_is_told_or_left_out(tmp_path, line):
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b'\n{"c": 3}\n')
    with pytest.raises(PersamError, match=r"damaged in line 2; start over with --fresh\."):
        Journal(path, mend=MEND)
    journal = Journal(path)
    assert (journal.lines, journal.damaged) == ([{"a": 1}, {"c": 3}], 1)


def test_a_full_disk_tears_no_line(tmp_path, monkeypatch):
    """The half that went onto the disk is dropped when there is room again, in the same run or another."""
    journal = Journal(tmp_path / "j.jsonl")
    journal.append([{"a": 1}])

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(PersamError, match="no room left"):
            journal.append([{"b": 2}])
    journal.append([{"c": 3}])
    assert Journal(journal.path).lines == journal.lines == [{"a": 1}, {"c": 3}]


def test_an_unwritable_place(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PersamError, match=r"Cannot write .*a file"):
        Journal(tmp_path / "file" / "j.jsonl").append([{}])
