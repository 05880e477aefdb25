"""Places on this disk and elsewhere: ``photos/mug.jpg``, ``s3://bucket/photos/mug.jpg``, whatever fsspec reads.

`place_of` makes a place of a text, `str` a text of a place; nothing is lost either way, so a place can be sent to
another process as its text. Names are taken as they are: blanks, ``#``, ``?`` and ``%`` mean themselves.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.request import url2pathname

from persam.errors import PersamError, UsageError, first_line
from persam.files import expanded

_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://(.*)", re.DOTALL)  # one letter is a disk of Windows
_PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), "'persam[remote]'"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss", "adl"), "adlfs"),
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
    **dict.fromkeys(("http", "https"), "aiohttp"),
    "smb": "smbprotocol",
}
# Seconds until a store that does not answer is given up, in a few tries; S3's own way takes minutes.
CONNECT_SECONDS, READ_SECONDS, TRIES = 5, 10, 2
_MAKING = threading.Lock()
_SLOWEST = 20_000  # bytes a second at which files can still be put there

# Names of errors, as each store's library has its own.
_NO_CREDENTIALS = frozenset(
    (
        *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"),
        *("TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError"),
        *("DefaultCredentialsError", "RefreshError", "ClientAuthenticationError"),
    )
)
_NOT_REACHED = frozenset(
    (
        *("ConnectionError", "TimeoutError", "gaierror", "FSTimeoutError", "HTTPClientError", "ConnectTimeoutError"),
        *("ReadTimeoutError", "ClientConnectionError", "ServiceRequestError", "ConnectionClosedError"),
    )
)
_BROKEN_OFF = frozenset(
    ("ClientPayloadError", "IncompleteReadError", "ResponseStreamingError", "IncompleteRead", "ContentLengthError")
)
_TAGS = ("ETag", "etag", "md5Hash", "crc32c", "generation", "content_md5")  # of a content, in what stores say of a file
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")

_FILES = ("file", "link")  # sftp does not say in a list what a link leads to


class StoreError(PersamError):
    """A store as a whole cannot be used now, so that no other file in it need be tried."""


@dataclass(frozen=True, order=True)
class RemotePath:
    """A file or folder that is not on this disk.

    Its methods that ask the store raise `PersamError`, one sentence, and `StoreError`, where nothing in it can be had.

    Attributes:
        url: without a slash at its end.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, more: str | PurePosixPath) -> RemotePath:
        return RemotePath(f"{self.url}/{more}")

    @property
    def protocol(self) -> str:
        """Such as ``s3``."""
        return self.url.partition("://")[0]

    @property
    def root(self) -> RemotePath:
        """The bucket, or the computer."""
        host = self.url.partition("://")[2].partition("/")[0]
        return RemotePath(f"{self.protocol}://{host}")

    @property
    def key(self) -> str:
        """What follows the root, without a slash in front."""
        return self.url[len(self.root.url) + 1 :]

    @property
    def name(self) -> str:
        """The last part."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """Such as ``.jpg``."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> RemotePath:
        """The folder in which it is."""
        return RemotePath(self.url.rpartition("/")[0]) if self.key else self

    @property
    def parents(self) -> list[RemotePath]:
        """The folders in which it is, the nearest first, the root last."""
        return [self.parent, *self.parent.parents] if self.key else []

    def with_suffix(self, suffix: str) -> RemotePath:
        """The same with another suffix."""
        return RemotePath(self.url.removesuffix(self.suffix) + suffix)

    def absolute(self) -> RemotePath:
        """It is."""
        return self

    def relative_to(self, folder: RemotePath) -> PurePosixPath:
        """Its path from a folder on, in which it lies."""
        return PurePosixPath(self.url[len(folder.url) + 1 :])

    # --------------------------------------------------------------------------------------------- what is there

    def info(self) -> dict[str, Any] | None:
        """What the store says of it; None, where nothing is there."""
        with self._in_words("read"):
            filesystem, path = self._located()
            try:
                return filesystem.info(path)
            except (FileNotFoundError, NotADirectoryError):
                return None

    def exists(self) -> bool:
        """Whether there is a file or folder."""
        return self.info() is not None

    def fresh(self) -> bool:
        """The same, whatever was known of it before."""
        with self._in_words("read"):
            filesystem, path = self._located()
            filesystem.invalidate_cache(path)
        return self.exists()

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return (self.info() or {}).get("type") == "directory"

    def is_file(self) -> bool:
        """Whether it is a file."""
        return (self.info() or {}).get("type") in _FILES

    def files(self, *, below: bool = False) -> dict[RemotePath, dict[str, Any]]:
        """The files in a folder, or all below it, with what the store says of each; none, where nothing is there."""
        with self._in_words("read"):
            filesystem, path = self._located()
            filesystem.invalidate_cache(path)
            if below:
                return self._named(path, filesystem.find(path, detail=True))
            entries = self._entries()
            return self._named(path, {each["name"]: each for each in entries if each["type"] in _FILES})

    def folders(self) -> list[str]:
        """Names of the folders in a folder, as they were when its `files` were last asked for."""
        with self._in_words("read"):
            _, path = self._located()
            names = {each["name"]: each for each in self._entries() if each["type"] == "directory"}
            return [each.name for each in self._named(path, {name.rstrip("/"): told for name, told in names.items()})]

    def _entries(self) -> list[dict[str, Any]]:
        filesystem, path = self._located()
        try:
            return filesystem.ls(path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def matching(self, pattern: str) -> dict[RemotePath, dict[str, Any]]:
        """The files that a glob matches, named from here on."""
        with self._in_words("read"):
            filesystem, path = self._located()
            filesystem.invalidate_cache(path)
            # The place itself is meant as it is, whatever is in its name.
            fixed = re.sub(r"([*?[])", r"[\1]", path)
            found = filesystem.glob(f"{fixed.rstrip('/')}/{pattern}", detail=True)
            return self._named(path, {name: each for name, each in found.items() if each["type"] in _FILES})

    def _named(self, path: str, found: dict[str, dict[str, Any]]) -> dict[RemotePath, dict[str, Any]]:
        # A folder that was made by hand in a bucket is an empty object of its name.
        inner = {name[len(path) :].removeprefix("/"): each for name, each in found.items() if not name.endswith("/")}
        return {self / name: inner[name] for name in sorted(inner) if name}

    # -------------------------------------------------------------------------------------------- what is in it

    def read_bytes(self) -> bytes:
        """All of a file, by one request."""
        with self._in_words("read"):
            filesystem, path = self._located()
            return filesystem.cat_file(path)

    def read_whole(self) -> bytes:
        """The same, and see that it is as long as the store says."""
        told = self.info()
        data = self.read_bytes()
        if told is not None and told.get("size") not in (None, len(data)):
            raise PersamError(f"{self} changed while it was read, or its download broke off; run this again.")
        return data

    def write_bytes(self, data: bytes, *, new: bool = False) -> bool:
        """Put a file there; with `new` only if none is there, as far as the store can tell. Whether it was put."""
        with self._in_words("written"):
            filesystem, path = self._located()
            filesystem.invalidate_cache(path)
            _make_folder(filesystem, path.rpartition("/")[0])
            if not new:
                _put(filesystem, path, data)
                return True
            if filesystem.exists(path):  # some stores replace it, whatever they are asked
                return False
            try:
                _put(filesystem, path, data, mode="create")
            except FileExistsError:
                return False
            except (NotImplementedError, TypeError):  # this store puts things only
                _put(filesystem, path, data)
            return True

    def get_file(self, to: Path) -> None:
        """Copy it to a file on this disk, in pieces, so that it may be large."""
        with self._in_words("read"):
            filesystem, path = self._located()
            filesystem.get_file(path, str(to))

    def put_file(self, file: Path) -> None:
        """Put a file of this disk there, in pieces, so that it may be large."""
        with self._in_words("written"):
            filesystem, path = self._located()
            filesystem.invalidate_cache(path)
            _make_folder(filesystem, path.rpartition("/")[0])
            _sent(filesystem, "put_file", file.stat().st_size, str(file), path)

    def unlink(self) -> None:
        """Remove a file; none is as well."""
        with self._in_words("written"), contextlib.suppress(FileNotFoundError):
            filesystem, path = self._located()
            filesystem.rm_file(path)
            filesystem.invalidate_cache(path)

    def forget(self) -> None:
        """Ask the store anew for all that is asked from now on: other programs write there, too."""
        with self._in_words("read"):
            self._located()[0].invalidate_cache()

    def _located(self) -> tuple[Any, str]:
        filesystem, root = _filesystem(self.root.url)
        return filesystem, f"{root.rstrip('/')}/{self.key}".rstrip("/") or "/"

    @contextlib.contextmanager
    def _in_words(self, done: str) -> Iterator[None]:
        try:
            yield
        except PersamError:
            raise
        except Exception as error:  # each store's library has its own
            raise _error(self, error, done) from error


#: A file or folder, wherever it is.
Place = Path | RemotePath


def place_of(text: str | os.PathLike[str] | RemotePath) -> Place:
    """The place that a text means: a URL, or a path on this disk, where ``~`` is read as shells do.

    >>> place_of("s3://bucket/a b/mug #1.jpg").name
    'mug #1.jpg'

    Raises:
        UsageError: a URL holds a password or a signature, names another computer's disk, or leads out of where it
            begins; there is no such home.
    """
    if isinstance(text, RemotePath):
        return text
    match = _URL.match(text) if isinstance(text, str) else None
    if match is None:
        return expanded(Path(text))
    protocol, rest = match[1].lower(), match[2].rstrip("/")
    if protocol in ("file", "local"):
        return _path_of_address(protocol, match[2])
    host, *parts = rest.split("/")
    if ":" in host.rpartition("@")[0]:
        raise UsageError(
            f"A {protocol}:// address holds a password or key, which results would show; leave out all up to the @, "
            "and give it as the store's own programs take it (s3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)."
        )
    query = rest.partition("?")[2]
    if protocol in ("http", "https") and without_secrets(query) != query:
        raise UsageError(
            f"The address {without_secrets(rest)} has in it what signs a request, which results would show; download "
            "the photo first, or give the store's own address, such as s3://BUCKET/PHOTO."
        )
    if ".." in parts:
        raise UsageError(f"{text} has .. in it; name the place itself.")
    return RemotePath(f"{protocol}://{rest}")


def is_url(text: object) -> bool:
    """Whether it is an address such as ``rtsp://camera/1``, of a kind that is known here or not."""
    return isinstance(text, str) and _URL.match(text) is not None


def _path_of_address(protocol: str, rest: str) -> Path:
    """What ``file://`` and the rest mean: ``%20`` is a blank, as file managers write it; ``#`` is a letter."""
    path = rest.removeprefix("localhost")
    if not path.startswith("/"):
        raise UsageError(
            f"{protocol}://{rest} names another computer; give the path alone, or after {protocol}:// a whole one, "
            f"such as {protocol}:///home/me/mug.jpg."
        )
    return Path(url2pathname(path))


def is_remote(place: object) -> bool:
    """Whether a text or place is not on this disk."""
    return isinstance(place, RemotePath) or (isinstance(place, str) and isinstance(place_of(place), RemotePath))


def stamp_of(file: Place) -> tuple[int, int, int]:
    """Size of a file, when its content changed, when anything of it did: the same as long as nobody changed it.

    Of a remote one the last is a hash of what its store says, such as its ETag.

    Raises:
        OSError: a file on this disk cannot be looked at.
        PersamError: a remote one is not there, or cannot be looked at.
    """
    if isinstance(file, RemotePath):
        told = file.info()
        if told is None or told.get("type") == "directory":
            raise PersamError(f"There is no file at {file}; check its bucket and path.")
        return remote_stamp(told)
    status = file.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def remote_stamp(told: dict[str, Any]) -> tuple[int, int, int]:
    """The stamp of a remote file, of what its store says of it."""
    time = next((told[each] for each in _TIMES if told.get(each) is not None), 0)
    seconds = time.timestamp() if hasattr(time, "timestamp") else time
    tags = [str(told[each]) for each in _TAGS if told.get(each) is not None]
    if tags and isinstance(seconds, int | float):
        seconds = int(seconds)  # some stores say more of it in a list than of the file itself
    changed = round(seconds * 1e9) if isinstance(seconds, int | float) else 0
    digest = hashlib.blake2b(repr((*tags, changed or str(time))).encode(), digest_size=7).digest()
    return int(told.get("size") or 0), changed, int.from_bytes(digest)


@lru_cache(maxsize=64)
def _filesystem(root: str) -> tuple[Any, str]:
    """What reads a bucket, and the bucket's name there."""
    import fsspec.config
    from fsspec.core import url_to_fs

    options: dict[str, Any] = {}
    protocol = root.partition("://")[0]
    if protocol in ("s3", "s3a"):
        own = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS, "retries": {"max_attempts": TRIES - 1}}
        options["config_kwargs"] = own | fsspec.config.conf.get(protocol, {}).get("config_kwargs", {})
    filesystem, path = url_to_fs(root, **options)
    if hasattr(filesystem, "retries"):  # on top of the client's own
        filesystem.retries = TRIES
    return filesystem, path


