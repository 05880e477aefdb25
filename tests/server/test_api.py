"""Concepts and segment over HTTP, with the bundled model: what comes back is what the model gives."""

from __future__ import annotations

import base64
import io
import os
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from tests.conftest import draw_scene
from tests.fakes import ColourModel
from tests.server.serving import client_of, png, shot

from persam.concept import Concept
from persam.instance import rle_mask
from persam.persam import PerSAM
from persam.segmentation import Segmentation
from persam.server import uploads
from persam.server.answers import result_of
from persam.server.schemas import PhotoAnswer
from persam.server.settings import Limits

PHOTO, MASK = draw_scene()
OTHER, _ = draw_scene(center=(70, 100), seed=5)
NONE = np.full((60, 80, 3), 120, np.uint8)


@pytest.fixture(scope="module")
def model() -> PerSAM:
    return PerSAM.from_pretrained("tiny", device="cpu")


@pytest.fixture(scope="module")
def client(model: PerSAM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    limits = Limits(
        photos_per_request=4,
        references_per_request=3,
        concepts_per_request=2,
        photo_pixels=100_000,
        questions_per_request=6,
    )
    with client_of(tmp_path_factory.mktemp("service"), model, limits=limits) as client:
        answer = client.post("/v1/concepts", data={"name": "disc"}, files=shot(PHOTO, MASK))
        assert answer.status_code == 201, answer.text
        yield client
        assert not list(client.app.state.service.uploads.folder.iterdir())  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def concept(model: PerSAM) -> Concept:
    return model.learn(PHOTO, MASK, name="disc")


def told(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["detail"]
    sentence: str = answer.json()["detail"]
    return sentence


# ---------------------------------------------------------------------------------------------------- learning


def test_what_is_learned_is_what_the_model_learns(client: TestClient, concept: Concept) -> None:
    info = client.get("/v1/concepts/disc").json()
    assert info["model"] == "tiny"
    assert info["references"][0]["size"] == [120, 160]
    assert info["references"][0]["source"] == "mug.png"
    assert (info["tuned"], info["has_thumbnail"], info["keeps_references"], info["fits"]) == (False, True, True, True)
    stored = client.app.state.service.concepts.load("disc")  # type: ignore[attr-defined]
    assert stored.content_hash == concept.content_hash
    assert info in client.get("/v1/concepts").json()


def test_learning_answers_with_the_doctors_findings(client: TestClient) -> None:
    small = np.zeros(MASK.shape, bool)
    small[60:63, 70:73] = True
    answer = client.post("/v1/concepts", data={"name": "speck"}, files=shot(PHOTO, small, "../mug.png"))
    assert answer.status_code == 201
    assert answer.headers["location"] == "/v1/concepts/speck"
    findings = {(each["photo"], each["code"], each["severity"]) for each in answer.json()["findings"]}
    assert ("mug.png", "few-cells", "severe") in findings
    half = client.post("/v1/concepts", data={"name": "half"}, files=shot(PHOTO, MASK[::2, ::2]))
    assert any("scaled" in finding["sentence"] or "size" in finding["sentence"] for finding in half.json()["findings"])


@pytest.mark.parametrize(
    ("form", "files"),
    [
        ({"box": "42,32,99,89"}, []),
        ({"points": "75,60,1;5,5,0"}, []),
        ({"box": "42,32,99,89", "points": "75,60,1"}, []),
        ({}, [("scribble", ("strokes.png", png(np.pad(np.ones((3, 20), bool), ((58, 59), (60, 80))))))]),
    ],
)
def test_the_object_is_shown_in_any_form(client: TestClient, form: dict[str, str], files: list[Any]) -> None:
    files = [("photo", ("mug.png", png(PHOTO))), *files]
    answer = client.post("/v1/concepts", data={"name": "shown", "replace": "true", **form}, files=files)
    assert answer.status_code == 201, answer.text
    assert answer.json()["references"][0]["coverage"] == pytest.approx(MASK.mean(), rel=0.5)


def test_a_cut_out_needs_nothing_else(client: TestClient) -> None:
    cutout = np.dstack([PHOTO, MASK.astype(np.uint8) * 255])
    answer = client.post("/v1/concepts", data={"name": "cut"}, files=[("photo", ("cut.png", png(cutout)))])
    assert answer.status_code == 201
    assert answer.json()["references"][0]["coverage"] == pytest.approx(MASK.mean(), abs=1e-4)


def test_what_is_said_of_commands_is_said_of_the_form(client: TestClient) -> None:
    beside = shot(PHOTO, np.roll(MASK, 60, axis=1))
    answer = client.post("/v1/concepts", data={"name": "not kept", "keep": "false"}, files=beside)
    assert "different" in {finding["code"] for finding in answer.json()["findings"]}
    assert "--" not in answer.text
    client.app.state.service.concepts._loaded.clear()  # type: ignore[attr-defined]  # as after a start
    assert told(client.post("/v1/concepts/not kept/tune"), 400).endswith("learn it again with keep=true.")
    taken = told(client.post("/v1/concepts", data={"name": "not kept"}, files=shot(PHOTO, MASK)), 409)
    assert "replace=true" in taken


def test_shots_are_added_and_tuned_again(client: TestClient) -> None:
    files = shot(PHOTO, MASK, "1.png") + shot(*draw_scene(seed=7), "2.png")
    learned = client.post("/v1/concepts", data={"name": "tuned", "tune": "true"}, files=files).json()
    assert learned["tuned"]
    assert sum(learned["weights"]) == pytest.approx(1)
    more = client.post("/v1/concepts/tuned/references", files=shot(*draw_scene(seed=8), "3.png"))
    assert more.status_code == 200, more.text
    assert [each["source"] for each in more.json()["references"]] == ["1.png", "2.png", "3.png"]
    assert more.json()["tuned"]


def test_a_concept_is_tuned_later_from_what_it_keeps(client: TestClient) -> None:
    client.post("/v1/concepts", data={"name": "later"}, files=shot(PHOTO, MASK))
    assert client.post("/v1/concepts/later/tune").json()["tuned"]
    client.post("/v1/concepts", data={"name": "bare", "keep": "false"}, files=shot(PHOTO, MASK))
    assert "does not keep its photos" in told(client.post("/v1/concepts/bare/tune"), 400)


def test_names(client: TestClient) -> None:
    answer = client.post("/v1/concepts", data={"name": "a/../b: кружка"}, files=shot(PHOTO, MASK))
    name = answer.json()["name"]
    assert name == "a_.._b_ кружка"
    assert client.get(answer.headers["location"]).json()["name"] == name
    assert "already" in told(client.post("/v1/concepts", data={"name": "disc"}, files=shot(PHOTO, MASK)), 409)
    again = client.post("/v1/concepts", data={"name": name, "replace": "true"}, files=shot(PHOTO, MASK))
    assert again.status_code == 201
    assert client.delete(answer.headers["location"]).status_code == 204
    assert "no concept" in told(client.delete(answer.headers["location"]), 404)


def test_who_learns_from_large_photos_stops_nobody(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there are threads for all other work wait until a large photo of somebody is decoded."""
    monkeypatch.setattr(uploads, "_LARGE", MASK.size - 1)
    count = min(32, (os.cpu_count() or 1) + 4) + 1
    with ThreadPoolExecutor(count) as people, ThreadPoolExecutor(1) as apart:
        with uploads._one_large:
            asks = [
                people.submit(client.post, "/v1/concepts", data={"name": f"large {n}"}, files=shot(PHOTO, MASK))
                for n in range(count)
            ]
            waiting = client.app.state.service.uploads._decoders._work_queue  # type: ignore[attr-defined]
            ends = time.monotonic() + 20
            while waiting.qsize() < count - uploads._DECODERS:
                assert time.monotonic() < ends
                time.sleep(0.01)
            small = apart.submit(asked, client, NONE)
            assert small.result(5).status_code == 200
        assert {ask.result(20).status_code for ask in asks} == {201}


def test_of_two_who_learn_one_name_the_second_hears_it_before_the_work(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[str] = []
    learn = PerSAM.learn

    def note(model: PerSAM, *references: Any, **options: Any) -> Concept:
        learned.append(options["name"])
        return learn(model, *references, **options)

    monkeypatch.setattr(PerSAM, "learn", note)
    event = threading.Event()
    service = client.app.state.service  # type: ignore[attr-defined]
    held = service.engine.call(lambda _: event.wait(20))
    with ThreadPoolExecutor(2) as people:
        asks = [
            people.submit(client.post, "/v1/concepts", data={"name": "one name"}, files=shot(PHOTO, MASK))
            for _ in range(2)
        ]
        while not service.engine.depth or service.requests < 2:
            time.sleep(0.01)
        time.sleep(0.1)  # the second waits for the first
        event.set()
        assert sorted(ask.result(20).status_code for ask in asks) == [201, 409]
    assert held.result(20)
    assert learned.count("one name") == 1  # the doctor learns, too


@pytest.mark.parametrize(
    ("form", "files", "status", "words"),
    [
        ({"name": "x"}, [], 422, "photo is missing"),
        ({}, shot(PHOTO, MASK), 422, "name is missing"),
        ({"name": ""}, shot(PHOTO, MASK), 422, "The field name"),
        ({"name": "x", "nme": "y"}, shot(PHOTO, MASK), 422, "There is no field 'nme'"),
        ({"name": "x", "tune": "perhaps"}, shot(PHOTO, MASK), 422, "The field tune"),
        ({"name": ["x", "y"]}, shot(PHOTO, MASK), 422, "given twice"),
        ({"name": "x", "photo": "here"}, shot(PHOTO, MASK)[1:], 422, "photo is a file"),
        ({"name": "x"}, shot(PHOTO, MASK)[:1], 400, "points, a scribble, or a cut-out."),
        ({"name": "x"}, shot(PHOTO, MASK[:, :100]), 400, "another aspect"),
        ({"name": "x"}, shot(PHOTO, np.zeros_like(MASK)), 400, "has no object"),
        ({"name": "x", "box": "1,2,3"}, shot(PHOTO, MASK)[:1], 422, "takes x0,y0,x1,y1"),
        ({"name": "x", "box": "nan,2,3,4"}, shot(PHOTO, MASK)[:1], 422, "takes x0,y0,x1,y1"),
        ({"name": "x", "box": "1,2,300,400"}, shot(PHOTO, MASK)[:1], 400, "box"),
        ({"name": "x", "points": "1,2"}, shot(PHOTO, MASK)[:1], 422, "points takes"),
        ({"name": "x", "points": "1,2,3"}, shot(PHOTO, MASK)[:1], 422, "points takes"),
        ({"name": "x", "box": "1,2,30,40"}, shot(PHOTO, MASK), 400, "not both"),
        ({"name": "x"}, shot(PHOTO, MASK) + shot(PHOTO, MASK)[:1], 422, "There are 2 photos and 1 of mask"),
        ({"name": "x"}, shot(PHOTO, MASK) * 4, 413, "more than 6 files"),
        ({"name": "x"}, [("photo", ("x.png", png(np.zeros((400, 300, 3), np.uint8))))], 413, "0.1 million"),
        ({"name": "x"}, [("photo", ("x.png", b"GIF89a"))], 400, "truncated or damaged"),
        ({"name": "x"}, [("photo", ("x.png", b"no picture"))], 415, "not a picture"),
        ({"name": "x"}, [("photo", ("x.png", b""))], 415, "empty"),
    ],
)
def test_mistakes_in_learning(
    client: TestClient, form: dict[str, str], files: list[Any], status: int, words: str
) -> None:
    sentence = told(client.post("/v1/concepts", data=form, files=files or {"none": b""}), status if files else 422)
    assert words in sentence or not files
    assert str(client.app.state.service.settings.folder) not in sentence  # type: ignore[attr-defined]


# ---------------------------------------------------------------------------------------------------- files


def test_a_concept_goes_out_and_comes_back_as_a_file(client: TestClient, concept: Concept, tmp_path: Path) -> None:
    answer = client.get("/v1/concepts/disc/file")
    file = tmp_path / "disc.safetensors"
    file.write_bytes(answer.content)
    assert Concept.load(file).content_hash == concept.content_hash
    assert client.put("/v1/concepts/twin/file", content=answer.content).status_code == 201
    assert client.get("/v1/concepts/twin").json()["name"] == "twin"
    assert "already" in told(client.put("/v1/concepts/twin/file", content=answer.content), 409)
    assert client.put("/v1/concepts/twin/file?replace=true", content=answer.content).status_code == 200
    picture = client.get("/v1/concepts/twin/thumbnail")
    assert picture.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(picture.content)).size == (96, 72)


@pytest.mark.parametrize("source", ["/home/ann/photos/mug.png", r"C:\Users\Ann\mug.png", "mug.png"])
def test_where_a_photo_lay_is_not_told(client: TestClient, concept: Concept, tmp_path: Path, source: str) -> None:
    lay = replace(concept, references=(replace(concept.references[0], source=source),))
    data = lay.save(tmp_path / "x.safetensors").read_bytes()
    assert client.put("/v1/concepts/lay/file?replace=true", content=data).json()["references"][0]["source"] == "mug.png"


def test_a_concept_of_another_model_is_refused(client: TestClient, tmp_path: Path) -> None:
    stranger = PerSAM(ColourModel()).learn(PHOTO, MASK, name="stranger")
    data = stranger.save(tmp_path / "x.safetensors").read_bytes()
    assert "made with the model colours" in told(client.put("/v1/concepts/stranger/file", content=data), 409)
    service = client.app.state.service  # type: ignore[attr-defined]
    service.concepts.save(stranger)  # as if the service had another model before
    assert client.get("/v1/concepts/stranger").json()["fits"] is False
    files = [("photo", ("k.png", png(PHOTO)))]
    assert "made with" in told(client.post("/v1/segment", data={"concept": "stranger"}, files=files), 409)
    assert "made with" in told(client.post("/v1/concepts/stranger/references", files=shot(PHOTO, MASK)), 409)
    service.concepts.delete("stranger")


@pytest.mark.parametrize("data", [b"", b"junk", b"\x08\0\0\0\0\0\0\0{}      ", b"\xff" * 16])
def test_what_is_no_concept_is_refused(client: TestClient, data: bytes) -> None:
    sentence = told(client.put("/v1/concepts/junk/file", content=data), 400)
    assert sentence.startswith("junk.safetensors")
    assert "no concept" in told(client.get("/v1/concepts/junk"), 404)


def test_the_list_is_of_what_is_there_now(client: TestClient, concept: Concept) -> None:
    store = client.app.state.service.concepts  # type: ignore[attr-defined]

    def listed() -> dict[str, float]:
        return {each["name"]: each["threshold"] for each in client.get("/v1/concepts").json()}

    before = listed()
    store.path("damaged").write_bytes(b"junk")
    replace(concept, threshold=0.25).save(store.path("by hand"))
    assert listed() == before | {"by hand": 0.25}
    replace(concept, threshold=0.125).save(store.path("by hand"))
    assert listed()["by hand"] == 0.125
    assert 'The concept "damaged"' in told(client.get("/v1/concepts/damaged"), 400)
    for name in ("damaged", "by hand"):
        store.delete(name)
    assert listed() == before


# ---------------------------------------------------------------------------------------------------- segment


def asked(client: TestClient, *photos: np.ndarray, **form: Any) -> Any:
    files = [("photo", (f"{n}.png", png(photo))) for n, photo in enumerate(photos)]
    return client.post("/v1/segment", data={"concept": "disc", **form}, files=files)


def test_what_is_found_is_what_the_model_finds(client: TestClient, model: PerSAM, concept: Concept) -> None:
    results = asked(client, PHOTO, OTHER, NONE, max_instances="2", threshold="0.4").json()["results"]
    assert [result["photo"] for result in results] == ["0.png", "1.png", "2.png"]
    for photo, result in zip((PHOTO, OTHER, NONE), results, strict=True):
        alone = model.segment(photo, concept, max_instances=2, threshold=0.4)
        (found,) = result["found"]
        assert (result["height"], result["width"]) == photo.shape[:2]
        assert (found["concept"], found["present"], found["verdict"]) == ("disc", alone.present, alone.verdict)
        assert found["score"] == pytest.approx(alone.score, abs=1e-5)
        assert found["box"] == (None if alone.box is None else list(alone.box))
        assert len(found["instances"]) == len(alone.instances)
        if alone.found:
            np.testing.assert_array_equal(rle_mask(found["mask"]), alone.mask)
        else:
            assert found["mask"] is None


def test_masks_come_in_every_form(client: TestClient, model: PerSAM, concept: Concept) -> None:
    mask = model.segment(PHOTO, concept).mask

    def found(form: str) -> Any:
        return asked(client, PHOTO, masks=form).json()["results"][0]["found"][0]["mask"]

    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(found("png"))))) > 0, mask)
    assert found("none") is None
    (outer,) = found("polygons")[0]
    xs, ys = np.array(outer).T
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (columns[0], columns[-1], rows[0], rows[-1])


def test_one_mask_comes_as_a_png(client: TestClient, model: PerSAM, concept: Concept) -> None:
    files = [("photo", ("k.png", png(PHOTO)))]
    ask: dict[str, Any] = {"data": {"concept": "disc"}, "headers": {"Accept": "image/png"}}
    answer = client.post("/v1/segment", files=files, **ask)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-persam-present"] == "true"
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(answer.content))) > 0, model.segment(PHOTO, concept).mask
    )
    assert "one photo" in told(client.post("/v1/segment", files=files * 2, **ask), 406)
    assert "not a picture" in told(client.post("/v1/segment", files=[("photo", ("k.png", b"x"))], **ask), 415)


def test_a_bad_photo_is_its_own_error_among_several(client: TestClient) -> None:
    files = [("photo", (f"{n}.png", data)) for n, data in enumerate([png(PHOTO), b"junk", png(PHOTO)[:900], b""])]
    results = client.post("/v1/segment", data={"concept": "disc"}, files=files).json()["results"]
    assert [result["error"] is None for result in results] == [True, False, False, False]
    assert results[0]["found"][0]["present"]
    assert ["1.png" in results[1]["error"], "2.png" in results[2]["error"]] == [True, True]
    for data, status in ((b"junk", 415), (png(PHOTO)[:900], 400)):
        told(client.post("/v1/segment", data={"concept": "disc"}, files=[("photo", ("a.png", data))]), status)


@pytest.mark.parametrize(
    ("form", "status", "words"),
    [
        ({"concept": "cat"}, 404, 'no concept "cat"'),
        ({"concept": ["disc", "disc"]}, 422, "named twice"),
        ({"concept": ["a", "b", "c"]}, 413, "2 concepts"),
        ({"max_instances": "0"}, 422, "max_instances"),
        ({"max_instances": "many"}, 422, "max_instances does not fit: input should be a valid integer."),
        ({"max_instances": "1000000000"}, 422, "max_instances"),
        ({"threshold": "nan"}, 422, "threshold"),
        ({"threshold": "1.5"}, 422, "threshold"),
        ({"masks": "gif"}, 422, "'rle', 'png'"),
    ],
)
def test_mistakes_in_asking(client: TestClient, form: dict[str, Any], status: int, words: str) -> None:
    assert words in told(asked(client, PHOTO, **form), status)


def test_a_request_asks_so_many_questions_and_a_job_the_others(client: TestClient) -> None:
    cut = np.dstack([PHOTO, MASK.astype(np.uint8) * 255])
    client.post("/v1/concepts", data={"name": "again", "replace": "true"}, files=[("photo", ("cut.png", png(cut)))])
    files = [("photo", (f"{number}.png", png(PHOTO))) for number in range(4)]
    both = {"concept": ["disc", "again"]}
    assert client.post("/v1/segment", data=both, files=files[:3]).status_code == 200
    assert client.post("/v1/segment", data={"concept": "disc"}, files=files).status_code == 200
    words = told(client.post("/v1/segment", data=both, files=files), 413)
    assert words.startswith("4 photos times 2 concepts are more than the 6 questions of one request")
    assert "POST /v1/jobs" in words


def test_masks_of_a_photo_fit_into_memory(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persam.server.routes.segment._MASK_BYTES", 4 * PHOTO[..., 0].size)
    assert asked(client, PHOTO, max_instances="3").status_code == 200  # three, and one of all
    assert "1 concepts and 4 instances" in told(asked(client, PHOTO, max_instances="4"), 413)


@pytest.mark.parametrize("batch", [2, 8])
def test_masks_of_many_photos_are_not_kept_for_the_last(
    model: PerSAM, concept: Concept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """Neither of more photos than are encoded at once, nor of more than fit into memory."""
    monkeypatch.setattr("persam.server.routes.segment._MASK_BYTES", 4 * PHOTO[..., 0].size)  # of two photos
    found: list[weakref.ref[Segmentation]] = []
    alive: list[int] = []

    def count(photo: str, those: Sequence[Segmentation], masks: Any) -> PhotoAnswer:
        found.extend(map(weakref.ref, those))
        alive.append(sum(each() is not None for each in found))
        return result_of(photo, those, masks)

    monkeypatch.setattr("persam.server.routes.segment.result_of", count)
    with client_of(tmp_path, model, limits=Limits(batch=batch)) as client:
        client.app.state.service.concepts.save(concept)  # type: ignore[attr-defined]
        files = [("photo", (f"{n}.png", png(draw_scene(seed=n)[0]))) for n in range(12)]
        answer = client.post("/v1/segment", data={"concept": "disc"}, files=files)
    assert [each["photo"] for each in answer.json()["results"]] == [f"{n}.png" for n in range(12)]
    assert len(found) == 12
    assert max(alive) <= 4  # two of the request, and two of a batch that is not over


def test_what_is_no_form_is_refused(client: TestClient) -> None:
    assert "multipart/form-data" in told(client.post("/v1/segment", json={"concept": "disc"}), 415)
    for header, body in (
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=x", b"--y\r\n\r\n"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nhalf a fie'),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n1\r\n--x--\r\n',
        ),
    ):
        told(client.post("/v1/segment", content=body, headers={"content-type": header}), 400)
    many = client.post("/v1/segment", data={f"x{n}": "1" for n in range(300)}, files={"photo": b"x"})
    assert "200 fields" in told(many, 413)
    big = client.post("/v1/segment", data={"concept": "x" * 100_000}, files={"photo": b"x"})
    assert "64000 bytes" in told(big, 413)


# ---------------------------------------------------------------------------------------------------- of itself


def test_tells_what_it_is(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "alive"}
    assert client.get("/ready").json() == {"status": "ready"}
    about = client.get("/v1/model").json()
    assert (about["name"], about["mode"], about["device"]) == ("tiny", "persam", "cpu")
    assert about["limits"]["photos_per_request"] == 4
    assert "nothing at this address" in told(client.get("/v2"), 404)
    assert "other methods" in told(client.patch("/v1/segment"), 405)


def test_metrics_count_what_was_done(client: TestClient) -> None:
    asked(client, PHOTO)
    page = client.get("/metrics").text
    assert 'persam_requests_total{method="POST",path="/v1/segment",status="200"}' in page
    assert "persam_queue_depth 0.0" in page
    assert 'persam_model_asks_total{turn="photos"}' in page
    assert "disc" not in page


def test_documentation_is_whole_and_needs_no_network(client: TestClient) -> None:
    page, openapi = client.get("/docs").text, client.get("/openapi.json").json()
    assert "curl -F photo=@kitchen.jpg -F &#34;concept=my mug&#34; http://127.0.0.1/v1/segment" in page
    assert "default-src 'none'" in client.get("/docs").headers["content-security-policy"]
    assert not any(word in page for word in ("https://", "<script", "cdn", "src="))
    for path, operations in openapi["paths"].items():
        assert path in page
        for operation in operations.values():
            assert operation["description"], path
    form = openapi["paths"]["/v1/segment"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["photo", "concept"]
    assert form["properties"]["photo"]["items"]["type"] == "string"
