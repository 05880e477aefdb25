"""Places elsewhere: their names, what is listed and read there, and a sentence for whatever goes wrong."""

from __future__ import annotations

import io
import socket
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.stores import forget_stores

from persam import places
from persam.errors import PersamError, PersamWarning, UsageError
from persam.finding import find_images
from persam.images import read_image, read_smaller
from persam.places import RemotePath, StoreError, is_remote, place_of, stamp_of

ODD = ["a b.jpg", "ü#1?x=%20y.jpg", "100%.jpg", "x::y.jpg", "[1] *.jpg", "+&=.jpg", "猫.JPG"]


def jpeg(seed: int = 0, size: tuple[int, int] = (40, 60)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


class TestNames:
    @pytest.mark.parametrize("name", ODD)
    def test_a_text_and_back(self, name: str) -> None:
        place = place_of(f"s3://bucket/photos/{name}")
        assert isinstance(place, RemotePath)
        assert str(place_of(str(place))) == str(place) == f"s3://bucket/photos/{name}"
        assert (place.name, str(place.parent)) == (name, "s3://bucket/photos")
        assert (place.stem, place.suffix) == (Path(name).stem, Path(name).suffix)

    def test_parts(self) -> None:
        place = place_of("GS://bucket/a/b.jpg/")
        assert str(place) == "gs://bucket/a/b.jpg"
        assert [str(each) for each in place.parents] == ["gs://bucket/a", "gs://bucket"]
        assert str(place.with_suffix(".png")) == "gs://bucket/a/b.png"
        assert str(place.relative_to(RemotePath("gs://bucket"))) == "a/b.jpg"
        assert RemotePath("gs://bucket").parents == []

    @pytest.mark.parametrize("text", ["a/b.jpg", "/a//b.jpg", "C:/a.jpg", "c:\\a.jpg", "a:b.jpg"])
    def test_paths_stay_paths(self, text: str) -> None:
        assert place_of(text) == Path(text)
        assert not is_remote(text)

    def test_an_address_of_a_file_is_a_path(self) -> None:
        assert place_of("file:///a%20b/c.jpg") == Path("/a b/c.jpg")
        assert place_of("file:///x/mug #1?.jpg") == place_of("file://localhost/x/mug%20%231%3F.jpg")
        assert place_of("file:///x/mug #1?.jpg") == Path("/x/mug #1?.jpg")
        with pytest.raises(UsageError, match="file://photos/mug.jpg names another computer"):
            place_of("file://photos/mug.jpg")

    @pytest.mark.parametrize(
        "query",
        [
            *("X-Amz-Date=1&X-Amz-Signature=verysecret", "sv=2024&sig=verysecret", "X-Goog-Signature=verysecret"),
            *("Expires=1&Signature=verysecret", "access_token=verysecret"),
        ],
    )
    def test_an_address_that_is_signed_is_refused_and_not_shown(self, query: str) -> None:
        with pytest.raises(UsageError, match="signs a request") as caught:
            place_of(f"https://host/mug.jpg?{query}")
        assert "verysecret" not in str(caught.value)
        assert str(place_of("https://host/mug.jpg?width=300")) == "https://host/mug.jpg?width=300"
        assert place_of(f"s3://bucket/mug?{query}.jpg").name.endswith("verysecret.jpg")

    def test_a_password_is_refused_and_not_shown(self) -> None:
        with pytest.raises(UsageError, match="AWS_SECRET_ACCESS_KEY") as caught:
            place_of("s3://AKIAME:verysecret@bucket/a.jpg")
        assert "secret@" not in str(caught.value)
        assert "AKIAME" not in str(caught.value)
        assert place_of("sftp://me@host/a:b@c.jpg").name == "a:b@c.jpg"

    def test_no_way_up(self) -> None:
        with pytest.raises(UsageError, match=r"has \.\. in it"):
            place_of("s3://bucket/a/../../b.jpg")

    def test_where_it_has_to_be_on_this_disk(self, tmp_path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UsageError, match="not on this disk"):
            place_of(Path("s3://bucket/a.jpg"))
        assert list(tmp_path.iterdir()) == []


class TestFinding:
    def put(self, store: RemotePath, *names: str) -> None:
        for name in names:
            (store / name).write_bytes(b"x")

    def found(self, *given: object) -> list[str]:
        return [str(each) for each in find_images(map(str, given))]

    def test_a_folder_and_a_file_and_a_glob(self, store) -> None:
        self.put(store, *(f"p/{name}" for name in ODD), "p/deep/er/z.jpg", "p/.hid.jpg", "p/.hid/x.jpg", "p/notes.txt")
        assert self.found(store / "p") == sorted(f"{store}/p/{name}" for name in ODD)
        assert self.found(store / "p" / "**/*.jpg") == sorted(
            [f"{store}/p/deep/er/z.jpg", *(f"{store}/p/{name}" for name in ODD if name.endswith(".jpg"))]
        )
        for name in ODD:
            assert self.found(store / "p" / name, store / "p" / name) == [f"{store}/p/{name}"]

    def test_nothing_and_what_is_left_out(self, store) -> None:
        self.put(store, "p/notes.txt", "q/film.mov", "q/raw.cr2", "q/a.jpg")
        with pytest.raises(UsageError, match=r"no pictures in the folder .*/p"):
            self.found(store / "p")
        with pytest.raises(UsageError, match="No picture matches"):
            self.found(store / "p" / "*.jpg")
        with pytest.warns(PersamWarning, match=r"Left out of .*/q: 1 video .*1 RAW photo"):
            assert self.found(store / "q") == [f"{store}/q/a.jpg"]

    def test_one_that_is_missing_says_so_when_it_is_read(self, store) -> None:
        (place,) = find_images([f"{store}/none.jpg"])
        with pytest.raises(PersamError, match=r"There is nothing at .*none\.jpg"):
            read_image(place)

    def test_what_is_new_is_seen(self, store) -> None:
        self.put(store, "p/a.jpg")
        assert len(self.found(store / "p")) == 1
        self.put(store, "p/b.jpg")
        assert len(self.found(store / "p")) == 2

    def test_what_another_program_changes_is_seen(self, bucket) -> None:
        import fsspec

        other = fsspec.filesystem("s3", skip_instance_cache=True)
        self.put(bucket, "p/a.jpg", "p/b.jpg")
        for given in (bucket / "p", bucket / "p" / "a.jpg"):
            first = stamp_of(find_images([str(given)])[0])
            other.pipe_file(str(bucket / "p" / "a.jpg"), str(given).encode())
            assert stamp_of(find_images([str(given)])[0]) != first


class TestReading:
    def test_as_on_this_disk(self, store, tmp_path) -> None:
        data = jpeg(size=(300, 500))
        (store / ODD[1]).write_bytes(data)
        (tmp_path / "a.jpg").write_bytes(data)
        there, here = store / ODD[1], tmp_path / "a.jpg"
        assert np.array_equal(read_image(there), read_image(here))
        assert np.array_equal(read_image(str(there)), read_image(here))
        for ours, own in zip(read_smaller(there, 100), read_smaller(here, 100), strict=True):
            assert np.array_equal(ours, own)

    @pytest.mark.parametrize(
        ("data", "words"), [(b"", "empty"), (b"dear diary", "not a picture"), (jpeg()[:700], "truncated or damaged")]
    )
    def test_bad_files(self, store, data, words) -> None:
        (store / "bad.jpg").write_bytes(data)
        with pytest.raises(PersamError, match=words) as caught:
            read_image(store / "bad.jpg")
        assert str(store / "bad.jpg") in str(caught.value)

    def test_the_stamp_follows_the_content(self, store) -> None:
        file = store / "a.jpg"
        file.write_bytes(b"one")
        first = stamp_of(file)
        assert stamp_of(file) == first
        assert first[0] == 3
        time.sleep(0.01)
        file.write_bytes(b"two")
        assert stamp_of(file) != first

    def test_a_download_that_is_cut_short(self, store, monkeypatch) -> None:
        (store / "a.jpg").write_bytes(jpeg())
        monkeypatch.setattr(RemotePath, "read_bytes", lambda self: jpeg()[:100])
        with pytest.raises(PersamError, match="broke off"):
            read_image(store / "a.jpg")

    def test_one_that_vanishes(self, store) -> None:
        (store / "a.jpg").write_bytes(jpeg())
        (place,) = find_images([str(store)])
        (store / "a.jpg").unlink()
        with pytest.raises(PersamError, match="There is nothing at"):
            read_image(place)

    def test_a_new_one_does_not_replace(self, store) -> None:
        assert (store / "a").write_bytes(b"1", new=True)
        assert not (store / "a").write_bytes(b"2", new=True)
        assert (store / "a").read_bytes() == b"1"

    def test_nor_where_the_store_ignores_that(self, plain) -> None:
        assert (plain / "a").write_bytes(b"1", new=True)
        assert not (plain / "a").write_bytes(b"2", new=True)
        assert (plain / "a").read_bytes() == b"1"

    def test_folders_are_made_where_the_store_makes_none(self, plain) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: (plain / "deep/er" / name).write_bytes(b"1"), map(str, range(20))))
        assert len((plain / "deep/er").files()) == 20

    def test_a_link_is_a_file(self, plain) -> None:
        (plain / "p/a.jpg").write_bytes(jpeg())
        filesystem, path = (plain / "p/a.jpg")._located()
        filesystem.links.add(path)
        assert list((plain / "p").files()) == [plain / "p/a.jpg"] == find_images([str(plain / "p")])
        assert find_images([f"{plain}/**/*.jpg"]) == [plain / "p/a.jpg"]


