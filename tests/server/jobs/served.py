"""A service in a process of its own, which can be killed: forked from one that has loaded the libraries already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
from tests.fakes import ColourModel

JOBS = "/v1/jobs"
DEADLY = 255  # grey of a photo that ends the process which encodes it


class SlowModel(ColourModel):
    """Finds by colour, slowly enough to be killed in between; white photos kill it."""

    def encode(self, image: np.ndarray) -> Any:
        if (image == DEADLY).all():
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.15)
        return super().encode(image)


def _serve(folder: str, ready: Connection) -> None:
    from persam.persam import PerSAM
    from persam.server.app import create_app
    from persam.server.serving import address_of, listen, serve
    from persam.server.settings import ServerSettings
    from persam.video import resume

    resume.KEEP_SECONDS, resume.KEEP_SHARE = 0.0, 1e9  # the state after every frame
    settings = ServerSettings(Path(folder), port=0)
    taken = listen(settings)
    app = create_app(settings, PerSAM(SlowModel()))
    serve(app, settings, taken, on_ready=lambda: ready.send(address_of(settings, taken)))


class Served:
    """A running service. Killed at the end of a ``with`` block."""

    def __init__(self, folder: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(
            ["persam.server.app", "persam.server.serving", "persam.album.album", "tests.fakes"]
        )
        mine, its = context.Pipe(duplex=False)
        self.process = context.Process(target=_serve, args=(str(folder), its))
        self.process.start()
        its.close()
        assert mine.poll(60), "it does not start"
        self.http = httpx.Client(base_url=mine.recv(), timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """At once, as ``kill -9`` does. Again: nothing."""
        self.process.kill()
        self.process.join(10)
        self.http.close()

    def stop(self) -> int | None:
        """In an orderly way; returns the exit code."""
        self.process.terminate()
        self.process.join(30)
        self.http.close()
        return self.process.exitcode

    def start_job(self, files: list[Any], **fields: Any) -> str:
        """Start a job; its id."""
        answer = self.http.post(JOBS, data={"concept": "disc", **fields}, files=files)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job: str) -> dict[str, Any]:
        return dict(self.http.get(f"{JOBS}/{job}").json())

    def wait(self, job: str, done: int | None = None) -> dict[str, Any]:
        """Until a job has done so many, or until it has ended."""
        stop = time.monotonic() + 60
        while time.monotonic() < stop:
            found = self.job(job)
            if found["state"] in ("done", "failed", "cancelled"):
                return found
            if done is not None and found["state"] == "running" and found["progress"]["done"] >= done:
                return found
            time.sleep(0.01)
        raise AssertionError(found)
