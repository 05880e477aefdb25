"""The passes: what each is asked, which mask goes on, empty and runaway steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import ScriptedModel, blob

from persam.geometry import Frame
from persam.method.find import side_by_side
from persam.method.prior import Prior, standard_map
from persam.method.segment import MEAN, agreement, cascade, last_good, tight_box
from persam.method.settings import Settings
from persam.models.base import EncodedImage, Guidance

SIZE = (32, 32)
hundredths = st.integers(-100, 100).map(lambda number: number / 100)
SQUARE, WIDE = Frame.padded((64, 64), 64, (8, 8)), Frame.padded((30, 60), 64, (8, 8))
PLAIN = Settings.of("persam").but(
    first_pass="scales",
    cascade=True,
    guided_cascade=False,
    agreement=0.0,
    final_agreement=0.0,
    fallback=True,
    map="cells",
)
GOOD, OTHER, THIRD = blob(SIZE, (4, 12), (5, 15)), blob(SIZE, (3, 13), (4, 16)), blob(SIZE, (2, 14), (4, 16))
EMPTY, EVERYTHING = torch.full(SIZE, -3.0), torch.full(SIZE, 3.0)


def scene(
    frame: Frame = SQUARE,
    confidence: torch.Tensor | None = None,
    dense: torch.Tensor | None = None,
    guidance: Guidance | None = None,
) -> Prior:
    canvas = torch.zeros(SIZE) if confidence is None else confidence
    points, labels = np.array([[20.0, 16.0], [50.0, 3.0]]), np.array([1, 0])
    standard = standard_map(canvas, frame.inside(SIZE))
    return Prior(frame, torch.zeros(8, 8), canvas, standard, None, 0.8, points, labels, dense, guidance)


def run(script, settings: Settings = PLAIN, **options):
    model = ScriptedModel(script, scores=options.pop("scores", None))
    prior = options.pop("scene", None) or scene()
    image = EncodedImage(torch.zeros(1, 6, 8, 8), prior.frame)
    (steps,) = side_by_side(model, image, [cascade(prior, settings, **options)])
    return model, steps


class TestPasses:
    def test_what_each_is_asked(self):
        dense = torch.randn(1, 1, *SIZE)
        guidance = Guidance(torch.zeros(1, 1, 1, 64), "after", torch.zeros(6))
        model, steps = run([GOOD, OTHER, THIRD], scene=scene(dense=dense, guidance=guidance))
        (first, second, third) = model.calls
        for prompts, _, _ in model.calls:
            torch.testing.assert_close(prompts.points, torch.tensor([[[20.0, 16.0], [50.0, 3.0]]]))
            torch.testing.assert_close(prompts.labels, torch.tensor([[1.0, 0.0]]))
        assert first[0].logits is dense
        assert first[0].boxes is None
        assert first[2] is guidance
        torch.testing.assert_close(second[0].logits, GOOD[None, None])
        assert second[0].boxes is None
        assert second[2] is None
        torch.testing.assert_close(third[0].logits, OTHER[None, None])
        np.testing.assert_allclose(third[0].boxes[0], tight_box(OTHER, SQUARE, photo=False))
        assert third[2] is None
        assert [step.box is None for step in steps] == [True, True, False]
        assert [multimask for _, multimask, _ in model.calls] == [True, True, True]
        assert last_good(steps).taken is steps[2].taken
        torch.testing.assert_close(steps[2].taken, THIRD)

    def test_single_first_pass_asks_for_one_mask(self):
        model, _ = run([GOOD, OTHER, THIRD], PLAIN.but(first_pass="single"))
        assert [multimask for _, multimask, _ in model.calls] == [False, True, True]

    def test_without_cascade_one_pass(self):
        model, steps = run([GOOD], PLAIN.but(cascade=False))
        assert len(model.calls) == len(steps) == 1

    def test_guided_cascade_carries_the_semantic_prompt_on(self):
        guidance = Guidance(torch.zeros(1, 1, 1, 64), "before", torch.ones(6))
        model, _ = run([GOOD, OTHER, THIRD], PLAIN.but(guided_cascade=True), scene=scene(guidance=guidance))
        for _, _, later in model.calls[1:]:
            assert later.attention is None
            assert later.semantic is guidance.semantic

    def test_highest_predicted_iou_is_taken(self):
        _, steps = run(lambda number, *_: torch.stack([GOOD, OTHER, THIRD]), scores=[0.2, 0.9, 0.5])
        assert [step.best for step in steps] == [1, 1, 1]
        torch.testing.assert_close(steps[-1].taken, OTHER)
        assert steps[0].logits.shape == (3, *SIZE)

    def test_agreement_can_overrule_the_predicted_iou(self):
        confidence = blob(SIZE, (4, 12), (5, 15), high=0.5)
        script = torch.stack([blob(SIZE, (20, 30), (20, 30)), GOOD])
        chosen = {}
        for weight in (0.0, 1.0):
            _, steps = run(
                lambda *_: script, PLAIN.but(agreement=weight), scores=[0.9, 0.8], scene=scene(confidence=confidence)
            )
            chosen[weight] = steps[-1].best
        assert chosen == {0.0: 0, 1.0: 1}


class TestPointAndBox:
    """Where the prior has a box: two passes, one of them without guidance, and the mean of both."""

    BOX = np.array([7.5, 5.5, 33.5, 27.5])
    ELSEWHERE = blob(SIZE, (20, 30), (20, 30))
    BOXED = PLAIN.but(final_agreement=0.15)

    def boxed(self, **options) -> Prior:
        return replace(scene(**options), box=self.BOX)

    def test_what_each_is_asked_and_what_counts(self):
        dense, guidance = torch.randn(1, 1, *SIZE), Guidance(torch.zeros(1, 1, 1, 64), "before", torch.zeros(6))
        model, steps = run([GOOD, OTHER], self.BOXED, scene=self.boxed(dense=dense, guidance=guidance))
        first, second = model.calls
        for prompts, multimask, _ in model.calls:
            assert multimask
            np.testing.assert_allclose(prompts.boxes[0], self.BOX)
            torch.testing.assert_close(prompts.points, torch.tensor([[[20.0, 16.0], [50.0, 3.0]]]))
        assert first[0].logits is dense
        assert first[2] is guidance
        assert second[0].logits is None
        assert second[2] is None
        assert [step.name for step in steps][1:] == ["point and box alone", MEAN]
        assert [step.box is self.BOX for step in steps] == [True, True, False]
        torch.testing.assert_close(last_good(steps).taken, (GOOD + OTHER) / 2)
        assert last_good(steps).predicted_iou == pytest.approx((steps[0].predicted_iou + steps[1].predicted_iou) / 2)

    def test_without_the_switch_the_box_is_a_prompt_of_the_first_pass_and_the_cascade_follows(self):
        model, _ = run([GOOD, OTHER, THIRD], PLAIN.but(prior_box=False), scene=self.boxed())
        assert [prompts.boxes is None for prompts, *_ in model.calls] == [False, True, False]

    def test_the_masks_that_go_together_are_taken(self):
        """The likeliest of each pass are different things; the next ones are the same."""
        script = [torch.stack([self.ELSEWHERE, GOOD, EMPTY]), torch.stack([EVERYTHING, OTHER, EMPTY])]
        _, steps = run(script, self.BOXED, scores=[0.8, 0.7, 0.1], scene=self.boxed())
        assert [step.best for step in steps] == [1, 1, 0]
        torch.testing.assert_close(steps[0].taken, GOOD)
        torch.testing.assert_close(last_good(steps).taken, (GOOD + OTHER) / 2)
        assert last_good(steps).predicted_iou == pytest.approx(0.7)

    @pytest.mark.parametrize("bad", [EMPTY, EVERYTHING])
    def test_what_comes_out_empty_or_runs_away_is_left_out(self, bad):
        _, steps = run([GOOD, bad], self.BOXED, scene=self.boxed())
        assert [step.dropped for step in steps] == [False, True]
        torch.testing.assert_close(last_good(steps).taken, GOOD)

    def test_where_the_mean_is_empty_the_second_pass_counts(self):
        strong = torch.full(SIZE, -9.0)  # nothing at all, and surely so
        _, steps = run([strong, GOOD], self.BOXED, scene=self.boxed())
        assert [step.dropped for step in steps] == [False, False, True]
        torch.testing.assert_close(last_good(steps).taken, GOOD)

    def test_of_a_tuned_concept_the_weighted_sum_is_the_first_mask(self):
        scales = torch.stack([GOOD, OTHER, self.ELSEWHERE])
        weights = torch.tensor([0.5, 0.5, 0.0])
        _, steps = run([scales, scales], self.BOXED, scene=self.boxed(), scale_weights=weights)
        assert steps[0].best == -1
        torch.testing.assert_close(steps[0].taken, (GOOD + OTHER) / 2)
        torch.testing.assert_close(last_good(steps).taken, (steps[0].taken + steps[1].taken) / 2)


class TestLookingBack:
    """Mode persam's last choice among the masks of all passes."""

    ELSEWHERE = blob(SIZE, (20, 30), (20, 30))
    CONFIDENT = staticmethod(lambda: scene(confidence=blob(SIZE, (4, 12), (5, 15), high=0.5)))

    def test_a_refinement_that_left_the_object_is_undone(self):
        script = [GOOD, self.ELSEWHERE, self.ELSEWHERE]
        _, steps = run(script, PLAIN.but(final_agreement=0.5), scene=self.CONFIDENT())
        assert len(steps) == 4
        torch.testing.assert_close(last_good(steps).taken, GOOD)
        _, steps = run(script, PLAIN, scene=self.CONFIDENT())
        torch.testing.assert_close(last_good(steps).taken, self.ELSEWHERE)

    def test_nothing_is_added_where_the_last_pass_is_the_best(self):
        _, steps = run([self.ELSEWHERE, OTHER, GOOD], PLAIN.but(final_agreement=0.5), scene=self.CONFIDENT())
        assert len(steps) == 3

    def test_a_mask_that_its_pass_did_not_take_can_be_found_again(self):
        scales = torch.stack([self.ELSEWHERE, GOOD])
        _, steps = run(lambda *_: scales, PLAIN.but(final_agreement=0.5), scores=[0.9, 0.8], scene=self.CONFIDENT())
        torch.testing.assert_close(last_good(steps).taken, GOOD)
        assert float(steps[-1].scores[0]) == pytest.approx(0.8)

    def test_the_weighted_sum_of_a_tuned_concept_is_one_of_them(self):
        weights = torch.tensor([1.0, 0.0, 0.0])
        script = [torch.stack([GOOD, EMPTY, EMPTY]), self.ELSEWHERE, self.ELSEWHERE]
        _, steps = run(script, PLAIN.but(final_agreement=0.5), scene=self.CONFIDENT(), scale_weights=weights)
        torch.testing.assert_close(last_good(steps).taken, GOOD)