class TestSentences:
    @pytest.fixture(autouse=True)
    def _anew(self) -> Iterator[None]:
        forget_stores()
        yield
        forget_stores()

    def test_kinds_of_places(self, monkeypatch) -> None:
        with pytest.raises(UsageError, match=r"nosuch://b/x\.jpg is at a kind of place that is not known"):
            read_image("nosuch://b/x.jpg")

        def none(*_: object, **__: object) -> None:
            raise ImportError("Install s3fs to access S3")

        monkeypatch.setattr("fsspec.core.url_to_fs", none)
        for url, words in (("s3://b/x.jpg", r"pip install 'persam\[remote\]'"), ("gs://b/x.jpg", "pip install gcsfs")):
            with pytest.raises(StoreError, match=words):
                read_image(url)

    def test_no_bucket(self, s3_variables) -> None:
        with pytest.raises(PersamError, match="check its bucket"):
            read_image("s3://nosuchbucket-at-all/a.jpg")
        with pytest.raises(StoreError, match="there is no s3://nosuchbucket-at-all; make it first"):
            RemotePath("s3://nosuchbucket-at-all/a.jpg").write_bytes(b"")

    def test_no_credentials(self, s3_variables, monkeypatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        with pytest.raises(StoreError, match="no credentials for s3://bucket"):
            read_image("s3://bucket/a.jpg")

    @pytest.mark.timeout(100)  # and not for ever
    def test_no_network(self, s3_variables, monkeypatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with pytest.raises(StoreError, match=r"s3://bucket cannot be reached .*check the network"):
            read_image("s3://bucket/a.jpg")

    @pytest.mark.timeout(100)
    def test_a_store_that_does_not_answer(self, s3_variables, monkeypatch) -> None:
        """It takes some seconds, for that is what it waits for."""
        monkeypatch.setattr(places, "READ_SECONDS", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
            for attempt in (RemotePath.read_bytes, RemotePath.info, lambda place: place.write_bytes(b"", new=True)):
                with pytest.raises(StoreError, match="cannot be reached"):
                    attempt(RemotePath("s3://bucket/a.jpg"))

    @pytest.mark.parametrize(
        ("error", "kind", "words"),
        [
            (
                PermissionError("Access Denied"),
                PersamError,
                r"may not be read with these credentials \(Access Denied\)",
            ),
            (TimeoutError("slow"), StoreError, "cannot be reached"),
            (
                RuntimeError("at https://me:pw@host/x?sig=abc&token=def"),
                PersamError,
                r"host/x\?sig=\.\.\.&token=\.\.\.",
            ),
        ],
    )
    def test_of_libraries(self, monkeypatch, error, kind, words) -> None:
        def failing(*_: object) -> tuple[object, str]:
            raise error

        monkeypatch.setattr(places, "_filesystem", failing)
        with pytest.raises(kind, match=words) as caught, warnings.catch_warnings():
            read_image("s3://bucket/a.jpg")
        assert "pw" not in str(caught.value)
        assert str(caught.value).endswith(".")
