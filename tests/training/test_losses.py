from __future__ import annotations

import math

import torch

from training.losses import FOREIGN_WEIGHT, contrastive_loss, mask_iou, mask_loss


def test_mask_loss_equals_a_loop_over_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=generator)
    predicted = torch.rand(2, 3, generator=generator)
    target = (torch.rand(2, 4, 5, generator=generator) > 0.5).float()
    valid = torch.rand(2, 4, 5, generator=generator) > 0.3
    found = mask_loss(logits, predicted, target, valid)
    for b in range(2):
        each, ious = [], []
        for k in range(3):
            focal = overlap = sums = 0.0
            both = either = 0
            for y in range(4):
                for x in range(5):
                    if not valid[b, y, x]:
                        continue
                    p = 1 / (1 + math.exp(-float(logits[b, k, y, x])))
                    t = float(target[b, y, x])
                    right = p if t else 1 - p
                    focal += -math.log(right) * (1 - right) ** 2
                    overlap += p * t
                    sums += p + t
                    both += p > 0.5 and t > 0.5
                    either += p > 0.5 or t > 0.5
            each.append(20 * focal / int(valid[b].sum()) + 1 - (2 * overlap + 1) / (sums + 1))
            ious.append(both / either)
        quality = sum((float(predicted[b, k]) - ious[k]) ** 2 for k in range(3)) / 3
        assert math.isclose(float(found.mask[b]), min(each), rel_tol=1e-4)
        assert math.isclose(float(found.quality[b]), quality, rel_tol=1e-4)
        assert math.isclose(float(found.chosen_iou[b]), ious[int(predicted[b].argmax())], rel_tol=1e-5)


def test_what_is_not_valid_counts_nowhere() -> None:
    logits, predicted, target = torch.randn(1, 3, 4, 4), torch.rand(1, 3), torch.zeros(1, 4, 4)
    valid = torch.ones(1, 4, 4, dtype=torch.bool)
    valid[:, 2:] = False
    first = mask_loss(logits, predicted, target, valid)
    logits[:, :, 2:], target[:, 2:] = 50.0, 1.0
    second = mask_loss(logits, predicted, target, valid)
    assert torch.equal(first.mask, second.mask)
    assert torch.equal(first.chosen_iou, second.chosen_iou)


def test_iou_of_two_empty_masks_is_one() -> None:
    empty = torch.zeros(1, 3, 3, dtype=torch.bool)
    assert mask_iou(empty, empty, ~empty).item() == 1


def test_contrastive_loss_equals_a_loop_over_cells() -> None:
    generator = torch.Generator().manual_seed(1)
    similarity = torch.rand(3, 6, generator=generator) * 2 - 1
    foreign = torch.rand(3, 15, generator=generator) * 2 - 1
    positive = torch.tensor([[1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.bool)
    negative = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]], dtype=torch.bool)
    found = contrastive_loss(similarity, positive, negative, foreign, tau=0.1)
    totals = []
    for b in range(2):  # the third has no positive cell
        s = [float(v) / 0.1 for v in similarity[b]]
        rivals = math.log(sum(math.exp(s[i]) for i in range(6) if negative[b, i]))
        strangers = math.log(sum(math.exp(float(v) / 0.1) for v in foreign[b]))
        ours = [s[i] for i in range(6) if positive[b, i]]
        every = sum(math.log(1 + math.exp(rivals - v)) for v in ours) / len(ours)
        soft_highest = math.log(sum(math.exp(v) for v in ours) / len(ours))
        highest = math.log(1 + math.exp(rivals - soft_highest))
        alien = sum(math.log(1 + math.exp(strangers - v)) for v in ours) / len(ours)
        totals.append((every + highest) / 2 + FOREIGN_WEIGHT * alien)
    assert math.isclose(float(found), sum(totals) / 2, rel_tol=1e-4)


def test_no_stranger_is_the_same_as_none_asked_for() -> None:
    similarity, positive = torch.rand(2, 4), torch.tensor([[True, False, False, False]] * 2)
    alone = contrastive_loss(similarity, positive, ~positive)
    assert torch.equal(contrastive_loss(similarity, positive, ~positive, torch.zeros(2, 0)), alone)
    padding = torch.full((2, 5), -10.0)
    torch.testing.assert_close(contrastive_loss(similarity, positive, ~positive, padding), alone)


def test_contrastive_loss_without_any_object_is_zero_and_has_a_gradient() -> None:
    similarity = torch.rand(2, 4, requires_grad=True)
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    loss = contrastive_loss(similarity, nothing, ~nothing)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(similarity.grad, torch.zeros(2, 4))
