"""What a load test is made of: photos that are drawn or given, and a real service in a process of its own."""

from __future__ import annotations

import io
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from persam.errors import PersamError
from persam.images import IMAGE_SUFFIXES, read_image
from persam.lazy import library

CONCEPTS = ("red disc", "blue disc")
SIZES = ((320, 240), (640, 480), (1280, 960), (2400, 1800))  # of drawn photos, pixels
START = 180.0  # seconds in which a service starts, model and all
STOP = 60.0  # seconds in which one finishes what it has taken


@dataclass(frozen=True)
class LoadPhoto:
    """A photo that is sent, and the concepts that are looked for in it."""

    name: str
    data: bytes
    concepts: tuple[str, ...]


@dataclass(frozen=True)
class LoadedService:
    """A service that runs.

    Attributes:
        url: where, without a slash at the end.
        token: that it asks for, or None.
        pid: of its process, if it was started here.
    """

    url: str
    token: str | None = None
    pid: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What every request says."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    def check(self) -> None:
        """See that it is there and takes requests.

        Raises:
            PersamError: it does not.
        """
        httpx = library("httpx", "A load test", "serve")
        try:
            answer = httpx.get(f"{self.url}/v1/model", headers=self.headers, timeout=10)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise PersamError(f"There is no service at {self.url}; start it with `persam serve`.") from error
        if answer.status_code != 200:
            raise PersamError(f"The service at {self.url} answers {answer.status_code}; is its token right?")

    def resident(self) -> int | None:
        """Bytes of memory that its process holds now; None where this system does not tell, or it is not ours."""
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
        except (OSError, StopIteration):
            return None


@contextmanager
def service_process(*options: str, token: str | None = None) -> Iterator[LoadedService]:
    """A service on a free port of the loopback, in a temporary folder; it is asked to stop at the end of the block.

    Args:
        options: of `persam serve`, such as ``"--model", "tiny"``.
        token: that it asks for.

    Raises:
        PersamError: it does not start, for its own reason.
    """
    with tempfile.TemporaryDirectory(prefix="persam-load-") as home, Path(home, "said.txt").open("w+") as said:
        port = _free_port()
        command = [sys.executable, "-m", "persam", "serve", "--port", str(port), "--folder", str(Path(home, "service"))]
        command += [*options, *([] if token is None else ["--token", token])]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said) as process:  # noqa: S603 (this very program)
            try:
                url = f"http://127.0.0.1:{port}"
                _wait_until_ready(url, process, said)
                yield LoadedService(url, token, process.pid)
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(STOP)
                except subprocess.TimeoutExpired:
                    process.kill()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], said: Any) -> None:
    httpx = library("httpx", "A load test", "serve")
    end = time.monotonic() + START
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"{url}/ready", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    said.seek(0)
    reason = (said.read().strip().splitlines() or ["it said nothing"])[-1]
    raise PersamError(f"The service did not start: {reason}")


# ------------------------------------------------------------------------------------------------------------- photos


def drawn_photos(count: int, seed: int = 0) -> list[LoadPhoto]:
    """JPEG photos of all `SIZES`, with the discs that are learned in some of them; every third asks for both."""
    rng = np.random.default_rng(seed)
    photos = []
    for number in range(count):
        width, height = SIZES[number % len(SIZES)]
        picture = _ground(rng, width, height)
        for disc in range(len(CONCEPTS)):
            if rng.random() < 0.7:
                _paint_disc(picture, disc, rng.uniform(0.2, 0.8, 2), rng.uniform(0.08, 0.16))
        concepts = CONCEPTS if number % 3 == 2 else CONCEPTS[:1]
        photos.append(LoadPhoto(f"{number:03}.jpg", _file_of(picture, "JPEG"), concepts))
    return photos


def photos_in(folder: Path, count: int) -> list[LoadPhoto]:
    """The first photos of a folder and of those in it, as their files are; each gets another name.

    Raises:
        PersamError: there are none, or one cannot be read.
    """
    found = (file for file in sorted(folder.rglob("*")) if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    files = list(islice(found, count))
    if not files:
        raise PersamError(f"{folder} has no photos; give a folder with some, or leave --photos out.")
    for file in files:
        read_image(file)  # or the bare loop would stumble over it in the middle of the test
    return [
        LoadPhoto(f"{number:03}-{file.name}", file.read_bytes(), CONCEPTS if number % 3 == 2 else CONCEPTS[:1])
        for number, file in enumerate(files)
    ]


def reference_of(disc: int, seed: int = 99) -> tuple[bytes, bytes]:
    """A photo with one of the discs, and its mask, as PNG files."""
    picture = _ground(np.random.default_rng(seed + disc), 640, 480)
    mask = _paint_disc(picture, disc, np.array([0.5, 0.5]), 0.15)
    return _file_of(picture, "PNG"), _file_of(mask, "PNG")


def _ground(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Waves of colour with a grain that repeats: (H, W, 3) uint8."""
    side = 128
    y, x = (np.mgrid[:height, :width] / max(width, height)).astype(np.float32)
    ground = np.stack([90 + 40 * np.sin(20 * x), 110 + 40 * np.cos(17 * y), 80 + 50 * x * y], -1)
    grain = rng.normal(0, 6, (side, side, 3)).astype(np.float32) + np.float32(rng.uniform(-20, 20))
    ground += np.tile(grain, (height // side + 1, width // side + 1, 1))[:height, :width]
    return ground.clip(0, 255).astype(np.uint8)


def _paint_disc(picture: np.ndarray, disc: int, center: np.ndarray, radius: float) -> np.ndarray:
    """Paint it into (H, W, 3); its mask (H, W) bool."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width]
    inside = (x - center[0] * width) ** 2 + (y - center[1] * height) ** 2 < (radius * width) ** 2
    picture[inside] = ((200, 40, 40), (50, 70, 210))[disc]
    picture[inside & (np.abs(y - center[1] * height) < radius * width / 4)] = ((240, 200, 40), (240, 240, 240))[disc]
    return inside


def _file_of(pixels: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()
