"""What is sent to harm: each is refused in one sentence that tells nothing of the machine, and memory stays bounded.

All of it goes to one real service over a real network; those that take their time are behind `slow`.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.server import bad_files
from tests.server.real_service import CUT, SILENT, TOKEN, RealService, refused, running_service, sentence_of

GROWTH, PEAK = 120e6, 400e6  # bytes that all of this may leave in memory, and take at most
HIDDEN_TEXT = "hidden-from-you"
NESTED = (
    b'--B\r\nContent-Disposition: form-data; name="photo"\r\nContent-Type: multipart/mixed; boundary=C\r\n\r\n'
    b"--C\r\nContent-Disposition: file; filename=a.png\r\n\r\nx\r\n--C--\r\n--B--\r\n"
)


def short(value: object) -> str:
    """Name a case, which may be a megabyte."""
    return getattr(value, "__name__", ascii(value)[:40])


@dataclass(frozen=True)
class Attacked:
    """A service with one concept, ``disc``, and what it was like before."""

    service: RealService
    client: httpx.Client
    concept: bytes
    resident: int
    files: int


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "hidden.txt").write_text(HIDDEN_TEXT)
    with running_service(folder) as service, service.client() as client:
        files = {"photo": ("a.png", bad_files.photo()), "mask": ("a.png", bad_files.mask())}
        learned = client.post("/v1/concepts", data={"name": "disc"}, files=files)
        assert learned.status_code == 201, learned.text
        for kind in bad_files.KINDS:  # warms up
            found = segment(client, bad_files.photo(kind, 640, 480))
            assert found.status_code == 200, found.text
        concept = client.get("/v1/concepts/disc/file").content
        Path(f"/proc/{service.pid}/clear_refs").write_text("5")  # the peak starts anew
        yield Attacked(service, client, concept, service.resident(), service.open_files())


def segment(client: httpx.Client, data: bytes, name: str = "a.png", kind: str = "image/png", **fields: Any) -> Any:
    """Look for the disc in a photo."""
    form = {"concept": "disc", "masks": "none", **fields}
    return client.post("/v1/segment", data=form, files={"photo": (name, data, kind)})


def learn(client: httpx.Client, *, mask: bytes | None = None, photo: bytes | None = None, **fields: Any) -> Any:
    """Teach something."""
    files = {"photo": ("a.png", bad_files.photo() if photo is None else photo)}
    if mask is not None:
        files["mask"] = ("m.png", mask)
    return client.post("/v1/concepts", data={"name": "new", **fields}, files=files)


def album(client: httpx.Client, data: bytes, name: str = "photos.zip", **fields: Any) -> Any:
    """Start a job."""
    form = {"kind": "album", "concept": "disc", **fields}
    return client.post("/v1/jobs", data=form, files={"file": (name, data)})


class TestPictures:
    """Files that are no photo, or would be one of gigabytes."""

    @pytest.mark.parametrize("kind", bad_files.KINDS)
    def test_half_a_file(self, attacked: Attacked, kind: str) -> None:
        refused(segment(attacked.client, bad_files.truncated()[kind]), 400, 415)

    @pytest.mark.parametrize("kind", bad_files.claims())
    def test_a_claim(self, attacked: Attacked, kind: str) -> None:
        refused(segment(attacked.client, bad_files.claims()[kind]), 400, 413, 415)

    @pytest.mark.parametrize("kind", bad_files.chimeras())
    def test_no_picture(self, attacked: Attacked, kind: str) -> None:
        refused(segment(attacked.client, bad_files.chimeras()[kind]), 400, 415)

    @pytest.mark.parametrize("make", [bad_files.png_bomb, bad_files.endless_gif, bad_files.zip_bomb])
    def test_a_bomb(self, attacked: Attacked, make: Callable[[], bytes]) -> None:
        refused(segment(attacked.client, make()), 400, 413, 415)

    def test_a_comment_that_unpacks_without_end(self, attacked: Attacked) -> None:
        assert segment(attacked.client, bad_files.png_text_bomb()).status_code in (200, 400, 413, 415)

    @pytest.mark.parametrize("kind", bad_files.pictures_with_tails())
    def test_a_picture_with_a_tail_is_a_picture(self, attacked: Attacked, kind: str) -> None:
        answer = segment(attacked.client, bad_files.pictures_with_tails()[kind], masks="rle")
        assert answer.status_code == 200
        assert "script" not in answer.text
        assert answer.headers["Content-Type"].startswith("application/json")

    def test_nothing(self, attacked: Attacked) -> None:
        refused(segment(attacked.client, b""), 400, 415)

    def test_kind_is_seen_by_content(self, attacked: Attacked) -> None:
        assert segment(attacked.client, bad_files.photo("JPEG"), "a.html", "text/html").status_code == 200
        refused(segment(attacked.client, b"<html></html>", "a.jpg", "image/jpeg"), 400, 415)

    def test_one_bad_photo_among_good_ones(self, attacked: Attacked) -> None:
        files = [
            ("photo", (f"{n}.png", data)) for n, data in enumerate((bad_files.photo(), bad_files.claims()["TIFF"]))
        ]
        answer = attacked.client.post("/v1/segment", data={"concept": "disc", "masks": "none"}, files=files)
        assert answer.status_code == 200
        good, bad = answer.json()["results"]
        assert "found" in good
        sentence_of(json.dumps({"detail": bad["error"]}).encode())


class TestReferences:
    """What is taught."""

    @pytest.mark.parametrize("mask", [b"", b"text", bad_files.mask(64, 400), bad_files.claims()["PNG"]])
    def test_a_bad_mask(self, attacked: Attacked, mask: bytes) -> None:
        refused(learn(attacked.client, mask=mask), 400, 413, 415)

    def test_an_empty_photo_with_a_mask(self, attacked: Attacked) -> None:
        refused(learn(attacked.client, photo=b"", mask=bad_files.mask()), 400, 415)

    @pytest.mark.parametrize(
        "box",
        ["nan,nan,nan,nan", "inf,0,10,10", "1e999,0,1,1", "-9,-9,-5,-5", "9,9,1,1", "0,0,0,0", "1,2,3", "a,b,c,d",
         ",,,", "1" * 5000 + ",1,2,3", "9000,9000,9999,9999", "٣,٤,٥,٦x"],
        ids=short,
    )  # fmt: skip
    def test_a_box_that_is_none(self, attacked: Attacked, box: str) -> None:
        refused(learn(attacked.client, box=box), 400, 422)

    @pytest.mark.parametrize(
        "points",
        ["nan,nan,1", "1,1", "1,1,2", "5,5,1;" * 5000, "-1e9,3,1", "1,1,0", ";;;", "1,1,1;x", "inf,-inf,1"],
        ids=short,
    )
    def test_absurd_points(self, attacked: Attacked, points: str) -> None:
        refused(learn(attacked.client, points=points), 400, 413, 422)

    def test_a_mask_and_a_box_or_nothing(self, attacked: Attacked) -> None:
        refused(learn(attacked.client, mask=bad_files.mask(), box="1,1,9,9"), 400, 422)
        refused(learn(attacked.client), 400, 422)

    @pytest.mark.parametrize("kind", bad_files.CONCEPT_FILES)
    def test_a_file_that_is_no_concept(self, attacked: Attacked, kind: str) -> None:
        data = bad_files.concept_files(attacked.concept)[kind]
        for way in ({"content": data}, {"files": {"file": ("c.safetensors", data)}}):
            refused(attacked.client.put("/v1/concepts/foreign/file", **way), 400, 409, 415, 422)
        assert attacked.client.get("/v1/concepts/foreign").status_code == 404


class TestNames:
    """Names that are paths, or no names."""

    NAMES = ("../../x", "/etc/passwd", "C:\\x", "CON", "a" * 10_000, "‮gpj.exe", "📷", " ", "..", ".", "a\nb", "a\tb")

    @pytest.mark.parametrize("name", [*NAMES, "a\0b", ""], ids=short)
    def test_a_photo_is_called_so(self, attacked: Attacked, name: str) -> None:
        """A file's name is a word that is told back, cut and without what cannot be seen; or it is refused."""
        answer = segment(attacked.client, bad_files.photo(), name)
        if answer.status_code != 200:
            refused(answer, 400, 422)
        else:
            told = answer.json()["results"][0]["photo"]
            assert len(told) <= 300
            assert told.isprintable()

    @pytest.mark.parametrize("name", NAMES, ids=short)
    def test_a_concept_is_called_so(self, attacked: Attacked, name: str) -> None:
        """It becomes a name that a file can have, in the folder, or it is refused."""
        way = f"/v1/concepts/{quote(name, safe='')}/file"
        self._is_kept_or_refused(attacked, attacked.client.put(way, content=attacked.concept))

    @pytest.mark.parametrize("name", ["../../x", "a\0b", "a" * 10_000], ids=short)
    def test_a_learned_concept_is_called_so(self, attacked: Attacked, name: str) -> None:
        self._is_kept_or_refused(attacked, learn(attacked.client, mask=bad_files.mask(), name=name))

    def _is_kept_or_refused(self, attacked: Attacked, answer: httpx.Response) -> None:
        home = attacked.service.folder / "concepts"
        if answer.status_code == 201:
            kept = answer.json()["name"]
            assert (home / f"{kept}.safetensors").is_file()
            assert attacked.client.delete(f"/v1/concepts/{quote(kept, safe='')}").status_code in (200, 204)
        else:
            refused(answer, 400, 404, 405, 422)
        assert [each.name for each in home.iterdir() if not each.name.startswith(".")] == ["disc.safetensors"]

    @pytest.mark.parametrize(
        "name", ["..%2f..%2fhidden", "%2e%2e/hidden", "..", "%00", "a" * 5000, "%ff", "disc%2f..%2fdisc"], ids=short
    )
    @pytest.mark.parametrize("way", ["/v1/concepts/{}", "/v1/concepts/{}/file", "/v1/jobs/{}", "/v1/jobs/x/files/{}"])
    def test_a_way_that_leads_elsewhere(self, attacked: Attacked, name: str, way: str) -> None:
        status, answer = attacked.service.say(_request("GET", way.format(name)))
        assert status in (400, 404, 405, 414, 422), answer
        assert HIDDEN_TEXT.encode() not in answer
        sentence_of(answer.partition(b"\r\n\r\n")[2])


