"""PerSAM: learn, tune, segment, in every form of call."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import draw_scene
from tests.fakes import ColourModel, random_sam

from persam import Concept, EncodedImage, PerSAM, Reference
from persam.errors import PersamError, UsageError
from persam.method.settings import Settings


@pytest.fixture(scope="module")
def bundled() -> PerSAM:
    return PerSAM.from_pretrained(device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def colours() -> PerSAM:
    """A model that finds drawn things exactly."""
    plain = Settings.of("persam").but(background_subspace=0.0, dense_prior=False)
    return PerSAM(ColourModel(), settings=plain)


@pytest.fixture(scope="module")
def disc(bundled: PerSAM) -> Concept:
    return bundled.learn(*draw_scene(), name="disc")


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


OTHER, TRUTH = draw_scene(120, 180, center=(110, 60), radius=30, seed=1)


class TestForms:
    """The same photo in whatever form gives the same."""

    def test_path_picture_and_array(self, bundled, disc, tmp_path):
        Image.fromarray(OTHER).save(tmp_path / "other.png")
        expected = bundled.segment(OTHER, disc)
        for form in (
            tmp_path / "other.png",
            str(tmp_path / "other.png"),
            Image.fromarray(OTHER),
            bundled.encode(OTHER),
        ):
            found = bundled.segment(form, disc)
            np.testing.assert_array_equal(found.mask, expected.mask)
            assert found.score == expected.score
        assert bundled.segment(str(tmp_path / "other.png"), disc).image == str(tmp_path / "other.png")
        assert expected.image is None

    def test_result(self, bundled, disc):
        found = bundled.segment(OTHER, disc)
        assert found.concept == "disc"
        assert found.mask.shape == (120, 180)
        assert found.mask.dtype == np.bool_
        assert 0 <= found.score <= 1
        assert found.present is (found.score >= 0.5)
        assert -1 <= found.similarity <= 1
        assert 0 < found.predicted_iou < 1.2
        assert (found.instances[0].similarity, found.instances[0].score) == (found.similarity, found.score)
        assert found.candidate is None
        assert found.points.shape == (len(found.labels), 2)
        assert len(found.instances) == 1
        assert found.trace is None

    def test_an_iterable_is_worked_lazily_and_in_order(self, bundled, disc):
        photos = [draw_scene(80 + 10 * i, 100, seed=i)[0] for i in range(3)]
        taken: list[int] = []

        def source() -> Iterator[np.ndarray]:
            for number, photo in enumerate(photos):
                taken.append(number)
                yield photo

        results = bundled.segment_many(source(), disc)
        assert isinstance(results, Iterator)
        assert taken == []
        assert next(results).mask.shape == (80, 100)
        assert taken[0] == 0  # how far it reads ahead: test_encoding.py
        assert [found.mask.shape for found in results] == [(90, 100), (100, 100)]

    def test_a_list_of_one_is_still_a_list(self, bundled, disc):
        assert len(list(bundled.segment_many([OTHER], disc))) == 1
        assert len(bundled.segment(OTHER, [disc])) == 1
        assert list(bundled.segment_many([], disc)) == []
        assert bundled.segment(OTHER, []) == []

    @pytest.mark.parametrize("photos", [[OTHER], (OTHER, OTHER), iter([OTHER]), None])
    def test_segment_takes_one_photo(self, bundled, disc, photos):
        with pytest.raises(
            UsageError, match=r"segment\(\) takes one photo .*, not \w+; for several use segment_many\(\)"
        ):
            bundled.segment(photos, disc)

    @pytest.mark.parametrize("photo", ["a.jpg", OTHER, Image.fromarray(OTHER), 5])
    def test_segment_many_takes_several(self, bundled, disc, photo):
        with pytest.raises(UsageError, match=r"segment_many\(\) takes several photos"):
            bundled.segment_many(photo, disc)

    def test_several_concepts_share_one_encoding(self, colours):
        photo, mask = draw_scene()
        one, two = (colours.learn(photo, m, name=n) for n, m in (("disc", mask), ("ground", ~mask)))
        model: Any = colours.model
        before = model.encoded
        alone = [colours.segment(OTHER, each) for each in (one, two)]
        assert model.encoded == before + 2
        together = list(colours.segment_many([OTHER, photo], [one, two], max_instances=3))
        assert model.encoded == before + 4  # two photos
        assert [[found.concept for found in row] for row in together] == [["disc", "ground"]] * 2
        for expected, found in zip(alone, together[0], strict=True):
            best = [(each.candidate or each.instances[0]).mask for each in (found, expected)]
            np.testing.assert_array_equal(*best)

    def test_together_every_concept_finds_what_it_finds_by_itself(self, bundled, disc):
        """Learned and tuned ones, several objects, and a closer look at one that is small."""
        half, _ = draw_scene(180, 250, center=(80, 90), radius=40, seed=2)
        photo = bundled.encode(np.concatenate([half, draw_scene(180, 250, center=(150, 90), radius=12)[0]], axis=1))
        other = bundled.learn(*draw_scene(seed=4, radius=24), name="other")
        concepts = [disc, bundled.tune(disc), other]
        options: dict[str, Any] = {"max_instances": 2, "threshold": 0.0}
        together = bundled.segment(photo, concepts, **options)
        alone = [bundled.segment(photo, each, **options) for each in concepts]
        assert max(len(found.instances) for found in together) == 2
        for found, expected in zip(together, alone, strict=True):
            assert found.concept == expected.concept
            assert len(found.instances) == len(expected.instances)
            for one, other in zip(found.instances, expected.instances, strict=True):
                np.testing.assert_array_equal(one.mask, other.mask)
                assert one.score == pytest.approx(other.score, abs=1e-5)

    def test_more_concepts_than_go_together_come_in_their_order(self, bundled, disc, monkeypatch):
        concepts = [replace(disc, name=str(number)) for number in range(5)]
        monkeypatch.setattr("persam.method.find.TOGETHER", 2)
        assert [found.concept for found in bundled.segment(OTHER, concepts)] == list("01234")

    def test_refining_and_instances_never_encode_again(self, colours):
        photo, mask = draw_scene()
        model: Any = colours.model
        before = model.encoded
        concept = colours.tune(colours.learn(photo, mask))
        assert model.encoded == before + 1
        encoded = colours.encode(OTHER)
        assert isinstance(encoded, EncodedImage)
        for _ in range(3):
            colours.segment(encoded, concept, max_instances=4, explain=True)
        assert model.encoded == before + 2
        assert colours.encode(encoded) is encoded

    def test_bad_photo_in_an_iterable_stops_there_only(self, bundled, disc, tmp_path):
        results = bundled.segment_many([OTHER, tmp_path / "gone.jpg", OTHER], disc)
        next(results)
        with pytest.raises(PersamError, match=r"gone\.jpg"):
            next(results)

    @pytest.mark.parametrize("concept", ["mug.safetensors", Path("mug.safetensors"), ["mug.safetensors"]])
    def test_a_concept_file_is_to_be_loaded_first(self, bundled, concept):
        with pytest.raises(UsageError, match=r"A concept is wanted, not .*mug.*Concept\.load"):
            bundled.segment(OTHER, concept)


class TestExplain:
    def test_trace(self, bundled, disc):
        found = bundled.segment(OTHER, disc, explain=True)
        trace = found.trace
        assert trace is not None
        assert trace.confidence_map().shape == (120, 180)
        masks = trace.masks()
        assert len(masks) == len(trace.steps) >= 1
        assert max(iou(mask, found.mask) for mask in masks) > 0.8  # what is left is the last refinement
        prior = trace.prior
        np.testing.assert_allclose(prior.frame.to_photo(prior.points), found.points)
        x, y = (prior.points[0] * prior.canvas.shape[0] / prior.frame.canvas[0]).astype(int)
        assert float(prior.canvas[y, x]) == float(prior.canvas[prior.frame.inside(prior.canvas.shape)].max())
        assert found.similarity == pytest.approx(float(prior.alike[y, x]), abs=1e-5)
        assert found.predicted_iou == trace.predicted_iou

    def test_every_instance_has_its_own_way(self, colours):
        photo, mask = draw_scene()
        concept = colours.learn(photo, mask)
        two = np.concatenate([photo, photo[:, ::-1]], axis=1)
        found = colours.segment(two, concept, max_instances=2, threshold=0, explain=True)
        assert len(found.instances) == 2
        assert found.trace is found.instances[0]
        for each in found.instances:
            np.testing.assert_array_equal(each.masks()[-1], each.mask)
        first, second = (each.confidence_map() for each in found.instances)
        assert second[found.instances[0].mask].max() < first[found.instances[0].mask].max()

    def test_does_not_change_the_result(self, bundled, disc):
        np.testing.assert_array_equal(
            bundled.segment(OTHER, disc, explain=True).mask, bundled.segment(OTHER, disc).mask
        )


class TestArguments:
    @pytest.mark.parametrize("number", [0, -1])
    def test_max_instances(self, bundled, disc, number):
        with pytest.raises(UsageError, match=f"max_instances must be at least 1, not {number}"):
            bundled.segment(OTHER, disc, max_instances=number)

    @pytest.mark.parametrize("threshold", [1.01, -0.1, float("nan")])
    def test_threshold(self, bundled, disc, threshold):
        with pytest.raises(UsageError, match="The threshold is a score between 0 and 1"):
            bundled.segment(OTHER, disc, threshold=threshold)

    def test_errors_come_before_the_first_photo_is_read(self, bundled, disc):
        with pytest.raises(UsageError):
            bundled.segment_many(iter([]), disc, max_instances=0)

    @pytest.mark.parametrize(("threshold", "present"), [(0.0, True), (1.0, False)])
    def test_threshold_decides_about_presence(self, bundled, disc, threshold, present):
        found = bundled.segment(OTHER, disc, threshold=threshold)
        assert found.present is present
        assert found.found is present

    def test_an_absent_thing_has_no_mask_and_keeps_the_candidate(self, bundled, disc):
        there, absent = (bundled.segment(OTHER, disc, threshold=threshold) for threshold in (0.0, 1.0))
        assert not absent.mask.any()
        assert absent.mask.shape == OTHER.shape[:2]
        assert absent.instances == ()
        assert absent.box is None
        assert absent.area == 0
        np.testing.assert_array_equal(absent.overlay(OTHER), OTHER)
        assert there.candidate is None
        np.testing.assert_array_equal(absent.candidate.mask, there.mask)
        np.testing.assert_array_equal(absent.assumed_mask, there.assumed_mask)
        assert absent.candidate.box == there.box
        assert (there.threshold, absent.threshold) == (0.0, 1.0)
        # how probable it is that it is there does not depend on the cut that a user makes
        assert (absent.score, absent.similarity) == (there.score, there.similarity)

    def test_solver(self, bundled, disc):
        with pytest.raises(UsageError, match='There is no solver "sgd"; use direct or adamw'):
            bundled.tune(disc, solver="sgd")

    def test_mode(self):
        with pytest.raises(UsageError, match='There is no mode "best"'):
            PerSAM.from_pretrained(mode="best")

    def test_nothing_shows_the_object(self, bundled):
        with pytest.raises(UsageError, match="Nothing shows where the object is"):
            bundled.learn(OTHER)

    @pytest.mark.parametrize("photo", [3, None, [[1, 2]]])
    def test_no_photo(self, bundled, photo):
        with pytest.raises(UsageError, match="A photo must be a path"):
            bundled.learn(photo, TRUTH)


class TestTune:
    def test_keeps_all_but_the_weights(self, bundled, disc):
        tuned = bundled.tune(disc)
        assert tuned.tuned
        assert not disc.tuned
        assert sum(tuned.scale_weights) == pytest.approx(1, abs=1e-5)
        assert tuned.name == disc.name
        assert tuned.references == disc.references
        assert bundled.segment(OTHER, tuned).mask.any()

    def test_of_a_loaded_concept(self, bundled, disc, tmp_path):
        disc.save(tmp_path / "disc.safetensors")
        with pytest.raises(PersamError, match=r'"disc" was read from a file that does not keep its photos.*--tune'):
            bundled.tune(Concept.load(tmp_path / "disc.safetensors"))

    def test_published_solver_reports_progress(self):
        persam, epochs = PerSAM(random_sam()), []
        photo, mask = draw_scene(24, 32, center=(16, 12), radius=7)
        persam.tune(persam.learn(photo, mask), solver="adamw", progress=epochs.append)
        assert epochs == list(range(1, 1001))

    def test_several_references(self, bundled):
        references = [Reference.read(*draw_scene(seed=seed, center=(50 + 20 * seed, 60))) for seed in range(3)]
        concept = bundled.tune(bundled.learn(references, name="discs"))
        assert len(concept.targets) == len(concept.references) == 3
        assert iou(bundled.segment(OTHER, concept).mask, TRUTH) > 0.7
        turned = bundled.learn(references[::-1])
        np.testing.assert_array_equal(
            bundled.segment(OTHER, turned).mask, bundled.segment(OTHER, bundled.learn(references)).mask
        )


class TestReferences:
    """Every way to show the object, with the bundled model on a drawn scene."""

    @pytest.mark.parametrize("tuned", [False, True])
    @pytest.mark.parametrize("form", ["mask", "box", "points", "points and labels", "scribble", "cut-out"])
    def test_finds_it_in_another_photo(self, bundled, form, tuned):
        photo, mask = draw_scene()
        stroke = np.zeros_like(mask)
        stroke[56:60, 45:76] = True
        source: Any = photo
        options: dict[str, Any] = {
            "mask": {"mask": mask},
            "box": {"box": (32, 42, 89, 99)},
            "points": {"points": [(60, 70)]},
            "points and labels": {"points": [(60, 58), (60, 85), (140, 20)], "labels": [1, 1, 0]},
            "scribble": {"scribble": stroke},
            "cut-out": {},
        }[form]
        if form == "cut-out":
            source = np.dstack([photo, mask.astype(np.uint8) * 255])
        concept = bundled.learn(source, **options, name=form)
        concept = bundled.tune(concept) if tuned else concept
        found = bundled.segment(OTHER, concept)
        x, y = found.points[0].round().astype(int)
        assert TRUTH[y, x]
        assert iou(found.assumed_mask, TRUTH) > 0.6

    def test_mask_of(self, bundled):
        photo, mask = draw_scene()
        assert bundled.mask_of(Reference.read(photo, mask)) is not None
        assert iou(bundled.mask_of(Reference.read(photo, box=(32, 42, 89, 99))), mask) > 0.7

    def test_mode_official_without_a_mask_file(self):
        persam = PerSAM.from_pretrained(mode="official", device="cpu", dtype="float32")
        concept = persam.learn(draw_scene()[0], box=(32, 42, 89, 99))
        assert persam.segment(OTHER, concept).assumed_mask.any()


class TestOddPhotos:
    @pytest.mark.parametrize("tuned", [False, True])
    @pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 2), (3, 1000)])
    def test_sizes(self, bundled, disc, size, tuned):
        concept = bundled.tune(disc) if tuned else disc
        photo = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        found = bundled.segment(photo, concept, max_instances=2, explain=True)
        assert found.mask.shape == size
        assert np.isfinite(found.score)
        assert found.trace.confidence_map().shape == size

    @pytest.mark.parametrize("value", [0, 128, 255])
    def test_one_colour(self, bundled, disc, value):
        found = bundled.segment(np.full((60, 90, 3), value, np.uint8), disc)
        assert found.mask.shape == (60, 90)
        assert np.isfinite(found.score)

    @pytest.mark.parametrize("mode", ["official", "paper", "persam"])
    def test_grey_and_narrow_references(self, mode):
        persam = PerSAM.from_pretrained(mode=mode, device="cpu", dtype="float32")
        photo, mask = draw_scene(60, 400, center=(200, 30), radius=24)
        grey = photo.mean(2).astype(np.uint8)
        found = persam.segment(grey.T.copy(), persam.learn(grey, mask))
        assert found.mask.shape == (400, 60)

    def test_whole_photo_but_a_corner(self, bundled):
        photo, _ = draw_scene()
        mask = np.ones((120, 160), bool)
        mask[:2, :2] = False
        assert bundled.segment(photo, bundled.tune(bundled.learn(photo, mask))).mask.shape == (120, 160)


class TestProperties:
    @pytest.mark.parametrize("mode", ["official", "paper", "persam"])
    def test_deterministic(self, mode):
        photo, mask = draw_scene()
        runs = []
        for _ in range(2):
            persam = PerSAM.from_pretrained(mode=mode, device="cpu", dtype="float32")
            runs.append(persam.segment(OTHER, persam.tune(persam.learn(photo, mask)), max_instances=2))
        np.testing.assert_array_equal(runs[0].mask, runs[1].mask)
        assert runs[0].score == runs[1].score
        np.testing.assert_array_equal(runs[0].points, runs[1].points)

    def test_segmenting_does_not_change_the_concept(self, bundled):
        photo, mask = draw_scene()
        concept = bundled.tune(bundled.learn(photo, mask))
        before = copy.deepcopy(concept)
        first = bundled.segment(OTHER, concept)
        bundled.segment(photo, concept, max_instances=3, threshold=0, explain=True)
        assert concept.metadata() == before.metadata()
        for one, other in zip(concept.targets, before.targets, strict=True):
            torch.testing.assert_close(vars(one), vars(other), atol=0, rtol=0)
        np.testing.assert_array_equal(bundled.segment(OTHER, concept).mask, first.mask)

    def test_the_photo_itself_is_not_changed(self, bundled, disc):
        photo = OTHER.copy()
        bundled.segment(photo, disc)
        bundled.learn(photo, TRUTH)
        np.testing.assert_array_equal(photo, OTHER)

    @pytest.mark.parametrize(("axis", "least"), [(0, 0.5), (1, 0.7)])
    def test_flipping_the_photo_flips_the_mask(self, bundled, disc, axis, least):
        """Roughly, since a network is not symmetric, least of all upside down, which it was never shown."""
        plain, flipped = (bundled.segment(np.ascontiguousarray(p), disc) for p in (OTHER, np.flip(OTHER, axis)))
        assert iou(np.flip(flipped.mask, axis), plain.mask) > least

    def test_flipping_with_a_symmetric_model(self, colours):
        photo, mask = draw_scene(128, 128, center=(40, 50))
        concept = colours.learn(photo, mask)
        plain = colours.segment(photo, concept)
        flipped = colours.segment(np.ascontiguousarray(photo[:, ::-1]), concept)
        assert iou(flipped.mask[:, ::-1], plain.mask) > 0.97
        assert flipped.score == pytest.approx(plain.score, abs=1e-3)

    def test_the_size_of_the_photo_hardly_matters(self, bundled, disc):
        small = np.asarray(Image.fromarray(OTHER).resize((360, 240), Image.Resampling.BICUBIC))
        found = bundled.segment(small, disc).mask
        assert found.shape == (240, 360)
        assert iou(found[::2, ::2], bundled.segment(OTHER, disc).mask) > 0.8

    def test_learned_from_and_found_in_the_same_photo(self, bundled, disc):
        photo, mask = draw_scene()
        found = bundled.segment(photo, disc)
        assert iou(found.mask, mask) > 0.7
        assert found.present

    def test_every_technique_can_be_switched_off(self):
        photo, mask = draw_scene()
        network = random_sam()
        off = {
            "background_subspace": 0.0, "negative_point": False, "dense_prior": False, "attention": "off",
            "semantic": "off", "cascade": False, "fallback": False, "agreement": 0.0, "final_agreement": 0.0,
            "positive_points": 1,
        }  # fmt: skip
        for changes in [off, *({name: value} for name, value in off.items())]:
            for mode in ("official", "paper", "persam"):
                persam = PerSAM(network, settings=Settings.of(mode).but(**changes))
                found = persam.segment(OTHER, persam.learn(photo, mask), explain=True)
                assert found.mask.shape == (120, 180)
                if changes is off:
                    assert found.labels.tolist() == [1]
                    assert len(found.trace.steps) == 1
                    assert found.trace.prior.guidance is None


def test_a_smaller_copy_of_a_photo_gives_masks_of_the_photos_size(scene):
    model = PerSAM.from_pretrained()
    image, mask = scene
    concept = model.learn(image, mask)
    whole = model.segment(image, concept)
    half = np.asarray(Image.fromarray(image).resize((80, 60), Image.Resampling.BOX))
    found = model.segment(model.encode(half, size=image.shape[:2]), concept)
    assert found.mask.shape == image.shape[:2]
    assert (found.mask & whole.mask).sum() / (found.mask | whole.mask).sum() > 0.85
    assert found.points[0] == pytest.approx(whole.points[0], abs=8)


def test_what_was_found_can_be_learned_from(scene):
    """Though nobody can write into its mask, of which PyTorch would warn."""
    model = PerSAM(ColourModel())
    found = model.segment(scene[0], model.learn(*scene))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = model.learn(Reference(scene[0], mask=found.mask))
    assert model.segment(scene[0], again).present


def test_a_copy_of_another_aspect_is_refused():
    model = PerSAM(ColourModel())
    copy = np.zeros((60, 80, 3), np.uint8)
    for size in ((160, 120), (120, 120), (0, 0), (-120, -160)):  # the first one is width, height
        with pytest.raises(UsageError, match=r"copy is \(60, 80\) and the photo .* \(H, W\), which is another aspect"):
            model.encode(copy, size=size)
    assert model.encode(np.zeros((4, 500, 3), np.uint8), size=(25, 4000)).frame.photo == (25, 4000)  # 3.1 rounded up


def test_the_size_of_what_is_encoded_already_is_refused():
    model = PerSAM(ColourModel())
    encoded = model.encode(np.zeros((60, 80, 3), np.uint8))
    assert model.encode(encoded) is encoded
    with pytest.raises(UsageError, match="encoded already; give its size when it is encoded"):
        model.encode(encoded, size=(120, 160))


def test_photos_beyond_the_longest_side_are_no_use():
    model = PerSAM.from_pretrained()
    assert model.longest_side >= 2 * max(model.encode(np.zeros((9, 9, 3), np.uint8)).frame.canvas)
