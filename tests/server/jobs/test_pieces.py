"""The stand-in for the engine's model: it gives what the model gives, from the engine's thread, and lets others in."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_scene
from tests.fakes import ColourModel
from tests.video.drawn import write_clip

from persam.album.album import Album
from persam.errors import PersamWarning
from persam.persam import PerSAM
from persam.reference import Reference
from persam.server.engine import Engine
from persam.server.hearing import heard_doubts
from persam.server.jobs.pieces import JobStopped, ModelInPieces
from persam.video import Outputs, open_clip, track_into


class NotedThreads(ColourModel):
    """Notes by which threads it is run."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[str] = set()

    def encode(self, image: np.ndarray) -> Any:
        self.threads.add(threading.current_thread().name)
        return super().encode(image)

    def decode(self, *question: Any, **options: Any) -> Any:
        self.threads.add(threading.current_thread().name)
        return super().decode(*question, **options)


@pytest.fixture
def model() -> PerSAM:
    return PerSAM(NotedThreads())


def test_every_verb_gives_what_the_models_gives_on_its_thread(model: PerSAM) -> None:
    alone = PerSAM(ColourModel())
    photo, mask = draw_scene()
    others = [draw_scene(center=(50 + 9 * n, 60))[0] for n in range(3)]
    prompted = Reference(photo, points=np.array([[60, 60]]), labels=np.array([1]))
    with Engine(model) as engine:
        pieces = ModelInPieces(engine)
        concept, known = (each.tune(each.learn(photo, mask, name="disc")) for each in (pieces, alone))
        assert concept.content_hash == known.content_hash
        np.testing.assert_array_equal(pieces.mask_of(prompted), alone.mask_of(prompted))
        assert pieces.longest_side == alone.longest_side
        pairs = zip(
            [*pieces.segment_many(others, concept), pieces.segment(pieces.encode(photo), [concept])[0]],
            [*alone.segment_many(others, known), alone.segment(photo, known)],
            strict=True,
        )
        assert all(one.to_dict() | {"image": None} == other.to_dict() | {"image": None} for one, other in pairs)
        tracked, followed = (list(each.track(np.stack(others), concept)) for each in (pieces, alone))
        assert all((one.labels == other.labels).all() for one, other in zip(tracked, followed, strict=True))
        assert len(tracked) == 3
    # Whoever makes the engine measures the model in his own thread; from then on it is the engine's alone.
    assert model.model.threads == {"persam-engine", threading.current_thread().name}  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["album", "video"])
def test_an_album_and_a_clip_leave_the_model_to_the_engine(model: PerSAM, tmp_path: Path, kind: str) -> None:
    photo, mask = draw_scene()
    concept = PerSAM(ColourModel()).learn(photo, mask, name="disc")
    clip = write_clip(tmp_path / "clip.mp4", [photo] * 3)
    with Engine(model) as engine:
        model.model.threads.clear()  # type: ignore[attr-defined]
        pieces = ModelInPieces(engine)
        if kind == "album":
            with Album(tmp_path / "made") as album:
                for number in range(3):
                    Image.fromarray(photo).save(tmp_path / f"{number}.png")
                report = album.fill(pieces, concept, tmp_path / "*.png")
                assert report.done_now == 3
        else:
            assert track_into(pieces, open_clip(clip), concept, Outputs(tmp_path / "made")).frames == 3
    assert model.model.threads == {"persam-engine"}  # type: ignore[attr-defined]


def test_requests_go_between_the_pieces(model: PerSAM) -> None:
    photo, mask = draw_scene()
    with Engine(model) as engine:
        pieces = ModelInPieces(engine)
        concept = pieces.learn(photo, mask, name="disc")
        order: list[str] = []

        def request(_: Any) -> None:
            order.append("request")

        for number, _ in enumerate(pieces.segment_many([photo] * 4, concept)):
            order.append(f"photo {number}")
            engine.call(request).result(10)
        assert order == [what for n in range(4) for what in (f"photo {n}", "request")]


def test_it_ends_where_it_is_told_and_where_the_engine_stops(model: PerSAM) -> None:
    photo, mask = draw_scene()
    asked: list[bool] = []

    def check() -> None:
        asked.append(True)
        if len(asked) > 2:
            raise JobStopped

    engine = Engine(model)
    pieces = ModelInPieces(engine, check)
    concept = pieces.learn(photo, mask)
    frames = pieces.track(np.stack([photo] * 3), concept)
    with pytest.raises(JobStopped):
        list(frames)
    engine.close()
    with pytest.raises(JobStopped):  # and no photo has the sentence that the service is stopping
        ModelInPieces(engine).segment(photo, concept)


def test_warnings_of_a_piece_are_heard_by_its_job_alone(model: PerSAM) -> None:
    def warn(_: Any) -> None:
        warnings.warn("A doubt.", PersamWarning, stacklevel=1)

    with Engine(model) as engine, warnings.catch_warnings(record=True) as others:
        pieces = ModelInPieces(engine)
        for _ in range(2):  # the second job hears it, too
            with heard_doubts() as heard:
                pieces._piece(warn)
                pieces._piece(warn)
                engine.call(warn).result()  # somebody else's
            assert heard == ["A doubt."]
        assert [str(each.message) for each in others] == ["A doubt."] * 2