class TestForms:
    """Bodies that are no form, or too much of one."""

    @pytest.mark.parametrize(
        "fields",
        [
            {"threshold": "nan"}, {"threshold": "2"}, {"threshold": "x"}, {"max_instances": "0"},
            {"max_instances": "9" * 30}, {"max_instances": "-1"}, {"max_instances": "9" * 5000}, {"masks": "exe"},
            {"concept": ""}, {"concept": "nobody"}, {"concept": "../disc"}, {"concept": ["disc"] * 100},
        ],
        ids=short,
    )  # fmt: skip
    def test_a_field(self, attacked: Attacked, fields: dict[str, Any]) -> None:
        refused(segment(attacked.client, bad_files.photo(), **fields), 400, 404, 413, 422)

    def test_many_fields(self, attacked: Attacked) -> None:
        body = b"".join(_part(f"f{number}", b"x") for number in range(10_000)) + b"--B--\r\n"
        refused(_post(attacked.client, body), 400, 413, 422)

    def test_many_files(self, attacked: Attacked) -> None:
        body = b"".join(_part("photo", b"x", f"{number}.png") for number in range(10_000)) + b"--B--\r\n"
        refused(_post(attacked.client, body), 400, 413, 422)

    @pytest.mark.parametrize(
        "body",
        [
            b"", b"--B\r\n", b"x" * 1000, b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--\r\n",
            b"--B\r\n" + b"A: b\r\n" * 5000 + b"\r\nx\r\n--B--\r\n",
            b'--B\r\nContent-Disposition: form-data; name="\xff\xfe"\r\n\r\nx\r\n--B--\r\n',
            NESTED,
        ],
        ids=short,
    )  # fmt: skip
    def test_no_parts(self, attacked: Attacked, body: bytes) -> None:
        refused(_post(attacked.client, body), 400, 415, 422)

    @pytest.mark.parametrize(
        ("body", "kind"),
        [
            (b"--B--\r\n", "multipart/form-data"), (b"--B--\r\n", "multipart/form-data; boundary="),
            (b"--B--\r\n", "multipart/form-data; boundary=" + "B" * 5000), (b"{}", "application/json"),
            (b"<x/>", "text/xml"), (b"photo=x&concept=disc", "application/x-www-form-urlencoded"),
            (b"a=1&" * 10_000, "application/x-www-form-urlencoded"), (b"x", "\xff/\xfe"),
        ],
        ids=short,
    )  # fmt: skip
    def test_no_form(self, attacked: Attacked, body: bytes, kind: str) -> None:
        refused(_post(attacked.client, body, kind), 400, 415, 422)
        status, answer = attacked.service.say(_request("POST", "/v1/concepts", {"Content-Type": kind}, body))
        assert status in (400, 415, 422), answer

    def test_a_packed_body_is_not_unpacked(self, attacked: Attacked) -> None:
        body = gzip.compress(bytes(50_000_000))
        answer = attacked.client.post("/v1/segment", content=body, headers={"Content-Encoding": "gzip"})
        refused(answer, 400, 411, 415, 422)

    def test_a_field_as_large_as_a_file(self, attacked: Attacked) -> None:
        refused(segment(attacked.client, bad_files.photo(), concept="x" * 5_000_000), 400, 413, 422)

    def test_fields_given_twice(self, attacked: Attacked) -> None:
        body = _part("photo", bad_files.photo(), "a.png") + _part("concept", b"disc")
        body += b"".join(_part("threshold", value) for value in (b"0.5", b"nan")) + b"--B--\r\n"
        answer = _post(attacked.client, body)
        assert answer.status_code == 200 or refused(answer, 400, 422)


