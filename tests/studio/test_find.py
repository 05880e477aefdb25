"""The studio's search: parity with the model asked anew, what is kept and shown of it, and what can be taken away."""

from __future__ import annotations

import json
import zipfile
from concurrent.futures import Future
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient
from tests.conftest import draw_scene
from tests.fakes import ColourModel

from persam import Concept, PerSAM, Reference
from persam.errors import PersamError, UsageError
from persam.segmentation import Segmentation
from persam.server.engine import Engine
from persam.studio.find import downloads
from persam.studio.find.cards import facts_of, gallery_of, key_from, key_of, summary
from persam.studio.find.given import given_files
from persam.studio.find.pictures import KINDS, SIZES, address_of, picture_of, picture_routes
from persam.studio.find.results import ORDERS, PAGE, Choice, PhotoSearch, SearchedPhoto, SearchResult
from persam.studio.find.searching import SoFar, changes_in, explain_result, learn_correction, look


@pytest.fixture
def search(tmp_path: Path, album: Path) -> PhotoSearch:
    search = PhotoSearch("abc", tmp_path / "search")
    search.begin([(each, each.name) for each in sorted(album.iterdir())], ["disc"], dropped=True)
    return search


@pytest.fixture
def done(engine: Engine, search: PhotoSearch, concept: Concept) -> PhotoSearch:
    *_, last = look(engine, search, {"disc": concept}, search.photos)
    assert (last.done, last.stopped) == (5, False)
    return search


def made_up(number: int, score: float, area: float = 0.1, concept: str = "disc", **more: Any) -> SearchResult:
    """A result of a photo that nobody looked at."""
    mask = np.zeros((10, 10), bool)
    mask.flat[: round(100 * area)] = True
    one = Segmentation.of(
        concept, None, (_instance(mask, score),), 0.5, np.zeros((0, 2), np.float32), np.zeros(0, np.int64)
    )
    photo = SearchedPhoto(number, Path(f"{number}.jpg"), f"{number}.jpg", f"{number}.jpg")
    return replace(SearchResult.of(photo, one), **more)


def _instance(mask: np.ndarray, score: float) -> Any:
    from persam.instance import Instance

    return Instance(mask, score, 0.5, 0.9)


# ------------------------------------------------------------------------------------------------------ deciding


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_a_threshold_chosen_later_decides_as_the_model_does(
    done: PhotoSearch, model: PerSAM, concept: Concept, threshold: float
) -> None:
    for one in done.results[:4]:
        asked, kept = model.segment(one.photo.path, concept, threshold=threshold), one.at(threshold)
        assert kept.to_dict() == asked.to_dict() | {"image": one.photo.name}
        assert one.is_there(threshold) == asked.present
        assert one.state(threshold) == asked.verdict


def test_what_a_person_said_counts_whatever_the_threshold(done: PhotoSearch) -> None:
    mask = np.eye(120, 160, dtype=bool)
    done.put([SearchResult.said(done.photos[0], "disc", mask), SearchResult.said(done.photos[3], "disc", ~mask & mask)])
    there, absent = done.get((0, "disc")), done.get((3, "disc"))
    assert there is not None
    assert absent is not None
    for threshold in (0.0, 1.0):
        assert (there.state(threshold), there.is_there(threshold)) == ("corrected", True)
        assert (absent.state(threshold), absent.is_there(threshold)) == ("corrected", False)
        assert np.array_equal(there.at(threshold).mask, mask)
    assert there.version == absent.version == 1


def test_of_several_instances_those_stay_that_reach_the_threshold() -> None:
    one = made_up(0, 0.9)
    values = dict(one.found)
    weaker = dict(values["instances"][0]) | {"score": 0.4}
    one = replace(one, found=values | {"instances": [values["instances"][0], weaker]})
    for threshold, count in ((0.3, 2), (0.5, 1), (0.95, 0)):
        assert len(one.at(threshold).instances) == one.count(threshold) == count
        assert np.array_equal(one.with_first(count).mask, one.at(threshold).mask)
        assert len(one.with_first(count).instances) == count


