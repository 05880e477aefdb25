"""The studio's search: parity with the model asked anew, what is kept and shown of it, and what can be taken away."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
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
from persam.server.store import ConceptStore
from persam.studio import downloads
from persam.studio.find_actions import FindActions
from persam.studio.find_cards import gallery_of, key_from, key_of, summary
from persam.studio.find_session import FindSessions
from persam.studio.find_show import FindParts
from persam.studio.given import given_files
from persam.studio.results import ORDERS, PAGE, Choice, PhotoSearch, SearchedPhoto, SearchResult
from persam.studio.search_pictures import KINDS, SIZES, address_of, picture_of, picture_routes
from persam.studio.searching import SoFar, changes_in, explain_result, learn_correction, look
from persam.studio.workshop import Workshop


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos with the disc, one without, and one that is none."""
    folder = tmp_path_factory.mktemp("photos")
    for number, centre in enumerate([(60, 70), (100, 50), (40, 80)]):
        Image.fromarray(draw_scene(center=centre, seed=number)[0]).save(folder / f"disc {number}.png")
    Image.fromarray(draw_scene(radius=0, seed=9)[0]).save(folder / "empty.png")
    (folder / "text.jpg").write_text("no photo")
    return folder


@pytest.fixture(scope="module")
def model() -> PerSAM:
    return PerSAM(ColourModel())


@pytest.fixture(scope="module")
def concept(model: PerSAM) -> Concept:
    return model.learn(*draw_scene(), name="disc")


@pytest.fixture(scope="module")
def engine(model: PerSAM) -> Iterator[Engine]:
    with Engine(model) as engine:
        yield engine


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
    assert [len(one.at(threshold).instances) for threshold in (0.3, 0.5, 0.95)] == [2, 1, 0]


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
            assert Image.open(picture_of(done, one, kind, size)).size == (160, 120) or kind == "cutout"
    overlay, address = picture_of(done, one, "overlay", "card"), address_of(done, one, "overlay", "card")
    stamp = overlay.stat().st_mtime_ns
    assert picture_of(done, one, "overlay", "card").stat().st_mtime_ns == stamp
    done.choice = replace(done.choice, threshold=1.0)
    assert picture_of(done, one, "overlay", "card") != overlay
    assert address_of(done, one, "overlay", "card") != address
    cut = np.asarray(Image.open(picture_of(done, replace(one, corrected=True), "cutout", "card")))
    assert set(np.unique(cut[..., 3])) <= {0, 255}


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
    for files, folder, is_local, told in [
        (None, "", True, "drop photos or a clip first"),
        (["x.jpg"], str(album), True, "take one of them away"),
        (["x.jpg", "y.mov"], "", True, "photos alone, or one clip"),
        (None, str(album), False, "drop the photos instead"),
        (None, str(tmp_path / "none"), True, "no pictures in the folder"),
        (None, str(tmp_path / "gone"), True, "There is no folder"),
    ]:
        with pytest.raises(PersamError, match=told):
            given_files(files, folder, is_local=is_local)


# -------------------------------------------------------------------------------------------------------- actions


@pytest.fixture
def actions(engine: Engine, concept: Concept, tmp_path: Path) -> Iterator[FindActions]:
    store = ConceptStore(tmp_path / "concepts")
    store.save(concept)
    names = FindParts.__annotations__
    with Workshop(engine, store, folder=tmp_path / "workshop") as workshop:
        sessions = FindSessions(workshop.folder / "searches")
        yield FindActions(workshop, sessions, FindParts(**{name: name for name in names}))


def told_last(updates: list[dict[Any, Any]]) -> str:
    return [each["status"] for each in updates if "status" in each][-1]


def found(actions: FindActions, album: Path) -> str:
    name = actions.sessions.new()
    updates = list(actions.find(name, ["disc"], None, str(album), 1, "overlay"))
    assert "found in 3" in told_last(updates)
    assert updates[1]["run"]["interactive"] is False
    assert updates[-1]["run"]["interactive"] is True
    return name