class TestLines:
    """HTTP itself."""

    def test_a_header_of_a_megabyte(self, attacked: Attacked) -> None:
        status, _ = attacked.service.say(
            b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n"
        )
        assert status in (CUT, 400, 431)  # cut while much of it is still on its way

    def test_ten_thousand_headers(self, attacked: Attacked) -> None:
        many = b"".join(b"X-%d: y\r\n" % number for number in range(10_000))
        before = attacked.service.resident()
        status, _ = attacked.service.say(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + many + b"\r\n")
        assert status in (200, 400, 431)  # they fit into one piece of what is read, or not
        assert attacked.client.get("/health").status_code == 200  # nobody else is hit, and nothing is kept
        assert attacked.service.resident() - before < 50_000_000

    @pytest.mark.parametrize("length", [b"99999999999999", b"-1", b"1e3", b"0x10", b"", b"9" * 400])
    def test_a_length_that_lies(self, attacked: Attacked, length: bytes) -> None:
        head = b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: " % _authorization()
        status, answer = attacked.service.say(
            head + length + b"\r\nContent-Type: multipart/form-data; boundary=B\r\n\r\n"
        )
        assert status in (400, 411, 413), answer

    def test_more_than_was_said(self, attacked: Attacked) -> None:
        """What follows the body that was said is no request of anybody's."""
        body = b"GET /v1/concepts HTTP/1.1\r\nHost: localhost\r\n\r\n"
        status, answer = attacked.service.say(
            b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: 0\r\n\r\n" % _authorization() + body
        )
        assert 400 <= status < 500
        assert b"disc" not in answer

    @pytest.mark.parametrize(
        "heads",
        [
            b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            b"Transfer-Encoding: xchunked\r\n",
            b"Transfer-Encoding: gzip, chunked\r\n",
            b"Transfer-Encoding : chunked\r\n",
            b"Content-Length: 4\r\nContent-Length: 40\r\n",
            b"X: y\r\n Content-Length: 4\r\n",
            b"X: y\0\r\n",
        ],
    )
    def test_two_readings_of_where_it_ends(self, attacked: Attacked, heads: bytes) -> None:
        """A second request that hides in the body of a first is never answered."""
        hidden = b"0\r\n\r\nGET /v1/concepts HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % _authorization()
        start = b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\n" + _authorization()
        status, answer = attacked.service.say(start + heads + b"\r\n" + hidden)
        assert 400 <= status < 500, answer
        assert b'"disc"' not in answer

    @pytest.mark.parametrize(
        "line", [b"GET\r\n\r\n", b"\x16\x03\x01\x02\0\x01", b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n",
                 b"G\xffT / HTTP/1.1\r\n\r\n", b"GET http://[::1 HTTP/1.1\r\n\r\n"],
        ids=short,
    )  # fmt: skip
    def test_no_request(self, attacked: Attacked, line: bytes) -> None:
        status, _ = attacked.service.say(line, patience=1)
        assert status in (SILENT, 400, 401, 403, 404, 405, 505)

    def test_ways_that_are_no_ways(self, attacked: Attacked) -> None:
        for way in (
            "//evil.example/v1",
            "/v1/../health",
            "/v1/concepts;x",
            "/%",
            "/" + "a" * 20_000,
            "/?" + "a=1&" * 4000,
        ):
            status, _ = attacked.service.say(_request("GET", way))
            assert 400 <= status < 500, way

    def test_other_verbs(self, attacked: Attacked) -> None:
        paths = attacked.client.get("/openapi.json").json()["paths"]
        assert len(paths) > 10
        for path in paths:
            way = path.replace("{", "").replace("}", "")
            for verb in ("HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "X" * 2000):
                if verb.lower() not in paths[path] and (verb, "get") != ("HEAD", "get"):
                    status, answer = attacked.service.say(_request(verb, way), patience=2)
                    assert status in (200, *range(400, 500)) if verb == "HEAD" else 400 <= status < 500, (
                        verb,
                        way,
                        answer,
                    )


class TestTokens:
    """Who may ask."""

    @pytest.mark.parametrize(
        "authorization",
        ["", "Bearer", "Bearer wrong", f"bearer{TOKEN}", f"Basic {TOKEN}", f"Bearer {TOKEN}x",
         f"Bearer {TOKEN[:-1]}", "Bearer " + "a" * 10_000, "Bearer ÿ", "Basic !!!", "Basic Og==", "Digest x",
         f"Bearer {TOKEN},{TOKEN}"],
        ids=short,
    )  # fmt: skip
    def test_a_wrong_token(self, attacked: Attacked, authorization: str) -> None:
        with attacked.service.client(token=None) as client:
            headers = {"Authorization": authorization.encode("latin-1")} if authorization else {}
            for way in ("/v1/concepts", "/metrics", "/openapi.json", "/label-studio/health"):
                refused(client.get(way, headers=headers), 401)

    def test_a_token_in_the_way(self, attacked: Attacked) -> None:
        with attacked.service.client(token=None) as client:
            for name in ("token", "access_token", "authorization"):
                refused(client.get("/v1/concepts", params={name: TOKEN}), 401)
            refused(client.get("/v1/concepts", cookies={"token": TOKEN}), 401)

    def test_nothing_is_read_before_the_token(self, attacked: Attacked) -> None:
        """Without one a large body is refused at once."""
        with attacked.service.client(token=None) as client:
            refused(segment(client, bytes(20_000_000)), 401)
        head = b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000000\r\n\r\n"
        status, _ = attacked.service.say(head)  # and nothing of the body
        assert status == 401

    @pytest.mark.parametrize(
        "host",
        ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "a" * 5000, "localhost@evil"],
        ids=short,
    )
    def test_another_host(self, attacked: Attacked, host: str) -> None:
        """A page under a name that was made to point to this machine (DNS rebinding) has no token."""
        with attacked.service.client(token=None) as client:
            refused(client.get("/v1/concepts", headers={"Host": host}), 400, 401, 403, 421)

    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
    def test_another_page(self, attacked: Attacked, origin: str) -> None:
        """A page of another site may not ask here, though it runs in a browser of this machine."""
        answer = attacked.client.delete("/v1/concepts/disc", headers={"Origin": origin})
        refused(answer, 400, 403)
        assert "Access-Control-Allow-Origin" not in answer.headers


