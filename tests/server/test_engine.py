"""The engine: everybody gets his own, whatever the order, the threads and the mistakes of others."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_scene
from tests.fakes import ColourModel

from persam.concept import Concept
from persam.errors import PersamError, UsageError
from persam.models.base import EncodedImage
from persam.persam import PerSAM
from persam.segmentation import Segmentation
from persam.server.engine import BusyError, Engine, StoppingError

POISON = 13  # the value of a pixel in the corner that no model takes


class BatchModel(ColourModel):
    """Takes photos in one pass, notes how many, and refuses poisoned ones."""

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[int] = []

    def encode(self, image: np.ndarray) -> EncodedImage:
        if image[0, 0, 0] == POISON:
            raise PersamError("This photo cannot be encoded.")
        return super().encode(image)

    def encode_many(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        encoded = [self.encode(image) for image in images]
        self.passes.append(len(images))
        return encoded


@pytest.fixture
def model() -> PerSAM:
    return PerSAM(BatchModel())


@pytest.fixture
def concept(model: PerSAM) -> Concept:
    return model.learn(*draw_scene(), name="disc")


@pytest.fixture
def photos() -> list[np.ndarray]:
    return [draw_scene(48, 64, center=(20 + n % 5, 20 + 3 * n), radius=10, seed=n)[0] for n in range(8)]


class Held:
    """Keeps an engine's thread busy until it is let go."""

    def __init__(self, engine: Engine) -> None:
        self.event, started = threading.Event(), threading.Event()

        def work(_: PerSAM) -> str:
            started.set()
            assert self.event.wait(20)
            return "held"

        self.future = engine.call(work)
        assert started.wait(20)

    def let_go(self) -> None:
        self.event.set()


class SlowPhoto:
    """Is read when it is let go."""

    name = "slow"

    def __init__(self) -> None:
        self.event, self.started = threading.Event(), threading.Event()

    def read(self, longest: int | None) -> tuple[np.ndarray, tuple[int, int]]:
        self.started.set()
        assert self.event.wait(20)
        return np.zeros((48, 64, 3), np.uint8), (48, 64)


def same(one: Segmentation, other: Segmentation) -> None:
    assert one.to_dict() | {"image": None} == other.to_dict() | {"image": None}


def wait_until(is_so: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.005)


def read_by(engine: Engine, count: int) -> None:
    """Wait until so many photos are read."""
    wait_until(lambda: len(engine._ready) >= count)


# ---------------------------------------------------------------------------------------------------- what one gets


def test_gives_what_the_model_gives(model: PerSAM, concept: Concept, photos: list[np.ndarray], tmp_path: Path) -> None:
    file = tmp_path / "large.jpg"
    Image.fromarray(draw_scene(900, 1200, center=(400, 500), radius=200)[0]).save(file)
    encoded = model.encode(photos[1])
    with Engine(model, batch=3) as engine:
        for photo in (photos[0], file, str(file), encoded, Image.fromarray(photos[2])):
            (found,) = engine.segment(photo, [concept]).result(20)
            alone = model.segment(photo, concept)
            assert found.mask.shape == alone.mask.shape
            assert found.image == alone.image
            overlap = (found.mask & alone.mask).sum() / (found.mask | alone.mask).sum()
            # A file is read no larger than the model can see, so the outline of a large one may be off by a rounding.
            assert overlap == 1.0 if not isinstance(photo, (str, Path)) else overlap > 0.99


def test_order_and_company_change_nothing(model: PerSAM, concept: Concept, photos: list[np.ndarray]) -> None:
    """The same asks in any order, in batches of any size: each gets what it would get alone, with its own options."""
    other = model.learn(*draw_scene(center=(50, 90), radius=20), name="other")
    asks: list[tuple[np.ndarray, list[Concept], dict[str, Any]]] = [
        (photo, [concept, other][: 1 + n % 2], {"threshold": [0.2, 0.99][n % 2], "max_instances": 1 + n % 3})
        for n, photo in enumerate(photos)
    ]
    alone = [model.segment(photo, concepts, **options) for photo, concepts, options in asks]
    chance = random.Random(3)
    for batch in (1, 3, 8):
        with Engine(model, batch=batch) as engine:
            held = Held(engine)  # so that they wait together
            order = chance.sample(range(len(asks)), len(asks))
            futures = {n: engine.segment(asks[n][0], asks[n][1], **asks[n][2]) for n in order}
            held.let_go()
            for n, future in futures.items():
                for one, expected in zip(future.result(20), alone[n], strict=True):
                    same(one, expected)


