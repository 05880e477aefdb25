"""Mode `official` against every intermediate value of the published implementation (tests/golden/README.md)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch

from persam import Concept, EncodedImage, PerSAM
from persam.method.find import find
from persam.method.learn import published_cells
from persam.method.prior import Prior, confidence_cells, prior_of
from persam.method.scale import shot_of, tune_as_published
from persam.method.segment import Step
from persam.models.base import Guidance, Prompts
from persam.reference import Reference

HERE = Path(__file__).parent / "golden"
PHOTOS = Path(__file__).parents[2] / "shared" / "golden-photos"
CASES = [HERE / "landscape_to_square", HERE / "portrait_to_landscape", PHOTOS / "cat", PHOTOS / "duck_toy"]


@dataclass
class Case:
    """One golden case, computed by us once, beside what is expected."""

    folder: Path

    @cached_property
    def expected(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / "expected.npz") as values:
            return dict(values)

    @cached_property
    def persam(self) -> PerSAM:
        path = self.folder / "sam_tiny.pth"
        return PerSAM.from_pretrained(path, mode="official", device="cpu", dtype="float32", decoder_heads=4)

    @cached_property
    def reference(self) -> Reference:
        return Reference.read(self.folder / "reference.png", self.folder / "reference_mask.png")

    @cached_property
    def concept(self) -> Concept:
        return self.persam.learn(self.reference)

    @cached_property
    def tuned(self) -> Concept:
        return self.persam.tune(self.concept, solver="adamw")

    @cached_property
    def test_image(self) -> EncodedImage:
        return self.persam.encode(self.folder / "test.png")

    def prior(self) -> Prior:
        return prior_of(self.test_image, self.concept, self.persam.model.low_resolution, tuned=False)

    def steps(self, concept: Concept) -> tuple[Step, ...]:
        with torch.inference_mode():
            ((trace,),) = find(self.persam.model, self.test_image, [concept])
        return trace.steps


@pytest.fixture(scope="module", params=CASES, ids=lambda folder: folder.name)
def case(request: pytest.FixtureRequest) -> Case:
    if not request.param.is_dir():
        pytest.skip(f"the golden values on photos are not here ({request.param.parent.name}/ beside the repository)")
    return Case(request.param)


def assert_close(actual: torch.Tensor | np.ndarray, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    """Equal within `tolerance` of the largest expected value."""
    actual = actual.detach().cpu().numpy() if isinstance(actual, torch.Tensor) else np.asarray(actual)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def test_sizes(case: Case) -> None:
    frame = case.test_image.frame
    assert tuple(case.expected["input_size"]) == frame.content
    assert tuple(case.expected["original_size"]) == frame.photo


def test_features(case: Case) -> None:
    assert_close(case.test_image.features, case.expected["test_features"])
    assert_close(case.persam.encode(case.reference.image).features, case.expected["ref_features"])


def test_reference_cells_and_target(case: Case) -> None:
    encoded = case.persam.encode(case.reference.image)
    mask = torch.as_tensor(case.reference.mask)
    cells = published_cells(case.persam.model, encoded, mask, case.reference.mask_values)
    np.testing.assert_array_equal(cells.numpy(), case.expected["ref_mask_cells"])
    assert_close(case.concept.targets[0].embedding[None], case.expected["target_embedding"])
    assert_close(case.concept.targets[0].tuned_direction[None], case.expected["persam_f_target"].reshape(1, -1))


def test_confidence_map(case: Case) -> None:
    cells = confidence_cells((case.test_image.other or case.test_image).features, case.concept.targets)
    assert_close(
        cells.reshape(case.expected["persam_similarity_cells"].shape), case.expected["persam_similarity_cells"]
    )
    photo = case.prior().photo
    assert photo is not None
    assert_close(photo.reshape(case.expected["persam_similarity"].shape), case.expected["persam_similarity"])


def test_location_prior(case: Case) -> None:
    prior = case.prior()
    xy = case.test_image.frame.to_photo(prior.points)
    np.testing.assert_allclose(xy, case.expected["persam_points_xy"].reshape(-1, 2), atol=1e-9)
    np.testing.assert_array_equal(prior.labels, case.expected["persam_point_labels"].reshape(-1))


def test_attention_similarity(case: Case) -> None:
    guidance = case.prior().guidance
    assert guidance is not None
    assert guidance.attention is not None
    assert_close(guidance.attention, case.expected["persam_attention_similarity"])


@pytest.mark.parametrize("part", ["", "attention_only_", "semantic_only_", "plain_"])
def test_first_pass(case: Case, part: str) -> None:
    prior = case.prior()
    full = prior.guidance
    assert full is not None
    guidance = Guidance(
        None if part in {"semantic_only_", "plain_"} else full.attention,
        full.where,
        None if part in {"attention_only_", "plain_"} else full.semantic,
    )
    points, labels = (torch.tensor(given, dtype=torch.float32)[None] for given in (prior.points, prior.labels))
    decoded = case.persam.model.decode(case.test_image, Prompts(points, labels), multimask=False, guidance=guidance)
    assert_close(decoded.logits[0], case.expected[f"persam_step1_{part}logits"])
    assert_close(decoded.scores[0], case.expected[f"persam_step1_{part}scores"])


def test_cascade(case: Case) -> None:
    steps = case.steps(case.concept)
    for number, step in enumerate(steps, start=1):
        assert_close(step.logits, case.expected[f"persam_step{number}_logits"])
        assert_close(step.scores, case.expected[f"persam_step{number}_scores"])
    assert steps[1].best == case.expected["persam_step2_best"]
    assert steps[2].best == case.expected["persam_step3_best"]
    assert_box(case, steps[2].box, case.expected["persam_box_xyxy"])
    found = case.persam.segment(case.test_image, case.concept)
    assert iou(found.assumed_mask, case.expected["persam_mask"]) >= 0.999


def test_tuning(case: Case) -> None:
    reference = case.persam.encode(case.reference.image)
    prior = prior_of(reference, case.concept, case.persam.model.low_resolution, tuned=True)
    xy = reference.frame.to_photo(prior.points)
    np.testing.assert_allclose(xy, case.expected["persam_f_ref_points_xy"], atol=1e-9)
    shots = [shot_of(case.persam.model, m, case.concept, full_size=True) for m in case.concept.material]
    tuned = tune_as_published(shots)
    assert_close(np.array([*tuned.losses[::100], tuned.losses[-1]]), case.expected["persam_f_losses"])
    np.testing.assert_allclose(tuned.weights.numpy(), case.expected["persam_f_weights"], atol=2e-3)
    assert case.tuned.scale_weights == pytest.approx(tuple(tuned.weights.tolist()))


def test_tuned_cascade(case: Case) -> None:
    steps = case.steps(case.tuned)
    for number, step in enumerate(steps, start=1):
        assert_close(step.logits, case.expected[f"persam_f_step{number}_logits"], 2e-3 if number > 1 else 1e-4)
        assert_close(step.scores, case.expected[f"persam_f_step{number}_scores"], 2e-3 if number > 1 else 1e-4)
    assert_box(case, steps[1].box, case.expected["persam_f_box1_xyxy"])
    assert_box(case, steps[2].box, case.expected["persam_f_box2_xyxy"])
    found = case.persam.segment(case.test_image, case.tuned)
    xy = found.points
    np.testing.assert_allclose(xy, case.expected["persam_f_points_xy"], atol=1e-9)
    assert iou(found.assumed_mask, case.expected["persam_f_mask"]) >= 0.999


def assert_box(case: Case, box: np.ndarray | None, expected: np.ndarray) -> None:
    assert box is not None
    in_photo = case.test_image.frame.to_photo(box.reshape(2, 2)).reshape(4)
    np.testing.assert_allclose(in_photo, expected, atol=1e-9)