class TestJobs:
    """Archives and clips."""

    @pytest.mark.parametrize(
        "make",
        [
            bad_files.zip_bomb, bad_files.lying_zip, bad_files.linked_zip,
            lambda: bad_files.zip_of(("../../x.jpg", bad_files.photo("JPEG"))),
            lambda: bad_files.zip_of(("/etc/x.jpg", bad_files.photo("JPEG"))),
            lambda: bad_files.zip_of(("a.jpg/", b"")),
            lambda: bad_files.zip_of(("inner.zip", bad_files.zip_bomb(3_000_000))),
            lambda: bad_files.zip_of(*((f"{n}.jpg", b"") for n in range(30_000))),
            lambda: bad_files.zip_of(("a.jpg", bad_files.photo("JPEG")))[:-30],
            lambda: b"PK\x05\x06" + bytes(18),
            lambda: b"text",
            lambda: b"",
        ],
        ids=short,
    )  # fmt: skip
    def test_an_archive(self, attacked: Attacked, make: Callable[[], bytes]) -> None:
        """It is refused, or the job fails or leaves out what is no photo, in a sentence; nothing lies elsewhere."""
        answer = album(attacked.client, make())
        if answer.status_code == 202:
            self._ends_harmlessly(attacked, answer.json()["id"])
        else:
            refused(answer, 400, 413, 415, 422)

    @pytest.mark.parametrize("kind", ["a playlist", "a list to join", "zeros", "HTML", "SVG that reads files"])
    def test_a_clip(self, attacked: Attacked, kind: str) -> None:
        answer = album(attacked.client, bad_files.chimeras()[kind], "clip.mp4", kind="video")
        if answer.status_code == 202:
            self._ends_harmlessly(attacked, answer.json()["id"])
        else:
            refused(answer, 400, 413, 415, 422)

    def _ends_harmlessly(self, attacked: Attacked, job: str) -> None:
        end = time.monotonic() + 20
        while (told := attacked.client.get(f"/v1/jobs/{job}").json())["state"] in ("queued", "running"):
            assert time.monotonic() < end, told
            time.sleep(0.02)
        if told.get("error"):
            sentence_of(json.dumps({"detail": told["error"]}).encode())
        files = attacked.client.get(f"/v1/jobs/{job}/files").text
        assert "root:" not in files
        assert attacked.client.delete(f"/v1/jobs/{job}").status_code in (200, 204)

    @pytest.mark.parametrize(
        "fields", [{"kind": "exe"}, {"kind": ""}, {"concept": "nobody"}, {"threshold": "nan"}, {"unknown": "x" * 9000}]
    )
    def test_a_field(self, attacked: Attacked, fields: dict[str, str]) -> None:
        answer = album(attacked.client, bad_files.zip_of(("a.jpg", bad_files.photo("JPEG"))), **fields)
        refused(answer, 400, 404, 413, 422)

    @pytest.mark.parametrize(
        "query", ["after=-1", "after=nan", "after=" + "9" * 400, "after=%00", "limit=999999999999"]
    )
    def test_a_page_that_is_none(self, attacked: Attacked, query: str) -> None:
        refused(attacked.client.get(f"/v1/jobs/none/results?{query}"), 400, 404, 422)


