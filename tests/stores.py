"""Stores to test against: a bucket of a real S3 server, in this process, one in memory, and one that knows little."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest

from persam import places

KEYS = {"AWS_ACCESS_KEY_ID": "for-tests", "AWS_SECRET_ACCESS_KEY": "hush-hush", "AWS_DEFAULT_REGION": "us-east-1"}


def forget_stores() -> None:
    """Connections are kept by what they were made with, which is not all: keys come from the environment."""
    import fsspec

    places._filesystem.cache_clear()
    for each in ("s3", "memory"):
        try:
            fsspec.get_filesystem_class(each).clear_instance_cache()
        except ImportError:
            continue


@pytest.fixture(scope="session")
def s3_server() -> Iterator[dict[str, str]]:
    """The variables with which a bucket of the server can be had."""
    pytest.importorskip("s3fs", reason="needs persam[dev]")
    server = pytest.importorskip("moto.server", reason="needs persam[dev]").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        yield {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.get_host_and_port()[1]}"}
    finally:
        server.stop()


@pytest.fixture
def s3_variables(s3_server: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """The same in this process, for one test."""
    own = {**s3_server, "AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_EC2_METADATA_DISABLED": "true"}
    with mock.patch.dict(os.environ, own):
        yield own


@pytest.fixture
def bucket(s3_variables: dict[str, str]) -> places.RemotePath:
    """A new, empty bucket."""
    import fsspec

    name = f"b{uuid.uuid4().hex[:12]}"
    fsspec.filesystem("s3").mkdir(name)
    return places.RemotePath(f"s3://{name}")


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest) -> places.RemotePath:
    """An empty place, in memory and in a bucket."""
    if request.param == "s3":
        return request.getfixturevalue("bucket")
    return places.RemotePath(f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def plain() -> Iterator[places.RemotePath]:
    """An empty place on a store that knows little, see `PlainStore`."""
    import fsspec

    fsspec.register_implementation("plain", _plain_store(), clobber=True)
    places._filesystem.cache_clear()
    yield places.RemotePath(f"plain://{uuid.uuid4().hex}")
    places._filesystem.cache_clear()


def _plain_store() -> Any:
    from fsspec.implementations.memory import MemoryFileSystem

    class PlainStore(MemoryFileSystem):  # type: ignore[misc]
        """As sftp it makes no folders, as adlfs it replaces whatever it is told, as a web server it may list less.

        Attributes:
            links: names that are listed as links.
            unlisted: names that are there and not listed.
        """

        protocol = "plain"
        store: ClassVar[dict[str, Any]] = {}
        pseudo_dirs: ClassVar[list[str]] = [""]
        links: ClassVar[set[str]] = set()
        unlisted: ClassVar[set[str]] = set()

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return super()._strip_protocol(path.removeprefix("plain://"))

        def pipe_file(self, path: str, value: bytes, mode: str = "", **kwargs: Any) -> None:
            if not self.isdir(self._parent(path)):
                raise FileNotFoundError(path)
            super().pipe_file(path, value)

        def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
            entries = [each for each in super().ls(path, detail=True) if each["name"] not in self.unlisted]
            told = [each | {"type": "link"} if each["name"] in self.links else each for each in entries]
            return told if detail else [each["name"] for each in told]

    return PlainStore