class TestTuned:
    WEIGHTS = torch.tensor([0.5, 0.3, 0.2])

    def test_first_pass_is_the_weighted_sum_and_the_second_already_has_its_box(self):
        scales = torch.stack([GOOD, OTHER, THIRD])
        model, steps = run(lambda *_: scales, PLAIN.but(first_pass="single"), scale_weights=self.WEIGHTS)
        expected = 0.5 * GOOD + 0.3 * OTHER + 0.2 * THIRD
        assert model.calls[0][1]  # all scales, whatever the settings say of an untuned first pass
        assert steps[0].best == -1
        torch.testing.assert_close(steps[0].taken, expected)
        torch.testing.assert_close(model.calls[1][0].logits, expected[None, None])
        np.testing.assert_allclose(model.calls[1][0].boxes[0], tight_box(expected, SQUARE, photo=False))

    def test_its_predicted_iou_is_that_of_its_parts(self):
        scales = torch.stack([GOOD, OTHER, THIRD])
        _, steps = run(lambda *_: scales, PLAIN.but(cascade=False), scale_weights=torch.tensor([0.5, 0.7, -0.2]),
                       scores=[0.2, 0.9, 0.4])  # fmt: skip
        assert steps[0].predicted_iou == pytest.approx((0.5 * 0.2 + 0.7 * 0.9 + 0.2 * 0.4) / 1.4)

    @pytest.mark.parametrize("bad", ["empty", "runaway"])
    def test_a_bad_sum_gives_way_to_the_best_scale(self, bad):
        scales = torch.stack([GOOD, EMPTY if bad == "empty" else EVERYTHING, OTHER])
        _, steps = run(lambda *_: scales, scale_weights=torch.tensor([0.1, 0.9, 0.0]))
        assert steps[0].best == 0
        torch.testing.assert_close(steps[0].taken, GOOD)

    def test_official_keeps_a_bad_sum(self):
        scales = torch.stack([EMPTY, EMPTY, EMPTY])
        _, steps = run(lambda *_: scales, PLAIN.but(fallback=False), scale_weights=self.WEIGHTS)
        assert [step.best for step in steps] == [-1]  # and there is no box to go on with