class TestJson:
    """Label Studio's and CVAT's routes."""

    @pytest.mark.parametrize("way", ["/label-studio/predict", "/label-studio/setup", "/label-studio/webhook", "/cvat"])
    @pytest.mark.parametrize(
        "body",
        [b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b"9" * 10**6,
         b"NaN", b'{"tasks": 1}', b'{"tasks": [1, null, []]}', b'{"tasks": [{"data": {"image": 3}}]}',
         b'{"image": "!!!"}', b'{"image": 5}', b'{"tasks": {"data": {}}, "label_config": 7, "action": []}',
         b" " * 3_000_000],
        ids=short,
    )  # fmt: skip
    def test_no_request_of_theirs(self, attacked: Attacked, way: str, body: bytes) -> None:
        answer = attacked.client.post(way, content=body, headers={"Content-Type": "application/json"})
        if answer.status_code >= 300:
            refused(answer, 400, 404, 413, 415, 422)
        assert len(answer.content) < 10_000

    @pytest.mark.parametrize(
        "image",
        ["file:///etc/passwd", "/etc/passwd", "../../hidden.txt", "http://127.0.0.1:1/x.jpg",
         "http://169.254.169.254/latest", "data:image/png;base64,!!!",
         "data:image/png;base64," + "A" * 2_000_000, "gopher://x/", "http://[::1", "", "\0"],
        ids=short,
    )  # fmt: skip
    def test_a_picture_elsewhere(self, attacked: Attacked, image: str) -> None:
        """Nothing of this machine or of its network is read for somebody."""
        task = {"id": 1, "data": {"image": image}}
        config = (
            '<View><Image name="image" value="$image"/>'
            '<BrushLabels name="b" toName="image"><Label value="disc"/></BrushLabels></View>'
        )
        body = {"tasks": [task], "label_config": config, "project": "1.2", "params": {}}
        answer = attacked.client.post("/label-studio/predict", json=body)
        assert answer.status_code < 500, answer.text
        assert HIDDEN_TEXT not in answer.text
        assert "root:" not in answer.text
        if answer.status_code >= 400:
            refused(answer)


