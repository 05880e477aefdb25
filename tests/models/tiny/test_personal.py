from __future__ import annotations

import torch

from persam.models.guidance import Guidance, guided
from persam.models.tiny import personal
from persam.models.tiny.architecture import TinySam
from persam.models.tiny.personal import Prompts, decode

from .test_architecture import SMALL


def _model() -> TinySam:
    torch.manual_seed(0)
    return TinySam(SMALL).eval()


def test_guidance_with_gradient_computes_what_guidance_computes() -> None:
    model, features = _model(), torch.randn(3, 32, 8, 8)
    points, labels = torch.rand(3, 1, 2, 2) * 64, torch.tensor([1, 0]).expand(3, 1, 2)
    semantic, attention = torch.randn(3, 1, 1, 32), torch.randn(3, 1, 1, 64)
    ours = decode(model, features, Prompts(points, labels, semantic=semantic, attention=attention))
    sparse, dense = model.prompt_encoder(points, labels, None, None)
    with torch.no_grad(), guided(Guidance(attention, "before", semantic), torch.float32) as arguments:
        logits, iou = model.mask_decoder(
            image_embeddings=features,
            image_positional_embeddings=model.get_image_wide_positional_embeddings().repeat(3, 1, 1, 1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
            **arguments,
        )
    torch.testing.assert_close(ours.logits, logits[:, 0])
    torch.testing.assert_close(ours.iou, iou[:, 0])
    ours.logits.sum().backward()
    unguided = decode(model, features, Prompts(points, labels))
    assert not torch.allclose(ours.logits, unguided.logits)
    # Zero guidance is no guidance: items of a batch can do without.
    zero = decode(model, features, Prompts(points, labels, semantic=semantic * 0, attention=attention * 0))
    torch.testing.assert_close(zero.logits, unguided.logits, rtol=1e-4, atol=1e-5)


def test_items_can_do_without_the_mask_prompt() -> None:
    model, features = _model(), torch.randn(2, 32, 8, 8)
    points, labels = torch.rand(2, 1, 1, 2) * 64, torch.ones(2, 1, 1, dtype=torch.long)
    masks = torch.randn(2, 1, 32, 32)
    mixed = decode(model, features, Prompts(points, labels, masks=masks, used_masks=torch.tensor([True, False])))
    torch.testing.assert_close(mixed.logits[0], decode(model, features, Prompts(points, labels, masks=masks)).logits[0])
    torch.testing.assert_close(mixed.logits[1], decode(model, features, Prompts(points, labels)).logits[1])


def test_the_target_embedding_is_the_mean_over_the_cells_of_the_object() -> None:
    features, coverage = torch.randn(2, 5, 4, 4), torch.zeros(2, 4, 4)
    coverage[0, 1, 1:3], coverage[0, 0, 0] = 0.9, 0.4
    coverage[1, 2, 2], coverage[1, 3, 3] = 0.2, 0.1  # a tiny object: its best covered cell
    found = personal.target_embedding(features, coverage)
    torch.testing.assert_close(found[0], features[0, :, 1, 1:3].mean(-1))
    torch.testing.assert_close(found[1], features[1, :, 2, 2])


def test_confidence_is_a_cosine_and_its_z_scores_ignore_the_padding() -> None:
    target, features = torch.randn(2, 6), torch.randn(2, 6, 3, 4)
    confidence = personal.confidence_map(target, features)
    expected = torch.cosine_similarity(target[1], features[1, :, 2, 3], dim=0)
    torch.testing.assert_close(confidence[1, 2, 3], expected)
    valid = torch.ones(2, 3, 4, dtype=torch.bool)
    valid[:, 2] = False
    scores = personal.standardised(confidence, valid)
    assert not scores[~valid].any()
    torch.testing.assert_close(scores[:, :2].mean((1, 2)), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(scores[:, :2].std((1, 2), correction=0), torch.ones(2), rtol=1e-3, atol=1e-3)
    assert personal.dense_prior(scores).shape == (2, 1, 12, 16)


def test_highest_cells_are_apart_and_valid() -> None:
    confidence = torch.zeros(1, 6, 6)
    confidence[0, 1, 1], confidence[0, 1, 2], confidence[0, 5, 5], confidence[0, 0, 5] = 0.9, 0.8, 0.7, 1.0
    valid = torch.ones(1, 6, 6, dtype=torch.bool)
    valid[0, 0, 5] = False
    cells = personal.highest_cells(confidence, valid, 2)
    assert cells.tolist() == [[7, 35]]
    assert personal.cell_centres(cells, 6).tolist() == [[[12, 12], [44, 44]]]