class TestFallback:
    @pytest.mark.parametrize("bad", [EMPTY, EVERYTHING], ids=["empty", "runaway"])
    @pytest.mark.parametrize("number", [1, 2])
    def test_a_bad_step_is_dropped_and_the_one_before_counts(self, bad, number):
        script = [GOOD, OTHER, THIRD]
        script[number] = bad
        model, steps = run(script)
        assert [step.dropped for step in steps] == [number == n for n in range(3)]
        torch.testing.assert_close(last_good(steps).taken, THIRD if number == 1 else OTHER)
        if number == 1:  # the last pass goes on from the good one
            torch.testing.assert_close(model.calls[2][0].logits, GOOD[None, None])
            np.testing.assert_allclose(model.calls[2][0].boxes[0], tight_box(GOOD, SQUARE, photo=False))

    def test_all_refinements_bad(self):
        _, steps = run([GOOD, EMPTY, EVERYTHING])
        torch.testing.assert_close(last_good(steps).taken, GOOD)

    @pytest.mark.parametrize("fallback", [True, False])
    def test_all_empty_never_crashes(self, fallback):
        _, steps = run([EMPTY, EMPTY, EMPTY], PLAIN.but(fallback=fallback))
        assert len(steps) == 2  # no box can be drawn
        assert not bool((last_good(steps).taken > 0).any())

    def test_nan_logits_count_as_empty(self):
        _, steps = run([GOOD, torch.full(SIZE, torch.nan), OTHER])
        assert [step.dropped for step in steps] == [False, True, False]

    def test_an_object_that_fills_the_photo_may_stay(self):
        _, steps = run([EVERYTHING, EVERYTHING, EVERYTHING])
        assert not any(step.dropped for step in steps)

    def test_padding_does_not_count_as_photo(self):
        """All of a wide photo is half of the canvas: still a runaway."""
        _, steps = run([blob(SIZE, (2, 8), (3, 9)), blob(SIZE, (0, 16), (0, 32)), GOOD], scene=scene(WIDE))
        assert steps[1].dropped
        _, steps = run([blob(SIZE, (2, 8), (3, 9)), blob(SIZE, (16, 32), (0, 32)), GOOD], scene=scene(WIDE))
        assert steps[1].dropped  # nothing of it lies in the photo

    def test_switched_off(self):
        _, steps = run([GOOD, EVERYTHING, EVERYTHING], PLAIN.but(fallback=False))
        assert not any(step.dropped for step in steps)
        torch.testing.assert_close(last_good(steps).taken, EVERYTHING)