def test_two_tabs_do_not_mix(actions: FindActions, album: Path, tmp_path: Path) -> None:
    one, other = found(actions, album), actions.sessions.new()
    assert not actions.sessions.get(other).search.results
    list(actions.find(other, ["disc"], [str(album / "empty.png")], "", 1, "overlay"))
    assert len(actions.sessions.get(one).search.results) == 5
    assert len(actions.sessions.get(other).search.results) == 1
    folder = actions.sessions.folder
    actions.sessions.close(one)
    assert not (folder / one).exists()
    assert (folder / other).exists()
    assert "reload the page" in told_last(list(actions.turn_page(1, one, "overlay")))


def test_mistakes_are_told_in_a_sentence(actions: FindActions, album: Path) -> None:
    name = actions.sessions.new()
    assert "No concept is chosen" in told_last(list(actions.find(name, [], None, str(album), 1, "map")))
    assert "drop photos" in told_last(list(actions.find(name, ["disc"], None, "", 1, "map")))
    assert "no concept &quot;cup&quot;" in told_last(list(actions.find(name, ["cup"], None, str(album), 1, "map")))
    assert "No result is chosen" in told_last(list(actions.say_absent(name, "map")))
    assert "nothing left to correct" in told_last(list(actions.choose_worth(name, "map")))
    assert "No mask is being corrected" in told_last(list(actions.learn(name, "new", "map")))
    assert not actions.sessions.get(name).running.locked()


def test_a_correction_is_learned_saved_and_what_was_unsure_is_done_again(actions: FindActions, album: Path) -> None:
    name = found(actions, album)
    session = actions.sessions.get(name)
    doubtful = session.search.results[1]
    session.search.put([replace(doubtful, found=dict(doubtful.found) | {"score": 0.5})])
    list(actions.choose(name, "overlay", SimpleNamespace(card="0/disc")))
    list(actions.open_detail("correct", name))
    assert session.correction is not None
    width, height = session.correction.shown.width, session.correction.shown.height
    drawn = {"points": [], "box": None, "number": 1, "photo": session.correction.shown.url}
    drawn["strokes"] = [{"label": 1, "width": 9, "points": [[0, 0], [width - 1, height - 1]]}]
    list(actions.draw(name, drawn))
    mask = session.correction.mask
    assert mask is not None
    assert mask[0, 0]
    updates = list(actions.learn(name, "new", "overlay"))
    assert "disc 2&quot; has 2 references now and is saved beside the old one" in told_last(updates)
    assert "1 unsure photo was looked at again" in updates[-1]["changes"]
    assert actions.workshop.concepts.names() == ["disc", "disc 2"]
    assert len(actions.workshop.concepts.load("disc").references) == 1
    corrected = session.search.get((0, "disc"))
    assert corrected is not None
    assert np.array_equal(corrected.at(0.5).mask, mask)
    again = session.search.get((1, "disc"))
    assert again is not None
    assert again.before == ("unsure", 0.5)


def test_what_is_not_there_is_said_and_nothing_is_learned(actions: FindActions, album: Path) -> None:
    name = found(actions, album)
    list(actions.choose(name, "overlay", SimpleNamespace(card="0/disc")))
    assert "does not learn from that" in told_last(list(actions.say_absent(name, "overlay")))
    one = actions.sessions.get(name).search.get((0, "disc"))
    assert one is not None
    assert (one.state(0.5), one.is_there(0.5)) == ("corrected", False)
    list(actions.choose(name, "overlay", SimpleNamespace(card="4/")))
    assert "could not be read" in told_last(list(actions.say_absent(name, "overlay")))


def test_a_download_is_prepared_and_offered(actions: FindActions, album: Path) -> None:
    name = found(actions, album)
    last = list(actions.prepare(name, "masks"))[-1]
    assert Path(last["download"]["value"]).name == "masks.zip"
    assert last["download"]["label"].startswith("Download masks.zip (")


def test_filters_show_the_first_page_of_what_they_take(actions: FindActions, album: Path) -> None:
    name = found(actions, album)
    _, shown = actions.choose_shown(name, ["absent"], [], 0, "name", 0.5, "map")
    assert [card["name"] for card in shown["gallery"]["cards"]] == ["empty.png"]
    _, shown = actions.choose_shown(name, [], [], 0, "name", 1.0, "map")
    assert {card["state"] for card in shown["gallery"]["cards"]} == {"absent", "failed"}
