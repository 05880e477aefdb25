"""From a reference to what a concept keeps of it."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from tests.fakes import ColourModel, ScriptedModel, blob, random_sam

from persam import PerSAM
from persam.encoded import EncodedImage
from persam.errors import PersamError, UsageError
from persam.learning import cells_as_published, learn_reference, mask_of, shot_of, thumbnail_of
from persam.method.settings import Settings
from persam.reference import Reference

PERSAM, OFFICIAL = Settings.of("persam"), Settings.of("official")


def learned(image: np.ndarray, mask: np.ndarray, settings: Settings = PERSAM, model=None):
    model = model or random_sam()
    reference = Reference.read(image, mask)
    encoded = EncodedImage.of(reference.image, model, None)
    return learn_reference(reference, encoded, model, settings, own_features=True)


def one_pixel_mask(shape: tuple[int, int], y: int, x: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[y, x] = True
    return mask


class TestLearn:
    def test_record(self, scene):
        found = learned(*scene)
        assert found.record.size == (120, 160)
        assert found.record.coverage == pytest.approx(scene[1].mean(), abs=1e-5)
        coverage = found.image.matching.frame.cover(torch.as_tensor(scene[1]))
        assert found.record.cells == int((coverage >= 0.5).sum()) > 1
        assert len(found.record.sha256) == 64

    def test_target_is_the_mean_of_the_covered_cells(self, scene):
        model = random_sam()
        found = learned(*scene, settings=PERSAM.but(semantic="mean", background_subspace=0.0), model=model)
        encoding = model.encode(scene[0])
        cells = encoding.frame.cover(torch.as_tensor(scene[1])) >= 0.5
        torch.testing.assert_close(found.target.embedding, encoding.features[0][:, cells].mean(1))

    @pytest.mark.parametrize("place", [(0, 0), (119, 159), (60, 70)])
    def test_a_mask_of_one_pixel(self, scene, place):
        found = learned(scene[0], one_pixel_mask((120, 160), *place))
        assert found.record.cells == 1
        assert bool(found.target.direction.isfinite().all())
        assert np.isfinite(found.threshold())

    def test_a_mask_of_all_but_one_pixel_has_no_background(self, scene):
        found = learned(scene[0], ~one_pixel_mask((120, 160), 0, 0))
        assert found.target.background.shape[1] in {0, 1}
        assert np.isfinite(found.threshold())

    @pytest.mark.parametrize("size", [(1, 40), (40, 1), (2, 2), (500, 4)])
    def test_odd_photos(self, size):
        rng = np.random.default_rng(0)
        mask = np.zeros(size, bool)
        mask[: max(1, size[0] // 2), : max(1, size[1] // 2)] = True
        found = learned(rng.integers(0, 255, (*size, 3), np.uint8), mask)
        assert bool(found.target.direction.isfinite().all())

    def test_another_encoder_decides_with_its_own_cells(self, scene):
        model, encoder = random_sam(), ColourModel(20)
        reference = Reference.read(*scene)
        encoded = EncodedImage.of(reference.image, model, encoder)
        found = learn_reference(reference, encoded, model, PERSAM, own_features=False)
        assert found.target.embedding.shape == (32,)
        assert found.target.direction.shape == (3,)
        assert found.record.cells > 10


class TestAsPublished:
    """The same mask with other values is another object to the published code."""

    def cells(self, scene, values) -> int:
        reference = Reference.read(scene[0], values)
        model = random_sam()
        encoded = EncodedImage.of(scene[0], model, None)
        return int(cells_as_published(reference, torch.as_tensor(reference.mask), encoded, model).sum())

    def test_128_erodes_and_255_does_not(self, scene):
        grey, white = (self.cells(scene, scene[1].astype(np.uint8) * value) for value in (128, 255))
        assert 0 < grey <= white

    @pytest.mark.parametrize("value", [1, 100])
    def test_values_that_vanish_say_so(self, scene, value):
        with pytest.raises(PersamError, match=r"Mode official finds no object in this mask.* use mode persam\."):
            self.cells(scene, scene[1].astype(np.uint8) * value)

    def test_without_a_mask_file_it_is_stored_with_128(self, scene):
        reference = Reference.read(scene[0], box=(20, 20, 100, 110))
        model = random_sam()
        encoded = EncodedImage.of(scene[0], model, None)
        found = cells_as_published(reference, torch.as_tensor(scene[1]), encoded, model)
        assert int(found.sum()) == self.cells(scene, scene[1].astype(np.uint8) * 128)

    def test_a_model_without_sams_preprocessing(self, scene):
        with pytest.raises(UsageError, match="Mode official needs SAM's own preprocessing"):
            learned(*scene, settings=OFFICIAL, model=ColourModel())


class TestMaskOf:
    @pytest.mark.parametrize(
        "form",
        [{"box": (30, 40, 90, 100)}, {"points": [(60, 70)]}, {"points": [(60, 70), (5, 5)], "labels": [1, 0]},
         {"box": (30, 40, 90, 100), "points": [(60, 70)]}],
    )  # fmt: skip
    def test_prompts_reach_the_model_on_its_canvas(self, scene, form):
        mask = blob((32, 32), (5, 20), (6, 18))
        model = ScriptedModel(lambda *_: torch.stack([-mask, mask]), scores=[0.1, 0.8])
        reference = Reference.read(scene[0], **form)
        encoded = EncodedImage.of(scene[0], model, None)
        found = mask_of(reference, encoded, model)
        frame = encoded.prompting.frame
        np.testing.assert_array_equal(found, (frame.to_photo_size(mask[None, None])[0, 0] > 0).numpy())
        first, second = (prompts for prompts, _, _ in model.calls)
        assert first.logits is None
        torch.testing.assert_close(second.logits, mask[None, None])  # the better one of the first pass
        for prompts in (first, second):
            if "points" in form:
                np.testing.assert_allclose(prompts.points[0], np.array(form["points"]) * 64 / 160, atol=1e-4)
                assert prompts.labels.tolist() == [form.get("labels", [1])]
            else:
                assert prompts.points is None
            if "box" in form:
                np.testing.assert_allclose(prompts.boxes[0], np.array(form["box"]) * 64 / 160, atol=1e-4)

    def test_scribble_becomes_points_on_its_strokes(self, scene):
        strokes = np.zeros((120, 160), bool)
        strokes[68:72, 40:85] = True
        model = ScriptedModel(lambda *_: blob((32, 32), (5, 20), (6, 18)))
        encoded = EncodedImage.of(scene[0], model, None)
        mask_of(Reference.read(scene[0], scribble=strokes), encoded, model)
        points = encoded.prompting.frame.to_photo(model.calls[0][0].points[0].numpy()).round().astype(int)
        assert len(points) > 1
        assert all(strokes[y, x] for x, y in points)
        assert model.calls[0][0].labels.min() == 1

    def test_a_given_mask_is_taken_as_it_is(self, scene):
        model = ScriptedModel([])
        reference = Reference.read(*scene)
        assert mask_of(reference, EncodedImage.of(scene[0], model, None), model) is reference.mask

    def test_nothing_there(self, scene):
        model = ScriptedModel(lambda *_: torch.full((32, 32), -4.0))
        reference = Reference.read(scene[0], points=[(3, 3)])
        with pytest.raises(PersamError, match="The model finds no object at the given place; give a larger box"):
            mask_of(reference, EncodedImage.of(scene[0], model, None), model)


class TestShot:
    @pytest.mark.parametrize("full_size", [True, False])
    def test_sizes_and_truth(self, scene, full_size):
        persam = PerSAM(random_sam())
        concept = persam.learn(*scene)
        shot = shot_of(concept.material[0], concept, persam.model, full_size=full_size)
        if full_size:
            assert shot.logits.shape == (3, 120, 160)
            np.testing.assert_array_equal(shot.mask.numpy(), scene[1])
        else:  # 120 x 160 is 48 x 64 on the canvas, 24 x 32 at the low resolution
            assert shot.logits.shape == (3, 24, 32)
            assert shot.mask.shape == (24, 32)
            assert float(shot.mask.mean()) == pytest.approx(scene[1].mean(), abs=0.005)

    def test_one_decoder_pass(self, scene):
        model = ScriptedModel(lambda *_: torch.randn(3, 32, 32))
        persam = PerSAM(model)
        concept = persam.learn(*scene)
        shot_of(concept.material[0], concept, model, full_size=False)
        assert len(model.calls) == 1
        assert model.calls[0][1]  # all three scales


def test_thumbnail():
    photo = np.full((300, 500, 3), (200, 10, 20), np.uint8)
    small = Image.open(io.BytesIO(thumbnail_of(photo)))
    assert small.size == (96, 58)
    assert small.getpixel((40, 20)) == (200, 10, 20)