class TestTightBox:
    @given(seed=st.integers(0, 300))
    def test_brute_force_on_the_photo(self, seed):
        logits = torch.randn(*SIZE, generator=torch.Generator().manual_seed(seed)) - 2.2
        mask = (WIDE.to_photo_size(logits[None, None])[0, 0] > 0).numpy()
        box = tight_box(logits, WIDE, photo=True)
        places = [(x, y) for y in range(30) for x in range(60) if mask[y, x]]
        if not places:
            assert box is None
            return
        expected = [f(p[axis] for p in places) for f in (min, max) for axis in (0, 1)]
        np.testing.assert_allclose(WIDE.to_photo(box.reshape(2, 2)).reshape(4), expected, atol=1e-9)

    @given(seed=st.integers(0, 300))
    def test_brute_force_on_the_low_resolution(self, seed):
        logits = torch.randn(*SIZE, generator=torch.Generator().manual_seed(seed)) - 2.5
        mask = (logits > 0).numpy() & WIDE.inside(SIZE).numpy()
        box = tight_box(logits, WIDE, photo=False)
        places = [(x, y) for y in range(32) for x in range(32) if mask[y, x]]
        if not places:
            assert box is None
            return
        # outer edges of the pixels, two canvas pixels each, minus the half pixel by which indices are counted
        low = [min(p[axis] for p in places) * 2 - 0.5 for axis in (0, 1)]
        high = [min((max(p[axis] for p in places) + 1) * 2, limit) - 0.5 for axis, limit in ((0, 64), (1, 32))]
        np.testing.assert_allclose(box, [*low, *high])

    def test_one_pixel(self):
        box = tight_box(blob(SIZE, (3, 4), (5, 6)), SQUARE, photo=False)
        np.testing.assert_allclose(box, [9.5, 5.5, 11.5, 7.5])

    @pytest.mark.parametrize("photo", [True, False])
    def test_both_forms_hold_the_mask(self, photo):
        frame = Frame.padded((50, 90), 64, (8, 8))
        logits = blob(SIZE, (2, 9), (10, 25))
        mask = (frame.to_photo_size(logits[None, None])[0, 0] > 0).numpy()
        rows, columns = np.nonzero(mask)
        x0, y0, x1, y1 = frame.to_photo(tight_box(logits, frame, photo).reshape(2, 2)).reshape(4)
        assert abs(x0 - columns.min()) < 2
        assert abs(x1 - columns.max()) < 2
        assert abs(y0 - rows.min()) < 2
        assert abs(y1 - rows.max()) < 2


class TestAgreement:
    @given(seed=st.integers(0, 200))
    def test_is_the_correlation_within_the_photo(self, seed):
        generator = torch.Generator().manual_seed(seed)
        logits, confidence = torch.randn(*SIZE, generator=generator), torch.rand(*SIZE, generator=generator)
        found = float(agreement(logits, scene(WIDE, confidence)))
        mask, values = (logits[:16] > 0).flatten().numpy(), confidence[:16].flatten().numpy()
        assert found == pytest.approx(np.corrcoef(mask, values)[0, 1], abs=3e-3)  # n - 1 against n

    def test_best_and_worst(self):
        confidence = blob(SIZE, (4, 12), (5, 15), high=0.5)
        assert float(agreement(GOOD, scene(confidence=confidence))) == pytest.approx(1, abs=1e-2)
        assert float(agreement(-GOOD, scene(confidence=confidence))) == pytest.approx(-1, abs=1e-2)
        assert float(agreement(EMPTY, scene(confidence=confidence))) == -1
        assert float(agreement(EVERYTHING, scene(confidence=confidence))) == -1
