from __future__ import annotations

import torch

from training import personal


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


def test_boxes_are_tight_and_of_the_whole_frame_for_nothing() -> None:
    masks = torch.zeros(2, 10, 12, dtype=torch.bool)
    masks[0, 2:5, 7:9] = True
    assert personal.boxes_of(masks, 2.0).tolist() == [[14, 4, 18, 10], [0, 0, 24, 20]]
