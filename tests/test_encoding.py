"""Reading ahead, and several photos in one pass: in order, no more than is needed, and nobody waits for a source."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import draw_scene
from tests.fakes import ColourModel, random_sam

from persam import PerSAM, encoding
from persam.encoding import PHOTOS_AT_ONCE, PhotoEncoder, Unread, read_ahead
from persam.errors import PersamError, UsageError
from persam.models.base import EncodedImage

PHOTOS = [draw_scene(40 + 6 * i, 60 - 4 * i, center=(30, 20), radius=10, seed=i)[0] for i in range(7)]


@pytest.fixture(scope="module")
def bundled() -> PerSAM:
    return PerSAM.from_pretrained(device="cpu", dtype="float32")


def until(condition: Any, seconds: float = 100.0) -> bool:
    """Whether it comes true."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    return bool(condition())


class TestReadAhead:
    @pytest.mark.parametrize("most", [1, 2, 5, 100])
    @pytest.mark.parametrize("number", [0, 1, 2, 7])
    def test_all_in_order(self, most, number):
        groups = list(read_ahead(range(number), lambda each: 10 * each, most))
        assert [each for group in groups for each in group] == [10 * each for each in range(number)]
        assert all(1 <= len(group) <= most for group in groups)

    def test_nothing_is_read_before_the_first_is_asked_for(self):
        taken: list[int] = []
        groups = read_ahead(iter(range(3)), taken.append, 1)
        time.sleep(0.02)
        assert taken == []
        next(groups)
        assert taken[0] == 0

    @pytest.mark.parametrize("most", [1, 4])
    def test_no_more_than_is_needed_of_a_source_without_end(self, most):
        taken: list[int] = []

        def read(number: int) -> int:
            taken.append(number)
            return number

        groups = read_ahead(count(), read, most)
        given = next(groups)
        assert until(lambda: len(taken) == len(given) + most + 1)
        time.sleep(0.05)
        assert len(taken) == len(given) + most + 1  # so many wait, and one has no room
        groups.close()

    def test_those_that_are_ready_come_together(self):
        taken: list[int] = []
        groups = read_ahead(range(9), lambda each: taken.append(each) or each, 4)
        first = next(groups)
        assert until(lambda: len(taken) == len(first) + 5)
        assert len(next(groups)) == 4

    def test_nobody_waits_for_a_photo_that_has_not_come(self):
        come = threading.Event()

        def source() -> Iterator[int]:
            yield 0
            come.wait()
            yield 1

        groups = read_ahead(source(), lambda each: each, 4)
        assert next(groups) == [0]
        come.set()
        assert next(groups) == [1]
        assert list(groups) == []

    @pytest.mark.parametrize("where", ["source", "reader"])
    def test_an_error_waits_for_its_turn(self, where):
        def source() -> Iterator[int]:
            yield from (0, 1)
            if where == "source":
                raise ValueError("no more")
            yield from (2, 3)

        def read(number: int) -> int:
            if number == 2:
                raise ValueError("no more")
            return number

        found = [each for group in read_ahead(source(), read, 3) for each in group]
        assert found[:2] == [0, 1]
        assert isinstance(found[2], Unread)
        assert str(found[2].error) == "no more"
        assert found[3:] == ([3] if where == "reader" else [])

    @pytest.mark.parametrize("most", [1, 3, 50])
    def test_several_readers_keep_the_order(self, most):
        """Though of each two the first one comes last."""
        late = [threading.Event() for _ in range(20)]

        def read(number: int) -> int:
            if number % 2:  # its partner is number + 1, which another thread reads meanwhile
                assert late[number].wait(100)
            elif number:
                late[number - 1].set()
            return number

        groups = list(read_ahead(range(21), read, most, readers=2))
        assert [each for group in groups for each in group] == list(range(21))

    def test_several_readers_read_no_more_than_is_needed(self):
        taken: list[int] = []
        groups = read_ahead(count(), lambda each: taken.append(each) or each, 4, readers=3)
        given = next(groups)
        assert until(lambda: len(taken) == len(given) + 4 + 3)
        time.sleep(0.05)
        assert len(taken) == len(given) + 4 + 3
        groups.close()

    @pytest.mark.parametrize("readers", [1, 3])
    def test_few_large_photos_wait_at_a_time(self, readers, monkeypatch):
        monkeypatch.setattr(encoding, "HELD", 1000)
        taken: list[int] = []

        def read(number: int) -> tuple[int, np.ndarray]:
            taken.append(number)
            return number, np.zeros(400 if number < 6 else 1500, np.uint8)

        given: list[int] = []
        for group in read_ahead(range(9), read, 4, readers=readers):
            given += [number for number, _ in group]
            time.sleep(0.02)  # nothing more is read, however long one waits
            assert len(taken) - len(given) <= (2 if given[-1] < 4 else 1 if given[-1] >= 6 else readers)
        assert given == list(range(9))

    @pytest.mark.parametrize("most", [1, 3])
    def test_who_stops_early_leaves_no_thread_behind(self, most):
        def alive() -> int:
            return sum(thread.name == "persam-ahead" for thread in threading.enumerate())

        before = alive()
        groups = read_ahead(count(), lambda each: each, most)
        next(groups)
        time.sleep(0.02)  # it has no room by now
        groups.close()
        assert until(lambda: alive() == before)