# -------------------------------------------------------------------------------------------- filters and orders


@pytest.fixture
def many(tmp_path: Path) -> PhotoSearch:
    search = PhotoSearch("many", tmp_path)
    search.concepts = ["disc", "cup"]
    search.put([made_up(number, number / 59, area=(number * 7 % 60) / 60) for number in range(60)])
    search.put([made_up(number, 0.8, concept="cup") for number in range(3)])
    search.put([SearchResult(SearchedPhoto(60, Path("x"), "x.jpg", "x.jpg"), problem="It is no photo.")])
    return search


def test_states_are_counted_and_filtered(many: PhotoSearch) -> None:
    counts = many.counts()
    assert sum(counts.values()) == 64
    for state, count in counts.items():
        many.choice = Choice(states=frozenset([state]))
        assert len(many.chosen()) == count
    many.choice = Choice(concepts=frozenset(["cup"]), least_score=0.5)
    assert [(one.concept, one.problem) for one in many.chosen()] == [("cup", "")] * 3 + [("", "It is no photo.")]


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_keeps_all_results(many: PhotoSearch, order: str) -> None:
    many.choice = Choice(order=order)
    assert {one.key for one in many.chosen()} == {one.key for one in many.results}


def test_orders(many: PhotoSearch) -> None:
    def ordered(order: str) -> list[SearchResult]:
        many.choice = Choice(order=order, concepts=frozenset(["disc"]))
        return [one for one in many.chosen() if not one.problem]

    scores = [one.score for one in ordered("score")]
    assert scores == sorted(scores, reverse=True)
    doubts = [abs(one.score - 0.5) for one in ordered("unsure")]
    assert doubts == sorted(doubts)
    areas = [one.area for one in ordered("size")]
    assert areas == sorted(areas, reverse=True)
    worst = ordered("worth")[0]
    assert worst.score == 29 / 59 or worst.state(0.5) == "unsure"  # the most odds that a correction is worth it