def test_photos_that_wait_together_are_encoded_in_one_pass(concept: Concept, photos: list[np.ndarray]) -> None:
    network, turns = BatchModel(), []
    with Engine(PerSAM(network), batch=4, on_turn=lambda *turn: turns.append(turn[:2])) as engine:
        held = Held(engine)
        futures = [engine.segment(photo, [concept]) for photo in photos]
        read_by(engine, 4)
        held.let_go()
        wait(futures, 20)
    assert max(network.passes) == 4
    assert turns[0] == ("call", 1)
    assert ("photos", 4) in turns
    assert sum(served for turn, served in turns if turn == "photos") == len(photos)


# ---------------------------------------------------------------------------------------------------- what goes wrong


def test_a_bad_photo_spoils_no_other(model: PerSAM, concept: Concept, photos: list[np.ndarray], tmp_path: Path) -> None:
    poisoned = photos[3].copy()
    poisoned[0, 0] = POISON
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff and nothing more")
    stranger = PerSAM(ColourModel(8)).learn(*draw_scene(), name="stranger")
    object.__setattr__(stranger, "model", "another")
    with Engine(model, batch=8) as engine:
        held = Held(engine)
        good = [engine.segment(photo, [concept]) for photo in photos[:2]]
        bad = [
            engine.segment(poisoned, [concept]),
            engine.segment(broken, [concept]),
            engine.segment(tmp_path / "none.jpg", [concept]),
            engine.segment(photos[4], [stranger]),
            engine.segment(3, [concept]),  # type: ignore[arg-type]
        ]
        good += [engine.segment(photo, [concept]) for photo in photos[4:]]
        held.let_go()
        for photo, future in zip([*photos[:2], *photos[4:]], good, strict=True):
            same(future.result(20)[0], model.segment(photo, concept))
        problems = [str(future.exception(20)) for future in bad]
    assert "cannot be encoded" in problems[0]
    assert "truncated or damaged" in problems[1]
    assert "There is no photo" in problems[2]
    assert "made with the model" in problems[3]
    assert "must be a path" in problems[4]


def test_what_a_call_raises_reaches_only_who_asked(model: PerSAM) -> None:
    with Engine(model) as engine:

        def fails(error: BaseException) -> Future[None]:
            def work(_: PerSAM) -> None:
                raise error

            return engine.call(work)

        errors = [PersamError("No."), MemoryError(), SystemExit(3), KeyboardInterrupt()]
        futures = [fails(error) for error in errors]
        assert [future.exception(20) for future in futures] == errors
        assert engine.call(lambda given: given).result(20) is model


def test_options_out_of_range_are_told_at_once(model: PerSAM, concept: Concept, photos: list[np.ndarray]) -> None:
    with Engine(model) as engine:
        with pytest.raises(UsageError, match="max_instances"):
            engine.segment(photos[0], [concept], max_instances=0)
        with pytest.raises(UsageError, match="threshold"):
            engine.segment(photos[0], [concept], threshold=float("nan"))
        with pytest.raises(UsageError, match="A concept is wanted"):
            engine.segment(photos[0], ["disc"])  # type: ignore[list-item]
        assert engine.depth == 0


def test_who_counts_turns_cannot_stop_the_model(model: PerSAM) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    with Engine(model, on_turn=fails) as engine:
        assert [engine.call(lambda _: 1).result(20) for _ in range(3)] == [1, 1, 1]


