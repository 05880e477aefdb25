"""One annotator at the desk, without a page: what is asked, kept, saved and timed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fakes import ColourModel
from tests.study.people import write_photos

from persam import PerSAM, PersamError, UsageError
from persam.masks import read_mask
from persam.server.engine import Engine
from persam.server.store import ConceptStore
from persam.studio.study import sitting as sittings
from persam.studio.study.desk_watch import active_seconds
from persam.studio.study.sitting import Sitting, StaleError
from persam.studio.study.texts import ending
from persam.studio.workshop import Workshop
from persam.study import Annotation, MaskTime, new
from persam.study.times import (
    BOTH,
    BY_HAND,
    CORRECTED,
    HAND,
    MIXED,
    NOTHING,
    PROMPTS,
    PROPOSAL,
    WITH_MODEL,
    read_times,
)

CENTERS = [(24 + 6 * number, 32 - 2 * (number % 3)) for number in range(6)]


class Clock:
    """Time that goes on when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Desk:
    """A study of six photos of a disc, and a workshop."""

    def __init__(self, home: Path, clock: Clock) -> None:
        write_photos(home / "photos", 6)
        self.study = new(home / "study", {"disc": home / "photos"}, ["anna", "ben"])
        self.engine = Engine(PerSAM(ColourModel()))
        self.workshop = Workshop(self.engine, ConceptStore(home / "concepts"), study=self.study.folder)
        self.clock = clock

    def sit(self, who: str = "anna", assistance: str = WITH_MODEL) -> Sitting:
        return Sitting(self.workshop, Annotation.of(self.study, "disc", who), assistance)

    def time(self, photo: str, who: str = "anna") -> MaskTime:
        times = read_times(self.study.categories[0].times_file(who), "disc", who).times
        return next(time for time in times if time.photo == photo)

    def mask(self, photo: str, who: str = "anna") -> np.ndarray:
        return read_mask(self.study.folder / "disc" / "annotators" / who / f"{photo}.png")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    clock = Clock()
    monkeypatch.setattr(sittings, "time", clock)
    made = Desk(tmp_path, clock)
    yield made
    made.workshop.close()
    made.engine.close()


def drawn(sitting: Sitting, number: int = 1, **what: Any) -> dict[str, Any]:
    """A canvas's value on the open photo."""
    assert sitting.visit is not None
    return {"points": [], "box": None, "strokes": [], "number": number, "photo": sitting.visit.shown.url} | what


def click(sitting: Sitting, number: int = 1) -> dict[str, Any]:
    """On the middle of the disc."""
    x, y = CENTERS[sitting.place]
    return drawn(sitting, number, points=[[x, y, 1]])


def stroke(sitting: Sitting, label: int = 1, number: int = 1) -> dict[str, Any]:
    x, y = CENTERS[sitting.place]
    return drawn(sitting, number, strokes=[{"label": label, "width": 4, "points": [[x - 5, y], [x + 5, y]]}])


def test_click_save_next(desk: Desk) -> None:
    sitting = desk.sit()
    for place in range(6):
        sitting.open(place)
        _, mask, note = sitting.draw(click(sitting))
        assert mask is not None
        assert note == ""
        desk.clock.now += 10
        assert sitting.save(click(sitting), 7.5)
        name = f"{place:02}"
        assert (desk.mask(name) == mask).all()
        assert mask[CENTERS[place][::-1]]
    assert sitting.work.next_open() is None
    time = desk.time("03")
    assert (time.active_seconds, time.wall_seconds, time.made, time.assistance) == (7.5, 10.0, PROMPTS, WITH_MODEL)
    assert (time.positive_points, time.negative_points, time.boxes, time.strokes, time.place) == (1, 0, 0, 0, 4)
    assert (time.ended_utc - time.started_utc).total_seconds() >= 0


def test_the_last_gesture_counts_though_nobody_answered_it(desk: Desk) -> None:
    sitting = desk.sit()
    sitting.open(0)
    assert sitting.save(click(sitting), 1.0)
    assert desk.mask("00")[CENTERS[0][::-1]]


def test_by_hand_the_model_is_never_asked(desk: Desk) -> None:
    before = desk.engine.model.model.encoded  # type: ignore[attr-defined]
    sitting = desk.sit(assistance=BY_HAND)
    sitting.open(0)
    _, mask, note = sitting.draw(click(sitting))
    assert mask is None
    assert note == "Without the model's help only the brush and the eraser count."
    with pytest.raises(UsageError, match="Nothing is marked in 00.png"):
        sitting.save(click(sitting), 1.0)
    both = stroke(sitting) | {"points": [[3, 3, 1]]}
    sitting.draw(both)
    desk.clock.now += 3
    assert sitting.save(both, None)
    time = desk.time("00")
    assert (time.made, time.assistance, time.positive_points, time.strokes) == (HAND, BY_HAND, 0, 1)
    assert time.active_seconds == 3.0  # a page that says nothing was looked at all the time
    assert desk.engine.model.model.encoded == before  # type: ignore[attr-defined]


