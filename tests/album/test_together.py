"""An album whose photos are encoded several in one pass, as on a GPU: it comes out as with one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_photos, draw_scene
from tests.fakes import ColourModel

from persam import Concept, PerSAM
from persam.album import looking
from persam.album.album import Album
from persam.encoding import PhotoEncoder
from persam.models.base import EncodedImage

SIZES = [(120, 160), (150, 150), (90, 200), (200, 90), (130, 170), (160, 120), (120, 180), (100, 100), (90, 130)]
SIZES += [(110, 140 + each) for each in range(4)]


class SeveralModel(ColourModel):
    """The same, which takes several photos in one pass, but none that is blue."""

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[int] = []

    def encode(self, image: np.ndarray) -> EncodedImage:
        return self.encode_many([image])[0]

    def encode_many(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        if any(tuple(image[0, 0]) == (0, 0, 255) for image in images):
            raise RuntimeError("it is blue")
        self.passes.append(len(images))
        return [super(SeveralModel, self).encode(image) for image in images]


class AtOnce:
    """Threads that have read a photo as soon as they are told to."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(work(*arguments))
        return done

    def shutdown(self, **_: Any) -> None:
        pass


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Thirteen of different sizes, a copy of one, and one that is empty."""
    folder = draw_photos(tmp_path / "photos", SIZES)
    (folder / "06 again.png").write_bytes((folder / "06.png").read_bytes())
    (folder / "07 empty.png").touch()
    return folder


def filled(folder: Path, photos: Path, at_once: int, **options: Any) -> tuple[PerSAM, Concept, Any]:
    model = PerSAM(SeveralModel())
    concept = model.learn(*draw_scene(), name="disc")
    assert model.longest_side > 0  # found out by encoding a tiny picture
    model.model.passes.clear()
    with pytest.MonkeyPatch.context() as patch, Album(folder) as album:
        patch.setattr(PhotoEncoder, "at_once", at_once)
        patch.setattr(looking, "ThreadPoolExecutor", AtOnce)
        return model, concept, album.fill(model, concept, photos, overlay=True, **options)


def results_in(folder: Path) -> dict[str, bytes]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and ".persam" not in file.parts)
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_as_one_by_one(photos, tmp_path):
    model, _, alone = filled(tmp_path / "alone", photos, 1)
    assert set(model.model.passes) == {1}
    model, _, together = filled(tmp_path / "together", photos, 3)
    assert max(model.model.passes) == 3
    assert sum(model.model.passes) == len(SIZES)  # a copy is not encoded again
    assert together.failures == alone.failures
    assert [Path(photo).name for photo, _ in together.failures] == ["07 empty.png"]
    assert together.done_now == alone.done_now == len(SIZES) + 1
    assert results_in(tmp_path / "together") == results_in(tmp_path / "alone")


def test_one_that_cannot_be_encoded_harms_no_other(photos, tmp_path):
    Image.new("RGB", (150, 100), (0, 0, 255)).save(photos / "05.png")
    _, _, alone = filled(tmp_path / "alone", photos, 1)
    model, _, together = filled(tmp_path / "together", photos, 3)
    assert max(model.model.passes) == 3  # of others
    assert together.failures == alone.failures
    assert together.failures[0] == (
        str(photos / "05.png"), f"{photos / '05.png'} could not be segmented (RuntimeError: it is blue)."
    )  # fmt: skip
    assert results_in(tmp_path / "together") == results_in(tmp_path / "alone")


def test_what_was_encoded_together_is_kept_for_the_next_concept(photos, tmp_path):
    model, _, _ = filled(tmp_path / "together", photos, 3, cache=1 << 30)
    assert max(model.model.passes) == 3
    model.model.passes.clear()
    other = model.learn(*draw_scene(seed=5), name="other")
    learned = len(model.model.passes)
    with Album(tmp_path / "together") as album:
        report = album.fill(model, other, photos, cache=1 << 30)
    assert report.done_now == len(SIZES) + 1
    assert model.model.passes[learned:] == []
