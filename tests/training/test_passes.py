from __future__ import annotations

from dataclasses import replace

import torch
from tests.fakes import SMALL_TINY

from persam.models.base import Decoded, EncodedImage, Prompts
from persam.models.guidance import Guidance
from persam.models.sam import Sam
from persam.models.tiny.architecture import TinySam
from training.model import as_sam
from training.passes import PersonalPrompts, corrective_points, first_pass


def _material(with_prior: list[bool]) -> tuple[Sam, EncodedImage, PersonalPrompts]:
    torch.manual_seed(0)
    model, count = as_sam(TinySam(SMALL_TINY)), len(with_prior)
    prompts = PersonalPrompts(
        points=torch.rand(count, 2, 2) * 64,
        labels=torch.tensor([1, 0]).expand(count, 2),
        prior=torch.randn(count, 1, 32, 32),
        with_prior=torch.tensor(with_prior),
        semantic=torch.randn(count, 1, 1, 32),
        attention=torch.randn(count, 1, 1, 64),
        on_object=torch.ones(count, dtype=torch.bool),
    )
    return model, EncodedImage(torch.randn(count, 32, 8, 8), model.frame((64, 64))), prompts


def _alone(model: Sam, views: EncodedImage, prompts: Prompts, guidance: Guidance | None = None) -> Decoded:
    return model.decode(views, prompts, multimask=True, guidance=guidance)


def test_every_view_gets_its_own_prompts() -> None:
    model, views, prompts = _material([True, False, True, True, False])
    mixed = first_pass(model, views, prompts)
    assert mixed.logits.shape == (5, 3, 32, 32)
    for i in range(5):
        one = prompts[i : i + 1]
        given = Prompts(one.points, one.labels, logits=one.prior if one.with_prior else None)
        view = replace(views, features=views.features[i : i + 1])
        alone = _alone(model, view, given, Guidance(one.attention, "before", one.semantic))
        torch.testing.assert_close(mixed.logits[i : i + 1], alone.logits, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(mixed.scores[i : i + 1], alone.scores, atol=1e-5, rtol=1e-4)


def test_items_can_do_without_the_mask_prompt_and_without_guidance() -> None:
    for prior in (True, False):
        model, views, prompts = _material([prior, prior])
        given = Prompts(prompts.points, prompts.labels, logits=prompts.prior if prior else None)
        unguided = _alone(model, views, given)
        assert not torch.allclose(first_pass(model, views, prompts).logits, unguided.logits)
        # Zero guidance is no guidance.
        zero = replace(prompts, semantic=prompts.semantic * 0, attention=prompts.attention * 0)
        torch.testing.assert_close(first_pass(model, views, zero).logits, unguided.logits, rtol=1e-4, atol=1e-5)


def test_corrective_points_lie_where_the_mask_is_wrong() -> None:
    target = torch.zeros(3, 16, 16)
    target[:, :8] = 1
    logits = torch.where(target > 0, 5.0, -5.0)
    logits[0, 2, 3] = -5.0  # missing
    logits[1, 12, 6] = 5.0  # too much
    valid = torch.ones(3, 16, 16, dtype=torch.bool)
    points, labels = corrective_points(logits, target, valid, 32)
    assert labels.flatten().tolist() == [1, 0, -1]
    assert points[0].flatten().tolist() == [7, 5]
    assert points[1].flatten().tolist() == [13, 25]
    valid[0, 2, 3] = False
    assert corrective_points(logits, target, valid, 32)[1].flatten().tolist() == [-1, 0, -1]