def test_pages_hold_all_results_once_and_are_put_right(many: PhotoSearch) -> None:
    _, pages = many.page()
    assert pages == -(-64 // PAGE)
    seen = []
    for page in range(pages):
        many.choice = replace(many.choice, page=page)
        seen += many.page()[0]
    assert [one.key for one in seen] == [one.key for one in many.results]
    many.choice = Choice(states=frozenset(["failed"]), page=2)
    assert len(many.page()[0]) == 1
    assert many.choice.page == 0


def test_a_page_of_cards_is_small_however_many_results_there_are(tmp_path: Path) -> None:
    search = PhotoSearch("many", tmp_path)
    search.concepts = ["disc"]
    search.put([made_up(number, 0.7) for number in range(500)])
    gallery = gallery_of(search, "overlay")
    assert len(gallery["cards"]) == PAGE
    assert len(json.dumps(gallery)) < 10_000
    assert gallery["page"] == f"1 to {PAGE} of 500"


def test_photos_of_one_name_are_told_apart(tmp_path: Path) -> None:
    search = PhotoSearch("abc", tmp_path / "search")
    names = ["a.jpg", "A.JPG", "../a.jpg", "b:c.jpg", "\n.png"]
    search.begin([(tmp_path / str(number), name) for number, name in enumerate(names)], ["disc"], dropped=True)
    found = [photo.name for photo in search.photos]
    assert len({name.casefold() for name in found}) == len(names)
    assert found[:3] == ["a.jpg", "A_2.JPG", "a_3.jpg"]
    assert not any(set(name) & set("/:\n") for name in found)


def test_keys_come_back() -> None:
    assert key_from(key_of(made_up(7, 0.5, concept="my / mug"))) == (7, "my / mug")
    assert key_from("nonsense") is None


def test_what_is_unsure_is_told_with_what_it_rather_is(search: PhotoSearch) -> None:
    search.put(made_up(number, score) for number, score in enumerate([0.9, 0.7, 0.4, 0.3, 0.1]))
    assert summary(search) == "5 photos: found in 1, unsure in 3 (rather there in 1), not there in 1."
    assert "unsure, rather not there (a score from 25% to 75%" in facts_of(search, search.get((2, "disc")))
    search.choice = Choice(threshold=0.35)
    assert summary(search) == "5 photos: found in 1, unsure in 3 (rather there in 2), not there in 1."
    assert "unsure, rather there (" in facts_of(search, search.get((2, "disc")))
    search.choice = Choice(threshold=0.95)
    assert summary(search) == "5 photos: found in none, unsure in 3 (rather there in none), not there in 2."


# ------------------------------------------------------------------------------------------------------ searching


def test_a_photo_that_cannot_be_read_is_a_result_with_a_sentence(done: PhotoSearch, album: Path) -> None:
    assert done.counts() == {"present": 3, "unsure": 0, "absent": 1, "corrected": 0, "failed": 1}
    failed = done.results[-1]
    assert failed.problem.startswith("The photo text.jpg is not a picture")
    assert str(album) not in failed.problem
    assert summary(done) == "5 photos: found in 3, not there in 1, 1 could not be read."


def test_a_search_stops_at_the_next_photo(engine: Engine, search: PhotoSearch, concept: Concept) -> None:
    seen = []
    for so_far in look(engine, search, {"disc": concept}, search.photos):
        seen.append(so_far)
        search.stop.set()
    assert seen[-1].stopped
    assert len(search.results) == seen[-1].done < 5
    assert str(seen[-1]) == f"Stopped after {seen[-1].done} of 5 photos."


def test_a_busy_engine_is_waited_for(model: PerSAM, search: PhotoSearch, concept: Concept) -> None:
    with Engine(model, waiting=1, batch=1) as engine:
        held: Future[Any] = engine.call(lambda _: search.stop.wait(0.3))
        *_, last = look(engine, search, {"disc": concept}, search.photos)
        held.result()
    assert last.done == 5


def test_a_concept_of_another_model_is_refused_before_any_photo(engine: Engine, search: PhotoSearch) -> None:
    foreign = replace(PerSAM(ColourModel()).learn(*draw_scene(), name="disc"), model="another", model_name="another")
    with pytest.raises(PersamError, match="was made with the model another"):
        next(look(engine, search, {"disc": foreign}, search.photos))
    assert not search.results


def test_progress_in_words() -> None:
    assert str(SoFar(12, 40, 0.2)) == "12 of 40, 0.2 s each, 6 s left"
    assert str(SoFar(40, 40, 0.2)) == "40 of 40"
    assert str(SoFar(1, 400, 2.0)) == "1 of 400, 2.0 s each, 13 min left"


def test_a_correction_is_another_shot_as_if_it_was_learned_at_once(
    engine: Engine, model: PerSAM, concept: Concept, album: Path
) -> None:
    photo, mask = album / "disc 1.png", draw_scene(center=(100, 50), seed=1)[1]
    better = learn_correction(engine, concept, photo, mask)
    again = model.learn([Reference.read(*draw_scene()), Reference.read(photo, mask)], name="disc")
    assert better.content_hash == again.content_hash
    with pytest.raises(PersamError, match="keep"):
        learn_correction(engine, replace(model.tune(concept), material=()), photo, mask)


def test_what_another_look_changed_is_told(many: PhotoSearch) -> None:
    unsure = many.unsure("disc")
    many.put([replace(made_up(unsure[0].photo.number, 0.95)), made_up(unsure[1].photo.number, 0.5)])
    (change,) = changes_in(many, unsure)
    assert (change.photo, change.before[0], change.after) == (unsure[0].photo.name, "unsure", ("present", 0.95))


def test_what_a_person_said_meanwhile_stays(engine: Engine, done: PhotoSearch, concept: Concept, model: PerSAM) -> None:
    old = done.results[:2]
    looking = look(engine, done, {"disc": concept}, [each.photo for each in old])
    next(looking)
    said = np.eye(120, 160, dtype=bool)
    done.put([SearchResult.said(old[1].photo, "disc", said)])
    list(looking)
    one = done.get((1, "disc"))
    assert one is not None
    assert one.corrected
    assert np.array_equal(one.at(0.5).mask, said)
    assert changes_in(done, old) == []
    done.put([SearchResult.said(old[1].photo, "disc", ~said)])  # but a person may change one's mind
    again = done.get((1, "disc"))
    assert again is not None
    assert not again.at(0.5).mask[0, 0]


def test_every_step_of_an_explanation_has_its_sentence_and_picture(
    engine: Engine, model: PerSAM, done: PhotoSearch
) -> None:
    concept = model.learn(*draw_scene(), name="disc", keep_references=True)
    steps = explain_result(engine, done, done.results[0], concept)
    assert [each.title for each in steps][:2] == ["Reference", "Confidence map and points"]
    assert all(each.sentence and each.note for each in steps)
    assert len(list((done.folder / "shown").iterdir())) == len(steps)


# ------------------------------------------------------------------------------------------------------- pictures


def test_pictures_are_drawn_once_and_anew_when_they_change(done: PhotoSearch) -> None:
    one = done.results[0]
    for kind in KINDS:
        for size in SIZES:
            assert Image.open(picture_of(done, one, kind, size, 1)).size == (160, 120) or kind == "cutout"
    overlay, address = picture_of(done, one, "overlay", "card", 1), address_of(done, one, "overlay", "card")
    stamp = overlay.stat().st_mtime_ns
    assert picture_of(done, one, "overlay", "card", 1).stat().st_mtime_ns == stamp
    done.choice = replace(done.choice, threshold=1.0)
    assert picture_of(done, one, "overlay", "card", 0) != overlay
    assert address_of(done, one, "overlay", "card") != address
    cut = np.asarray(Image.open(picture_of(done, replace(one, corrected=True), "cutout", "card", 1)))
    assert set(np.unique(cut[..., 3])) <= {0, 255}


def test_a_picture_shows_as_many_things_as_its_address_says(done: PhotoSearch) -> None:
    one = done.results[0]
    box = np.zeros((120, 160), bool)
    box[5:30, 5:30] = True
    second = dict(done.results[0].found["instances"][0]) | _instance(box, 0.4).to_dict()
    done.put([replace(one, found=dict(one.found) | {"instances": [one.found["instances"][0], second]})])
    one = done.results[0]
    app = FastAPI()
    app.include_router(picture_routes(lambda name: done))
    addresses = []
    for threshold in (0.3, 0.5):
        done.choice = replace(done.choice, threshold=threshold)
        addresses.append(address_of(done, one, "overlay", "card"))
    addresses.append(addresses[0].replace("n=2", "n=99"))
    pictures = [TestClient(app).get(each).content for each in addresses]
    assert pictures[0] != pictures[1]
    assert pictures[0] == pictures[2]


def test_pictures_come_from_their_own_search_alone(done: PhotoSearch) -> None:
    app = FastAPI()
    app.include_router(picture_routes(lambda name: done if name == "abc" else None))
    browser = TestClient(app)
    address = address_of(done, done.results[0], "map", "card")
    answer = browser.get(address)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert "immutable" in answer.headers["cache-control"]
    for wrong in (
        address.replace("abc", "abd"),
        address.replace("/map/", "/secret/"),
        "/search/abc/99/0/overlay/card",
        "/search/abc/4/0/overlay/card",
        "/search/abc/file/..%2F..%2Fx.png",
    ):
        answer = browser.get(wrong)
        assert answer.status_code in (404, 422), wrong
        assert "/tmp" not in answer.text


# ------------------------------------------------------------------------------------------------------ downloads


def fetched(search: PhotoSearch, kind: str, folder: Path) -> Path:
    target = folder / downloads.PARCELS[kind].file
    *_, (count, total) = downloads.prepare(search, kind, target)
    assert count == total
    return target


def test_masks_overlays_and_cutouts(done: PhotoSearch, tmp_path: Path) -> None:
    with zipfile.ZipFile(fetched(done, "masks", tmp_path)) as parcel:
        assert sorted(parcel.namelist()) == [
            f"masks/disc/{name}.png" for name in ("disc 0", "disc 1", "disc 2", "empty")
        ]
        for one in done.results[:4]:
            file = BytesIO(parcel.read(f"masks/disc/{Path(one.photo.name).stem}.png"))
            assert np.array_equal(np.asarray(Image.open(file)) > 0, one.at(0.5).mask)
    with zipfile.ZipFile(fetched(done, "cutouts", tmp_path)) as parcel:
        assert len(parcel.namelist()) == 3
        assert Image.open(BytesIO(parcel.read("cutouts/disc/disc 0.png"))).mode == "RGBA"
    with zipfile.ZipFile(fetched(done, "overlays", tmp_path)) as parcel:
        assert len(parcel.namelist()) == 4


def test_tables_say_what_is_shown(done: PhotoSearch, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    coco = COCO(str(fetched(done, "coco", tmp_path)))
    assert [each["file_name"] for each in coco.dataset["images"]] == [
        f"{n}.png" for n in ("disc 0", "disc 1", "disc 2", "empty")
    ]
    for annotation, one in zip(coco.dataset["annotations"], done.results, strict=False):
        assert np.array_equal(coco.annToMask(annotation) > 0, one.at(0.5).mask)
    assert fetched(done, "csv", tmp_path).read_text().count("\n") == 5
    lines = [json.loads(line) for line in fetched(done, "json", tmp_path).read_text().splitlines()]
    assert np.array_equal(Segmentation.from_dict(lines[0]).mask, done.results[0].at(0.5).mask)
    done.choice = Choice(states=frozenset(["absent"]))
    assert len(fetched(done, "json", tmp_path).read_text().splitlines()) == 1


def test_nothing_to_take_away_is_said(done: PhotoSearch, tmp_path: Path) -> None:
    done.choice = Choice(states=frozenset(["failed"]))
    for kind in downloads.PARCELS:
        with pytest.raises(UsageError, match="nothing to"):
            fetched(done, kind, tmp_path)
    assert not list(tmp_path.glob("*.zip"))


# ------------------------------------------------------------------------------------------------ what was given


def test_what_was_given_is_photos_or_one_clip(album: Path, tmp_path: Path) -> None:
    assert len(given_files(None, str(album), is_local=True).photos) == 5
    assert given_files(["a/x.jpg", "b/y.png"], "", is_local=False).photos[1] == (Path("b/y.png"), "y.png")
    assert given_files(["a/x.mp4"], "", is_local=False).clip == Path("a/x.mp4")
    (tmp_path / "none").mkdir()
    assert given_files(["a/x.M2TS"], "", is_local=False).clip is not None  # whatever this machine knows of kinds
    (tmp_path / "raw").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "raw" / "a.png")
    (tmp_path / "raw" / "b.cr2").write_text("RAW")
    assert "1 RAW photo (b.cr2; export as JPEG" in given_files(None, str(tmp_path / "raw"), is_local=True).doubts[0]
    for files, folder, is_local, told in [
        (None, "", True, "drop photos or a clip first"),
        (["x.jpg"], str(album), True, "take one of them away"),
        (["x.jpg", "y.mov"], "", True, "drop photos, or one clip"),
        (None, str(album), False, "drop the photos instead"),
        (None, str(tmp_path / "none"), True, "no pictures in the folder"),
        (None, str(tmp_path / "gone"), True, "There is no folder"),
    ]:
        with pytest.raises(PersamError, match=told):
            given_files(files, folder, is_local=is_local)