def test_what_breaks_between_two_asks_does_not_end_the_model(
    model: PerSAM, concept: Concept, photos: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise MemoryError

    with Engine(model) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(engine, "_encoded", breaks)
            with pytest.raises(MemoryError):
                engine.segment(photos[0], [concept]).result(20)
        assert engine.segment(photos[0], [concept]).result(20)


# ---------------------------------------------------------------------------------------------------- many at once


def test_nobody_is_lost_under_32_threads(model: PerSAM, concept: Concept, photos: list[np.ndarray]) -> None:
    """Every future ends: with its own result, its own error, or cancelled; who is refused comes again."""
    alone = [model.segment(photo, concept).to_dict() for photo in photos]
    ended = {"found": 0, "called": 0, "failed": 0, "cancelled": 0, "refused": 0}
    count = threading.Lock()

    def note(what: str) -> None:
        with count:
            ended[what] += 1

    def ask(engine: Engine, number: int) -> None:
        kind, photo = number % 4, number // 4 % len(photos)
        if kind == 0:
            (found,) = engine.segment(photos[photo], [concept]).result(60)
            assert found.to_dict() == alone[photo]
            note("found")
        elif kind == 1:
            assert engine.call(lambda _: number, patient=number % 8 == 1).result(60) == number
            note("called")
        elif kind == 2:
            assert isinstance(engine.call(lambda _: number / 0).exception(60), ZeroDivisionError)
            note("failed")
        else:
            future = engine.segment(photos[0], [concept])
            assert future.cancel() == future.cancelled()
            assert future.cancelled() or future.result(60)
            note("cancelled")

    def ask_until_taken(engine: Engine, number: int) -> None:
        while True:
            try:
                return ask(engine, number)
            except BusyError as busy:
                note("refused")
                time.sleep(min(busy.retry_after or 0, 0.005))

    with Engine(model, waiting=12, batch=4) as engine, ThreadPoolExecutor(32) as people:
        list(people.map(lambda number: ask_until_taken(engine, number), range(256)))
        wait_until(lambda: engine.depth == 0)  # one that was cancelled may lie there for a moment
    assert {what: number for what, number in ended.items() if what != "refused"} == dict.fromkeys(
        ("found", "called", "failed", "cancelled"), 64
    )
    assert ended["refused"] > 0


def test_who_comes_when_as_many_wait_as_may_is_told_when_to_come_again(
    model: PerSAM, concept: Concept, photos: list[np.ndarray]
) -> None:
    with Engine(model, waiting=4) as engine:
        held = Held(engine)
        futures: list[Future[Any]] = [engine.segment(photo, [concept]) for photo in photos[:3]]
        futures.append(engine.call(lambda _: 1))
        with pytest.raises(BusyError, match="4 are waiting") as told:
            engine.segment(photos[4], [concept])
        assert told.value.retry_after == pytest.approx(4 * engine.seconds_per_ask)
        with pytest.raises(BusyError):
            engine.call(lambda _: 1)
        patient = engine.call(lambda _: "patient", patient=True)
        goes_on = engine.segment(photos[4], [concept], goes_on=True)  # of somebody of whom one was served
        held.let_go()
        wait([*futures, patient, goes_on], 20)
        assert patient.result() == "patient"
        assert goes_on.result()
        assert engine.segment(photos[4], [concept]).result(20)
        assert engine.seconds_per_ask != 0.5  # as measured, no longer as guessed


def test_what_nobody_waits_for_any_more_is_not_done_and_takes_no_place(
    model: PerSAM, concept: Concept, photos: list[np.ndarray]
) -> None:
    network, done = model.model, []
    assert isinstance(network, BatchModel)
    with Engine(model, waiting=4) as engine:
        held = Held(engine)
        given_up: list[Future[Any]] = [engine.segment(photo, [concept]) for photo in photos[:2]]
        given_up += [engine.call(lambda _: done.append(1)) for _ in range(2)]
        before = network.encoded
        assert all(future.cancel() for future in given_up)
        wanted = engine.segment(photos[5], [concept])  # there is room again
        held.let_go()
        assert wanted.result(20)
    assert not done
    assert network.encoded == before + 1


def test_of_what_was_answered_nothing_stays(model: PerSAM, concept: Concept, photos: list[np.ndarray]) -> None:
    """Neither in the threads nor in circles that only the garbage collector finds: photos are large."""

    async def ask(engine: Engine) -> weakref.ref[Segmentation]:
        (found,) = await asyncio.wrap_future(engine.segment(photos[0], [concept]))
        return weakref.ref(found)

    gc.collect()
    gc.disable()
    try:
        with Engine(model) as engine:
            left = asyncio.run(ask(engine))
            ends = time.monotonic() + 10
            while left() is not None and time.monotonic() < ends:
                time.sleep(0.005)
            assert left() is None
    finally:
        gc.enable()


def test_of_what_went_wrong_nothing_stays_either(
    model: PerSAM, concept: Concept, photos: list[np.ndarray], tmp_path: Path
) -> None:
    """An error knows where it came through, and what was known there, which may be the photo."""
    poisoned = photos[0].copy()
    poisoned[0, 0] = POISON
    stranger = PerSAM(ColourModel(8)).learn(*draw_scene(), name="stranger")
    object.__setattr__(stranger, "model", "another")

    def fails(_: PerSAM) -> None:
        raise PersamError("No.")

    gc.collect()
    gc.disable()
    try:
        with Engine(model) as engine:
            for ask in (
                lambda: engine.segment(poisoned, [concept]),
                lambda: engine.segment(tmp_path / "none.jpg", [concept]),
                lambda: engine.segment(photos[1], [stranger]),
                lambda: engine.call(fails),
            ):
                future: Future[Any] = ask()
                problem = future.exception(20)
                assert isinstance(problem, PersamError)
                left = weakref.ref(problem)
                del problem, future
                ends = time.monotonic() + 5
                while left() is not None and time.monotonic() < ends:
                    time.sleep(0.005)
                assert left() is None
    finally:
        gc.enable()


def test_who_does_not_wait_for_the_engine_takes_his_ask_back(model: PerSAM) -> None:
    async def ask(engine: Engine) -> Future[int]:
        held = Held(engine)
        future = engine.call(lambda _: 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(future), 0.05)
        held.let_go()
        assert await asyncio.wrap_future(held.future) == "held"
        with pytest.raises(ZeroDivisionError):
            await asyncio.wrap_future(engine.call(lambda _: 1 // 0))
        return future

    with Engine(model) as engine:
        assert asyncio.run(ask(engine)).cancelled()


# ---------------------------------------------------------------------------------------------------- patience


@pytest.mark.parametrize("others", ["calls", "photos"])
def test_a_patient_call_waits_but_does_not_starve(
    model: PerSAM, concept: Concept, photos: list[np.ndarray], others: str
) -> None:
    order: list[str] = []
    with Engine(model, batch=1, on_turn=lambda turn, *_: order.append(turn)) as engine:
        held = Held(engine)
        for number in range(9):
            if others == "calls":
                engine.call(lambda _: None)
            else:
                engine.segment(photos[number % 8], [concept])
        if others == "photos":
            read_by(engine, 2)
        pieces = [engine.call(lambda _: None, patient=True) for _ in range(3)]
        held.let_go()
        wait(pieces, 20)
    asked = [turn for turn in order[1:] if turn != "patient"]
    assert len(asked) == 9
    places = [place for place, turn in enumerate(order[1:]) if turn == "patient"]
    assert len(places) == 3
    if others == "calls":
        assert places == [3, 7, 11]  # every fourth turn, while others wait
    else:  # photos are read while the first are served, so that for a moment none may be there
        assert places[0] <= 3


def test_a_patient_call_waits_for_one_batch_only(model: PerSAM, concept: Concept, photos: list[np.ndarray]) -> None:
    """A full batch takes seconds: an album that waits for three of them between two pieces does not get on."""
    order: list[str] = []
    with Engine(model, batch=4, on_turn=lambda turn, *_: order.append(turn)) as engine:
        held = Held(engine)
        found = [engine.segment(photo, [concept]) for photo in photos]
        read_by(engine, 4)
        pieces = [engine.call(lambda _: None, patient=True) for _ in range(2)]
        held.let_go()
        wait([*found, *pieces], 20)
    assert order[1:4] == ["photos", "patient", "photos"]


def test_patient_calls_starve_nobody(model: PerSAM) -> None:
    order: list[str] = []
    with Engine(model) as engine:
        held = Held(engine)
        pieces = [engine.call(lambda _: order.append("patient"), patient=True) for _ in range(20)]
        asked = engine.call(lambda _: order.append("asked"))
        held.let_go()
        asked.result(20)
        wait(pieces, 20)
    assert len(order) == 21
    assert order.index("asked") <= 1  # one patient call at most came first


def test_calls_and_photos_are_served_as_they_came(model: PerSAM, concept: Concept, photos: list[np.ndarray]) -> None:
    order: list[str] = []
    with Engine(model, batch=1, on_turn=lambda turn, *_: order.append(turn)) as engine:
        held = Held(engine)
        futures: list[Future[Any]] = []
        for photo in photos[:2]:
            futures += [engine.segment(photo, [concept]), engine.call(lambda _: None)]
        read_by(engine, 2)
        held.let_go()
        wait(futures, 20)
    assert order == ["call", "photos", "call", "photos", "call"]


# ---------------------------------------------------------------------------------------------------- the end


def test_close_finishes_what_was_taken(model: PerSAM, concept: Concept, photos: list[np.ndarray]) -> None:
    engine = Engine(model, batch=2)
    held = Held(engine)
    futures: list[Future[Any]] = [engine.segment(photo, [concept]) for photo in photos]
    futures += [engine.call(lambda _: 1), engine.call(lambda _: 2, patient=True)]
    closing = threading.Thread(target=engine.close)
    closing.start()
    wait_until(lambda: engine._closing)
    with pytest.raises(StoppingError):
        engine.segment(photos[0], [concept])
    with pytest.raises(StoppingError):
        engine.call(lambda _: 1, patient=True)
    held.let_go()
    closing.join(20)
    assert not closing.is_alive()
    assert all(future.done() and future.exception() is None for future in futures)
    engine.close()  # twice is once


def test_close_ends_when_the_last_that_waits_is_patient(model: PerSAM) -> None:
    engine = Engine(model)
    held = Held(engine)
    patient = engine.call(lambda _: 2, patient=True)
    closing = threading.Thread(target=engine.close, daemon=True)
    closing.start()
    held.let_go()
    assert patient.result(20) == 2
    closing.join(5)
    assert not closing.is_alive()


@pytest.mark.parametrize("how", [{"finish": False}, {"timeout": 0.05}])
def test_close_drops_what_waits_when_it_may_not_take_long(
    model: PerSAM, concept: Concept, photos: list[np.ndarray], how: dict[str, Any]
) -> None:
    engine = Engine(model)
    held = Held(engine)
    futures: list[Future[Any]] = [engine.segment(photo, [concept]) for photo in photos]
    futures += [engine.call(lambda _: 1), engine.call(lambda _: 2, patient=True)]
    closing = threading.Thread(target=engine.close, kwargs=how, daemon=True)
    closing.start()
    for future in futures:
        assert isinstance(future.exception(20), StoppingError)
    held.let_go()
    assert held.future.result(20) == "held"  # what was being done is done
    closing.join(20)
    assert not closing.is_alive()


@pytest.mark.parametrize("ends", ["close", "give_up"])
def test_a_photo_that_is_being_read_comes_too_late(model: PerSAM, concept: Concept, ends: str) -> None:
    photo = SlowPhoto()
    engine = Engine(model)
    future = engine.segment(photo, [concept])
    assert photo.started.wait(20)
    end = {"close": lambda: engine.close(finish=False), "give_up": engine.give_up}[ends]
    closing = threading.Thread(target=end, daemon=True)
    closing.start()
    wait_until(lambda: engine._is_given_up)
    photo.event.set()
    assert isinstance(future.exception(20), StoppingError)
    closing.join(20)
    assert not closing.is_alive()
    engine.close()


def test_who_is_given_up_leaves_the_engine_to_patient_calls(
    model: PerSAM, concept: Concept, photos: list[np.ndarray]
) -> None:
    with Engine(model) as engine:
        held = Held(engine)
        given_up: list[Future[Any]] = [engine.segment(photos[0], [concept]), engine.call(lambda _: 1)]
        patient = engine.call(lambda _: 2, patient=True)
        engine.give_up()
        assert all(isinstance(future.exception(20), StoppingError) for future in given_up)
        for goes_on in (False, True):
            with pytest.raises(StoppingError):
                engine.segment(photos[0], [concept], goes_on=goes_on)
        later = engine.call(lambda _: 3, patient=True)
        held.let_go()
        assert [patient.result(20), later.result(20)] == [2, 3]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"{n}.jpg" for n in range(16)]
    for n, path in enumerate(paths):
        Image.fromarray(draw_scene(480, 640, center=(200 + 5 * n, 250), radius=80, seed=n)[0]).save(path, quality=92)
    return [str(path) for path in paths]


@pytest.mark.slow  # half a minute: other programs share the cores, so that one look says nothing
def test_is_no_slower_than_a_bare_loop_over_the_model(files: list[str]) -> None:
    model = PerSAM.from_pretrained("tiny", device="cpu")
    concept = model.learn(*draw_scene(480, 640, center=(200, 250), radius=80), name="disc")
    list(model.segment_many(files[:4], concept))
    ratios = []
    with Engine(model) as engine:
        for _ in range(7):
            started = time.perf_counter()
            list(model.segment_many(files, concept))
            middle = time.perf_counter()
            wait([engine.segment(file, [concept]) for file in files], 60)
            ratios.append((middle - started) / (time.perf_counter() - middle))
    assert sorted(ratios)[3] >= 0.9, ratios