class TestEncodeAhead:
    def test_a_pass_for_those_that_are_read(self, monkeypatch):
        sam, passes = random_sam(), []
        network = sam.network.vision_encoder.forward
        monkeypatch.setattr(
            sam.network.vision_encoder, "forward", lambda pixels: passes.append(len(pixels)) or network(pixels)
        )
        seeing = PhotoEncoder(sam, None, closer_looks=False)
        with torch.inference_mode():
            encoded = list(seeing.encode([(None, photo) for photo in PHOTOS[:3]]))
            assert passes == [3]
            for one, photo in zip(encoded, PHOTOS, strict=False):
                (alone,) = seeing.encode([(None, photo)])
                assert one.frame == alone.frame
                np.testing.assert_array_equal(one.pixels, alone.pixels)
                torch.testing.assert_close(one.features, alone.features, atol=1e-5, rtol=1e-5)

    def test_another_encoder_and_what_is_encoded_already(self):
        model = PerSAM(random_sam(), encoder=random_sam(1))
        ready = model.encode(PHOTOS[1])
        with torch.inference_mode():
            seeing = PhotoEncoder(model.model, model.encoder, closer_looks=True)
            found = list(seeing.encode_ahead([PHOTOS[0], ready, Image.fromarray(PHOTOS[2])], 3))
        assert found[1] is ready
        for one, photo in zip(found, PHOTOS, strict=False):
            expected = model.encode(photo)
            torch.testing.assert_close(one.other.features, expected.other.features, atol=1e-5, rtol=1e-5)
        assert [one.detail is None for one in found] == [False, True, False]

    def test_only_a_list_of_paths_is_read_by_several_and_only_for_a_gpu(self, monkeypatch, tmp_path):
        asked: list[int] = []

        def watched(*arguments: Any, readers: int) -> Any:
            asked.append(readers)
            return read_ahead(*arguments, readers=readers)

        monkeypatch.setattr(encoding, "read_ahead", watched)
        monkeypatch.setattr("os.cpu_count", lambda: 3)
        paths = [tmp_path / f"{number}.png" for number in range(3)]
        for path, photo in zip(paths, PHOTOS, strict=False):
            Image.fromarray(photo).save(path)
        for device in ("cpu", "cuda"):
            monkeypatch.setattr(ColourModel, "device", torch.device(device))
            seeing = PhotoEncoder(ColourModel(), None, closer_looks=False)
            for source in (paths, iter(paths), PHOTOS[:3]):
                assert [one.frame.photo for one in seeing.encode_ahead(source, 2)] == [
                    photo.shape[:2] for photo in PHOTOS[:3]
                ]
        assert asked == [1, 1, 1, 3, 1, 1]

    def test_a_photo_for_which_the_model_gives_no_numbers_is_named_at_its_turn(self):
        """Though it was encoded in one pass with those before it."""
        sam = random_sam()
        plain = sam.encode_many
        sam.encode_many = lambda images: [
            each if i != 1 else type(each)(each.features * float("nan"), each.frame)
            for i, each in enumerate(plain(images))
        ]
        seeing = PhotoEncoder(sam, None, closer_looks=False).encode([(f"{i}.jpg", PHOTOS[i]) for i in range(3)])
        assert next(seeing).source == "0.jpg"
        with pytest.raises(PersamError, match=r"NaN or infinity for 1\.jpg"):
            next(seeing)

    def test_where_a_pass_of_several_fails_each_is_encoded_alone(self):
        """Whatever the model says against one photo, or against so many, those before it come out."""

        class Fails(ColourModel):
            tries = 0

            def encode(self, image: np.ndarray) -> EncodedImage:
                if image is PHOTOS[2]:
                    raise RuntimeError("odd picture")
                return super().encode(image)

            def encode_many(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
                self.tries += 1
                raise MemoryError

        model = Fails()
        seeing = PhotoEncoder(model, ColourModel(8), closer_looks=False)
        found = seeing.encode([(f"{i}.jpg", PHOTOS[i]) for i in range(4)])
        for i in range(2):
            one = next(found)
            assert one.source == f"{i}.jpg"
            assert torch.equal(one.features, model.encode(PHOTOS[i]).features)
            assert torch.equal(one.other.features, ColourModel(8).encode(PHOTOS[i]).features)
        with pytest.raises(RuntimeError, match="odd picture"):
            next(found)
        assert model.tries == 1

    def test_what_was_not_read_keeps_its_place_and_a_bad_one_harms_nobody(self):
        sam = random_sam()
        gone, ready = Unread(PersamError("gone")), sam.encode(PHOTOS[5])
        odd = np.zeros((9, 9), np.uint8)
        seeing = PhotoEncoder(sam, None, closer_looks=False)
        found = list(seeing.encode_each([("a", PHOTOS[0]), gone, ("b", odd), ready, ("c", PHOTOS[1])]))
        assert found[1] is gone
        assert found[3] is ready
        assert isinstance(found[2], Unread)
        assert [found[0].source, found[4].source] == ["a", "c"]
        torch.testing.assert_close(found[4].features, sam.encode(PHOTOS[1]).features, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize(("error", "tries"), [(MemoryError, 1), (torch.OutOfMemoryError, 1), (RuntimeError, 3)])
    def test_after_a_lack_of_memory_several_are_not_tried_again(self, error, tries, monkeypatch):
        sam, passes = random_sam(), []
        network = sam.network.vision_encoder.forward

        def forward(pixels: torch.Tensor) -> Any:
            passes.append(len(pixels))
            if len(pixels) > 1:
                raise error("too many")
            return network(pixels)

        monkeypatch.setattr(sam.network.vision_encoder, "forward", forward)
        seeing = PhotoEncoder(sam, None, closer_looks=False)
        for _ in range(3):
            assert len(list(seeing.encode([(None, photo) for photo in PHOTOS[:2]]))) == 2
        assert passes.count(2) == tries
        assert passes.count(1) == 6


class TestSegmentMany:
    def test_as_one_by_one(self, bundled, tmp_path):
        concepts = [bundled.learn(*draw_scene()), bundled.learn(*draw_scene(seed=1))]
        Image.fromarray(PHOTOS[0]).save(tmp_path / "first.png")
        photos = [tmp_path / "first.png", *PHOTOS[1:3]]
        alone = [bundled.segment(photo, concepts) for photo in photos]
        for batch in (1, 3):
            for row, expected in zip(bundled.segment_many(photos, concepts, batch=batch), alone, strict=True):
                for one, other in zip(row, expected, strict=True):
                    assert one.image == other.image
                    np.testing.assert_array_equal(one.assumed_mask, other.assumed_mask)
                    assert one.score == pytest.approx(other.score, abs=1e-5)
                    np.testing.assert_allclose(one.points, other.points)

    def test_a_gpu_encodes_several_by_default(self, monkeypatch):
        asked = []

        def encode_ahead(seeing: PhotoEncoder, photos: Any, batch: int) -> Iterator[Any]:
            asked.append(batch)
            return iter(())

        monkeypatch.setattr(PhotoEncoder, "encode_ahead", encode_ahead)
        model = PerSAM(ColourModel())
        concept = model.learn(*draw_scene())
        list(model.segment_many([], concept))
        monkeypatch.setattr(ColourModel, "device", torch.device("cuda"))
        list(model.segment_many([], concept))
        list(model.segment_many([], concept, batch=2))
        assert asked == [1, PHOTOS_AT_ONCE, 2]

    @pytest.mark.parametrize("batch", [0, -3])
    def test_no_batch_below_one(self, batch):
        model = PerSAM(ColourModel())
        with pytest.raises(UsageError, match=f"batch must be at least 1, not {batch}"):
            model.segment_many(PHOTOS, model.learn(*draw_scene()), batch=batch)

    @pytest.mark.parametrize("batch", [1, 4])
    def test_results_before_a_bad_photo_come_first(self, batch, tmp_path):
        model = PerSAM(ColourModel())
        photos = [*PHOTOS[:2], tmp_path / "gone.jpg", PHOTOS[2]]
        results = model.segment_many(photos, model.learn(*draw_scene()), batch=batch)
        assert [next(results).mask.shape for _ in range(2)] == [photo.shape[:2] for photo in PHOTOS[:2]]
        with pytest.raises(PersamError, match=r"gone\.jpg"):
            next(results)