def _make_folder(filesystem: Any, path: str) -> None:
    """Make a folder where there have to be some, as on sftp; a store of objects knows none."""
    if getattr(filesystem, "async_impl", False) or not path:
        return
    with _MAKING:  # several threads put files into a new one
        if not filesystem.exists(path):
            filesystem.makedirs(path, exist_ok=True)


def _put(filesystem: Any, path: str, data: bytes, **options: str) -> None:
    _sent(filesystem, "pipe_file", len(data), path, data, **options)


def _sent(filesystem: Any, way: str, size: int, *what: object, **options: str) -> None:
    """Write a file; S3's client waits without end for leave to send it, so that it is given up here."""
    if not getattr(filesystem, "async_impl", False):
        getattr(filesystem, way)(*what, **options)
        return
    from fsspec.asyn import sync

    seconds = TRIES * READ_SECONDS + size / _SLOWEST
    sync(filesystem.loop, getattr(filesystem, f"_{way}"), *what, timeout=seconds, **options)


def _error(place: RemotePath, error: Exception, done: str) -> PersamError:
    """What a store's library says, as a sentence."""
    names = {each.__name__ for each in type(error).__mro__}
    reason = without_secrets(first_line(error)) if str(error) else type(error).__name__
    if isinstance(error, ImportError):
        package = _PACKAGES.get(place.protocol)
        mend = f"pip install {package}" if package else "install what fsspec asks for"
        return StoreError(f"{place.protocol}:// needs one more package ({reason}): {mend}.")
    if isinstance(error, ValueError) and "Protocol not known" in reason:
        return UsageError(f"{place} is at a kind of place that is not known; give s3://, gs://, az:// or the like.")
    if names & _NO_CREDENTIALS:
        return StoreError(
            f"There are no credentials for {place.root} ({reason}); log in as the store's own programs do, such as "
            "with `aws configure`."
        )
    if isinstance(error, FileNotFoundError) and done == "written":
        return StoreError(f"{place} cannot be written, for there is no {place.root}; make it first.")
    if isinstance(error, FileNotFoundError):
        return PersamError(f"There is nothing at {place}; check its bucket and path.")
    if isinstance(error, PermissionError):
        return PersamError(f"{place} may not be {done} with these credentials ({reason}); ask its owner to allow it.")
    if names & _BROKEN_OFF:
        return PersamError(f"The download of {place} broke off; run this again.")
    if names & _NOT_REACHED:
        return StoreError(f"{place.root} cannot be reached ({reason}); check the network, then run this again.")
    return PersamError(f"{place} cannot be {done} ({type(error).__name__}: {reason}); check it and run this again.")


def without_secrets(text: str) -> str:
    """An address, or what a library says of it, without passwords, and without what signs a request."""
    text = re.sub(r"//[^/\s]+@", "//", text)  # up to the last @, as passwords hold others
    return re.sub(
        r"(?i)\b(sig|signature|\w*token|x-(?:amz|goog)-[a-z-]+|awsaccesskeyid|key|secret)=[^&\s\"']+", r"\1=...", text
    )