class TestAfterwards:
    """When all that was sent."""

    def test_it_lives_and_is_as_before(self, attacked: Attacked) -> None:
        assert segment(attacked.client, bad_files.photo("JPEG", 640, 480)).status_code == 200
        service = attacked.service
        uploads = service.folder / "uploads"
        assert not uploads.exists() or list(uploads.iterdir()) == []
        assert service.open_files() <= attacked.files + 10

    def test_nothing_was_written_elsewhere(self, attacked: Attacked) -> None:
        """Neither beside the service's folder nor below it, where archives were unpacked that name other places."""
        home = attacked.service.folder
        assert {each.name for each in home.parent.iterdir()} == {"hidden.txt", "said.txt", "service", "token"}
        assert [each for each in home.rglob("*") if each.name == "x.jpg"] == []
        assert not Path("/etc/x.jpg").exists()

    def test_memory(self, attacked: Attacked) -> None:
        service = attacked.service
        assert service.resident() - attacked.resident < GROWTH
        assert service.peak() - attacked.resident < PEAK

    def test_the_log_is_lines_of_json_without_secrets(self, attacked: Attacked) -> None:
        said = (attacked.service.folder.parent / "said.txt").read_text()
        assert TOKEN not in said
        assert "Traceback" not in said
        for line in said.splitlines():
            if line.startswith("{"):
                json.loads(line)
            assert len(line) < 2000

    def test_metrics_know_no_way_that_was_made_up(self, attacked: Attacked) -> None:
        """Labels that whoever asks can make up would fill the memory."""
        text = attacked.client.get("/metrics").text
        assert "evil" not in text
        assert "aaaaaaaa" not in text
        assert "XXXX" not in text
        assert len(text.splitlines()) < 2000


def _authorization() -> bytes:
    return f"Authorization: Bearer {TOKEN}\r\n".encode()


def _request(verb: str, way: str, headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    lines = [
        f"{verb} {way} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {TOKEN}",
        f"Content-Length: {len(body)}",
    ]
    lines += ["Connection: close", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _part(name: str, data: bytes, file: str | None = None) -> bytes:
    named = f'; filename="{file}"' if file is not None else ""
    return f'--B\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + data + b"\r\n"


def _post(client: httpx.Client, body: bytes, kind: str = "multipart/form-data; boundary=B") -> httpx.Response:
    return client.post("/v1/segment", content=body, headers={"Content-Type": kind.encode("latin-1")})
