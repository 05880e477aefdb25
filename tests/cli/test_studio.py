"""`persam studio`: what keeps it from starting, said before the model is loaded; and how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("gradio")
Refused = Callable[..., str]


def test_others_need_a_token(refused: Refused, tmp_path: Path) -> None:
    assert "it needs a token" in refused("studio", "--host", "0.0.0.0", code=2)
    (tmp_path / "token").write_text("short")
    assert "at least 16 characters" in refused("studio", "--host", "0.0.0.0", "--token-file", "token", code=2)
    assert not (tmp_path / "concepts").exists()


def test_what_is_wrong_with_folders_and_port_is_said(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert "is a file" in refused("studio", "--concepts", "file", code=2)
    assert "no-study" in refused("studio", "--study", "no-study", code=2)
    assert "say with --study which" in refused("studio", "--shuffle", code=2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"The port {port} is taken" in refused("studio", "--port", port, code=1)


def test_without_the_extra_it_says_how_to_get_it(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "pip install 'persam[studio]'" in refused("studio", code=1)


@pytest.mark.slow
def test_ctrl_c_ends_it_and_its_files_go(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as stream:
        studio = subprocess.Popen(
            [sys.executable, "-m", "persam", "studio", "--port", "0", "--no-browser"],
            cwd=tmp_path, stdout=stream, stderr=stream, env=os.environ | {"TMPDIR": str(tmp_path)},
        )  # fmt: skip
    try:
        end = time.monotonic() + 120
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
            assert studio.poll() is None, log.read_text()
            assert time.monotonic() < end
            time.sleep(0.1)
        assert b"persam studio" in urllib.request.urlopen(found.group(), timeout=100).read()
        assert list(tmp_path.glob("persam-studio-*"))
        studio.send_signal(signal.SIGINT)
        assert studio.wait(100) == 0
    finally:
        studio.kill()
    assert "Traceback" not in log.read_text()
    assert log.read_text().strip().endswith("Stopped.")
    assert not list(tmp_path.glob("persam-studio-*"))
