"""Requests to a service: what is sent, again where it is busy, and what comes back."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypedDict

from persam.errors import PersamError, UsageError
from persam.files import Held, atomic_path, expanded
from persam.lazy import library

if TYPE_CHECKING:
    import httpx
    import numpy as np
    from PIL import Image

    # A file, its name and bytes, its bytes, or a decoded picture, which is sent as a PNG.
    Picture = str | os.PathLike[str] | tuple[str, bytes] | bytes | Image.Image | np.ndarray

_BUSY = (429, 503)
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0  # seconds between tries where the service does not say


class RefusedError(PersamError):
    """The service does not do it; `status` is the HTTP status, and the sentence is the service's."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class SilentError(PersamError):
    """No service answers there."""

    def __init__(self, url: str) -> None:
        super().__init__(f"No service answers at {url}; is `persam serve` running there?")


class LateError(SilentError):
    """A service was asked, and does not answer in time; whether it does what was asked is not known."""

    def __init__(self, url: str, seconds: float | None) -> None:
        PersamError.__init__(
            self,
            f"The service at {url} has not answered in {seconds or 0:g} s; it may have taken what was sent, so see "
            "jobs() and concepts() before you send it again, or give the client a longer timeout.",
        )


class Connection(Held):
    """The way to a service, see `Client`."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = 120.0,
        patience: float = 120.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.httpx = library("httpx", "persam.client", "serve")
        try:
            parsed = self.httpx.URL(url)
        except self.httpx.InvalidURL:
            parsed = None
        if parsed is None or parsed.scheme not in ("http", "https") or not parsed.host:
            raise UsageError(f"The address of a service is like http://127.0.0.1:8000, not {url}.")
        self.url = url.rstrip("/")
        self.patience, self._timeout = patience, timeout
        token = token or os.environ.get("PERSAM_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http: httpx.Client = self.httpx.Client(headers=headers, timeout=timeout, transport=transport)

    def close(self) -> None:
        """Let go of connections."""
        self._http.close()

    def is_ready(self) -> bool:
        """Whether a service answers there and takes work."""
        try:
            return bool(self._http.get(f"{self.url}/ready").status_code == 200)
        except self.httpx.TransportError:
            return False

    def call(
        self,
        method: str,
        path: str,
        *,
        form: Form | None = None,
        json: Any = None,
        params: Any = None,
        timeout: float | None = None,
    ) -> Any:
        """Ask for anything of the service; what it answers, read from JSON.

        Args:
            method: ``GET``, ``POST``, ...
            path: below its address, such as ``/v1/model``.
            form: fields and files.
            json: instead: a body in JSON.
            params: of the query.
            timeout: seconds for the answer, by default the client's.

        Raises:
            RefusedError: the service does not do it, and says why.
            LateError: it does not answer in time, and may do it all the same.
            PersamError: it does not answer, or is none of persam.
        """
        answer = self.read(method, path, form=form, json=json, params=params, timeout=timeout)
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise PersamError(f"What answers at {self.url} is no service of persam; check the address.") from error

    def read(self, method: str, path: str, **asked: Any) -> httpx.Response:
        """The answer, with its body; asked for as in `answer`."""
        try:
            with self.answer(method, path, **asked) as answer:
                answer.read()
                return answer
        except self.httpx.TransportError as error:
            raise self._silence(error, asked.get("timeout")) from error

    def to_file(self, path: str, target: str | os.PathLike[str]) -> Path:
        """Write what lies under a path to a file, which is there when it is whole."""
        written = expanded(Path(target))
        try:
            with self.answer("GET", path) as answer, atomic_path(written) as temporary, temporary.open("wb") as stream:
                for part in answer.iter_bytes():
                    stream.write(part)
        except self.httpx.TransportError as error:
            raise self._silence(error) from error
        return written

    @contextmanager
    def answer(
        self,
        method: str,
        path: str,
        *,
        form: Form | None = None,
        headers: Any = None,
        timeout: float | None = None,
        **asked: Any,
    ) -> Iterator[httpx.Response]:
        """The answer, with its body still to come; a busy service is asked again."""
        pauses = Pauses(self.patience)
        asked["timeout"] = self.httpx.Timeout(self._timeout, read=timeout or self._timeout)
        while True:
            sent: Any = {} if form is None else {"data": form.values, "files": form.parts}
            request = self._http.build_request(method, self.url + path, headers=headers, **sent, **asked)
            try:
                answer = self._http.send(request, stream=True)
            except self.httpx.TransportError as error:
                raise self._silence(error, timeout) from error
            with closing(answer):
                if answer.is_success:
                    yield answer
                    return
                answer.read()
                refusal = _refusal(answer, self.url)
                told = answer.headers.get("retry-after", "")
            if answer.status_code not in _BUSY or not pauses.pause(int(told) if told.isdecimal() else None):
                raise refusal

    def _silence(self, error: httpx.TransportError, timeout: float | None = None) -> PersamError:
        """What it means that an answer does not come."""
        if isinstance(error, (self.httpx.ReadTimeout, self.httpx.WriteTimeout)):
            return LateError(self.url, timeout or self._timeout)
        return SilentError(self.url)


class Pauses:
    """Pauses between tries: as long as the service says, or else ever longer ones, until patience is at its end."""

    def __init__(self, patience: float) -> None:
        self._ends, self._next = time.monotonic() + patience, _FIRST_WAIT

    def pause(self, told: float | None = None) -> bool:
        """Wait before the next try; False, and at once, if that would be too late."""
        seconds = self._next if told is None else told
        self._next = min(2 * self._next, _LONGEST_WAIT)
        if time.monotonic() + seconds > self._ends:
            return False
        time.sleep(seconds)
        return True


def _refusal(answer: httpx.Response, url: str) -> RefusedError:
    try:
        sentence = answer.json()["detail"]
    except (ValueError, LookupError, TypeError):
        sentence = None
    if not isinstance(sentence, str):
        sentence = f"{url} answers {answer.status_code} {answer.reason_phrase}; is it a service of persam?"
    return RefusedError(sentence, answer.status_code)


@dataclass
class Form:
    """Fields, and pictures, which are read anew whenever they are sent."""

    values: dict[str, str | list[str]]
    pictures: list[tuple[str, Picture]]

    @property
    def parts(self) -> list[tuple[str, tuple[str, Any]]]:
        """The pictures as httpx takes them."""
        return [(name, named(picture)) for name, picture in self.pictures]


class _SentFile:
    """A file that is open only while it is sent: an album has more files than a process may have open."""

    def __init__(self, file: Path) -> None:
        self._file, self._place = file, 0
        self._stream: BinaryIO | None = None
        try:
            with file.open("rb") as stream:
                self._size = stream.seek(0, os.SEEK_END)
        except OSError as error:
            raise PersamError(f"There is no file {file}, or it may not be read; check the path.") from error

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._close()
        self._place = offset + (self._size if whence == os.SEEK_END else 0)
        return self._place

    def read(self, size: int) -> bytes:
        try:
            if self._stream is None:
                self._stream = self._file.open("rb")
                self._stream.seek(self._place)
            data = self._stream.read(size)
        except OSError as error:
            self._close()
            raise PersamError(
                f"The file {self._file} could be read no more while it was sent; see where it is, and send it again."
            ) from error
        self._place += len(data)
        if self._place > self._size or (not data and self._place < self._size):  # of another length than was announced
            self._close()
            raise PersamError(f"The file {self._file} changed while it was sent; send it when nobody writes it.")
        if not data:
            self._close()
        return data

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def named(picture: Picture) -> tuple[str, Any]:
    """Its name, and its bytes or what they are read from."""
    if isinstance(picture, (str, os.PathLike)):
        file = expanded(Path(picture))
        return file.name, _SentFile(file)
    if isinstance(picture, tuple):
        return picture
    if isinstance(picture, bytes):
        return "photo", picture
    from PIL import Image

    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(buffer, "PNG", compress_level=4)
    return "photo.png", buffer.getvalue()


class ShownBy(TypedDict, total=False):
    """How the object is shown in a photo but for a mask, and how it is learned; for several photos, lists of these.

    Attributes:
        box: (x0, y0, x1, y1) in pixels.
        points: triples (x, y, 1) on the object and (x, y, 0) beside it, in pixels.
        scribble: a picture of strokes on the object.
        tune: also fit the scale weights (PerSAM-F).
        keep: keep photos and masks in the concept (True by default), so that it can be tuned again.
    """

    box: Sequence[float] | list[Sequence[float]]
    points: Sequence[Sequence[float]] | list[Sequence[Sequence[float]]]
    scribble: Picture | list[Picture]
    tune: bool
    keep: bool


def reference_form(photo: Picture | list[Picture], mask: Picture | list[Picture] | None, shown: ShownBy) -> Form:
    """A reference, or several, as the service takes them; see `Client.learn`."""
    photos = several(photo)
    pictures = [("photo", each) for each in photos]
    pictures += [("mask", each) for each in (() if mask is None else several(mask))]
    pictures += [("scribble", each) for each in (several(shown["scribble"]) if "scribble" in shown else ())]
    values: dict[str, str | list[str]] = {each: word(bool(shown[each])) for each in ("tune", "keep") if each in shown}
    try:
        if "box" in shown:
            values["box"] = [_numbers(each) for each in _each(shown["box"], depth=1)]
        if "points" in shown:
            values["points"] = [";".join(map(_numbers, each)) for each in _each(shown["points"], depth=2)]
    except (TypeError, ValueError, IndexError) as error:
        raise UsageError(
            "A box is four numbers x0, y0, x1, y1, and points are triples x, y and 1 (on the object) or 0 (beside it)."
        ) from error
    return Form(values, pictures)


def several(pictures: Picture | list[Picture]) -> list[Picture]:
    """A list of pictures, also of one."""
    return list(pictures) if isinstance(pictures, list) else [pictures]


def _each(values: Any, depth: int) -> list[Any]:
    """Values of one photo, nested so deep, as those of a list of photos."""
    first = values
    for _ in range(depth):
        first = first[0]
    return list(values) if isinstance(first, Sequence) or hasattr(first, "__len__") else [values]


def _numbers(values: Any) -> str:
    return ",".join(f"{float(value):.10g}" for value in values)


def word(value: bool) -> str:
    """A yes or no as a field's value."""
    return "true" if value else "false"