def test_clicks_and_strokes_and_what_is_taken_back(desk: Desk) -> None:
    sitting = desk.sit()
    sitting.open(0)
    first = click(sitting)
    sitting.draw(first)
    second = first | {"number": 2, "strokes": stroke(sitting)["strokes"]}
    sitting.draw(second)
    sitting.draw(first | {"number": 3})
    sitting.draw(second | {"number": 4})
    desk.clock.now += 2
    sitting.save(second | {"number": 4}, 60.0)
    time = desk.time("00")
    assert (time.made, time.undos, time.prompts) == (BOTH, 1, 2)
    assert time.active_seconds == 2.0  # no more than it was open


def test_a_photo_that_is_left_keeps_its_drawing_and_its_time(desk: Desk) -> None:
    sitting = desk.sit()
    sitting.open(0)
    left = click(sitting)
    _, mask, _ = sitting.draw(left)
    desk.clock.now += 5
    sitting.leave(left, 4.0)
    desk.clock.now += 100  # with another photo
    sitting.open(1)
    sitting.leave(drawn(sitting, 0), 1.0)
    visit = sitting.open(0)
    assert visit.prompts.points == tuple((x, y, label) for x, y, label in left["points"])
    assert (visit.mask == mask).all()
    assert not sitting.work.mask_file(visit.photo).exists()
    assert sitting.unsaved() == ["00.png"]
    desk.clock.now += 2
    sitting.save(visit.prompts.to_value(), 2.0)
    assert (desk.time("00").active_seconds, desk.time("00").wall_seconds) == (6.0, 7.0)
    assert sitting.unsaved() == []


def test_a_mask_is_made_again(desk: Desk) -> None:
    sitting = desk.sit()
    sitting.open(0)
    desk.clock.now += 5
    sitting.save(click(sitting), 5.0)
    before = desk.mask("00")
    again = desk.sit(assistance=BY_HAND)  # on another day
    visit = again.open(0)
    assert (visit.mask == before).all()
    assert not again.save(drawn(again, 0), 1.0)  # only looked at
    assert desk.time("00").saves == 1
    again.open(0)
    desk.clock.now += 3
    assert again.save(stroke(again, label=0), 3.0)
    assert (desk.mask("00") & ~before).sum() == 0
    assert desk.mask("00").sum() < before.sum()
    time = desk.time("00")
    assert (time.saves, time.active_seconds, time.first_active_seconds) == (2, 8.0, 5.0)


def test_start_over(desk: Desk) -> None:
    sitting = desk.sit()
    sitting.open(0)
    sitting.save(click(sitting), 1.0)
    sitting.open(0)
    visit = sitting.start_over(drawn(sitting, 0))
    assert visit.mask is None
    with pytest.raises(UsageError, match="Nothing is marked"):
        sitting.save(drawn(sitting, 5), 1.0)
    assert sitting.save(stroke(sitting, number=6), 1.0)
    assert 30 < desk.mask("00").sum() < 80  # the stroke alone


def test_proposals_come_from_the_own_mask_of_the_first_photo(desk: Desk) -> None:
    sitting = desk.sit(assistance=PROPOSAL)
    assert not sitting.open(0).proposed
    sitting.save(click(sitting), 1.0)
    visit = sitting.open(1)
    assert visit.proposed
    assert visit.mask is not None
    desk.clock.now += 2
    assert sitting.save(drawn(sitting, 0), 2.0)  # content with it
    assert (desk.mask("01") == visit.mask).all()
    time = desk.time("01")
    assert (time.made, time.assistance, time.prompts) == (CORRECTED, PROPOSAL, 0)
    assert not desk.sit("ben", PROPOSAL).open(1).proposed  # who has no mask of the first photo


def test_what_the_model_proposed_is_not_by_hand_another_day(desk: Desk) -> None:
    sitting = desk.sit(assistance=PROPOSAL)
    sitting.open(0)
    sitting.save(click(sitting), 1.0)
    sitting.open(1)
    desk.clock.now += 60
    sitting.save(drawn(sitting, 0), 60.0)
    another = desk.sit(assistance=BY_HAND)
    another.open(1)
    desk.clock.now += 5
    another.save(stroke(another), 5.0)
    time = desk.time("01")
    assert (time.made, time.assistance, time.active_seconds) == (CORRECTED, MIXED, 65.0)
    another.open(1)
    another.start_over(drawn(another, 0))
    another.save(stroke(another, number=3), 1.0)
    assert (desk.time("01").made, desk.time("01").assistance) == (HAND, MIXED)


def test_a_photo_that_was_encoded_in_vain_is_not_waited_for(desk: Desk) -> None:
    """The next photo is encoded while one looks at this; where another is wanted before that began, it is dropped."""
    go_on = threading.Event()
    sitting = desk.sit()
    sitting.open(0)
    assert sitting._ahead is not None
    sitting._ahead[1].result()
    desk.engine.call(lambda _: go_on.wait(10))
    sitting._look_ahead()
    waits = sitting._ahead[1]
    sitting.stand_up(drawn(sitting, 0), 1.0)
    assert waits.cancelled()
    go_on.set()
    sitting.open(2)
    _, ahead = sitting._ahead or (None, None)
    assert ahead is not None
    with pytest.MonkeyPatch.context() as patch:
        cancelled: list[bool] = []
        patch.setattr(ahead, "cancel", lambda: cancelled.append(True))
        sitting.open(5)  # and not 3
    assert cancelled == [True]


def test_nothing_here(desk: Desk) -> None:
    sitting = desk.sit()
    sitting.open(2)
    sitting.save_nothing(drawn(sitting, 0), 1.0)
    assert desk.time("02").made == NOTHING
    assert not sitting.work.mask_file(sitting.work.photos[2]).exists()


def test_a_key_that_is_pressed_twice_is_meant_once(desk: Desk) -> None:
    sitting = desk.sit()
    sitting.open(0)
    value = click(sitting)
    sitting.save(value, 1.0)
    sitting.open(1)
    for act in (sitting.save, sitting.save_nothing, sitting.leave, sitting.stand_up):
        with pytest.raises(StaleError):
            act(value, 1.0)
    for change in (sitting.draw, sitting.start_over):
        with pytest.raises(StaleError):
            change(value)
    assert not sitting.work.mask_file(sitting.work.photos[1]).exists()


def test_a_photo_that_cannot_be_read_is_skipped(desk: Desk) -> None:
    sitting = desk.sit()
    sitting.work.photos[1].write_bytes(b"no photo")
    sitting.open(0)
    sitting.save(click(sitting), 1.0)
    assert sitting.next_place() == 1
    with pytest.raises(PersamError, match=r"01\.png"):
        sitting.open(1)
    with pytest.raises(StaleError):
        sitting.save({"photo": ""}, 1.0)
    with pytest.raises(StaleError):  # a key that was meant for the one before
        sitting.leave({"photo": "/pictures/00.jpg"}, 1.0)
    sitting.leave({"photo": ""}, 1.0)
    for place in range(2, 6):
        assert sitting.next_place() == place
        sitting.open(place)
        sitting.save(click(sitting), 1.0)
    assert sitting.next_place() is None  # one comes to an end though it is not done
    assert sitting.work.next_open() == 1
    sitting.end()
    assert ending(sitting) == (
        "All of disc (6 photos) is done but for 01.png, which cannot be read; tell the person who runs the study."
    )
    assert sitting.sit_down(sitting.work) == 1  # it may have been mended
    assert ending(sitting) == "All of disc (6 photos) is done."


def test_two_annotators_do_not_mix_up(desk: Desk) -> None:
    anna, ben = desk.sit("anna"), desk.sit("ben", BY_HAND)
    anna.open(0)
    ben.open(0)
    assert ben.visit is not None
    assert ben.visit.mask is None
    with pytest.raises(StaleError):
        ben.draw(click(anna))
    anna.save(click(anna), 1.0)
    ben.save(stroke(ben), 1.0)
    anna.open(1)
    assert ben.open(1).mask is None  # nobody sees what others did
    assert (desk.mask("00", "anna") != desk.mask("00", "ben")).any()
    assert desk.time("00", "anna").assistance == WITH_MODEL
    assert desk.time("00", "ben").assistance == BY_HAND


@pytest.mark.parametrize(
    "value", [None, 3, {}, {"photo": "/other", "active": 2.0}, {"active": float("nan")}, {"active": True}]
)
def test_a_watch_that_says_nothing(desk: Desk, value: Any) -> None:
    visit = desk.sit().open(0)
    if isinstance(value, dict) and "photo" not in value:
        value = value | {"photo": visit.shown.url}
    assert active_seconds(value, visit.shown) is None
    assert active_seconds({"photo": visit.shown.url, "active": 2.5}, visit.shown) == 2.5
