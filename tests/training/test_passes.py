from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch
from tests.fakes import SMALL_TINY

from persam.method.prior import Prior, confidence_cells, prior_of
from persam.method.segment import decode_at_prior, prompts_at
from persam.models.base import EncodedImage, Guidance, Prompts
from persam.models.fitted import Fitted
from persam.models.sam import Sam
from persam.models.tiny.architecture import TinySam
from persam.persam import PerSAM
from training.batches import Batch, make_batch
from training.confidence import (
    CUE_STRANGERS,
    NUMBERS,
    PERSAM,
    STRANGERS,
    as_photos,
    confidence_everywhere,
    confidence_loss,
    cues_by,
    fused_cells,
    fused_loss,
    learn_views,
    own_maps,
    strangers_of,
)
from training.model import as_sam, encode_views
from training.passes import (
    FORGIVEN_BOX,
    JITTER,
    Shares,
    as_batch,
    box_iou,
    corrective_points,
    first_pass,
    forgiven_points,
    prior_in,
    training_step,
    with_boxes,
)
from training.photos import Photos
from training.views import OWN, View


@pytest.fixture
def model() -> Sam:
    torch.manual_seed(0)
    return as_sam(TinySam(SMALL_TINY))


@pytest.fixture
def batch(photos: Photos) -> Batch:
    return make_batch(photos, 64, 6, Random(1))


def _first(batch: Batch, count: int) -> Batch:
    return Batch(**{name: value[:count] for name, value in vars(batch).items()})


def _view(batch: Batch, i: int) -> View:
    height, width = batch.frames[i].tolist()
    return View(batch.images[i].permute(1, 2, 0).numpy(), batch.masks[i].numpy(), (height, width))


def test_a_view_is_learned_and_located_as_persam_does(model: Sam, batch: Batch) -> None:
    """Target, confidence map, points, dense prior and guidance are those of `PerSAM`, padded views included."""
    persam = PerSAM(model)
    assert persam.settings == PERSAM
    count = len(batch.images)
    assert (batch.frames != 64).any()
    images, masks = zip(*(_view(batch, i).photo() for i in range(count)), strict=True)
    encoded = [persam.encode(image) for image in images]
    views = EncodedImage(torch.cat([each.features for each in encoded]), model.frame((64, 64)))
    photos = as_photos(batch, views)
    learned = learn_views(model, batch, photos)
    maps = own_maps(confidence_everywhere(views, [learned[i ^ 1].target for i in range(count)]))
    for i in range(count):
        assert photos[i].frame == encoded[i].frame
        concept = persam.learn(images[i ^ 1], masks[i ^ 1] == OWN)
        for part, value in vars(concept.targets[0]).items():
            torch.testing.assert_close(getattr(learned[i ^ 1].target, part), value)
        for settings in (PERSAM, PERSAM.but(positive_points=3, negative_point=True)):
            expected = prior_of(encoded[i], replace(concept, settings=settings), model.low_resolution, tuned=False)
            prior = prior_in(model, photos[i], maps[i], None, learned[i ^ 1].target, settings)
            assert prior.guidance is not None
            assert expected.guidance is not None
            assert prior.dense is not None
            torch.testing.assert_close(prior.cells, expected.cells)
            torch.testing.assert_close(prior.canvas, expected.canvas)
            torch.testing.assert_close(prior.dense, expected.dense)
            torch.testing.assert_close(prior.guidance.attention, expected.guidance.attention)
            torch.testing.assert_close(prior.guidance.semantic, expected.guidance.semantic)
            assert prior.guidance.where == expected.guidance.where == "before"
            # Two pixels of the map lie beyond the outermost centres of cells: alike but for rounding.
            np.testing.assert_allclose(prior.points, expected.points, atol=2)
            assert np.array_equal(prior.labels, expected.labels)


def test_a_view_is_located_by_cues_as_persam_does(model: Sam, batch: Batch) -> None:
    """Map, point, box, dense prior and attention are those of `PerSAM` with such numbers, without colour."""
    persam = PerSAM(model, fitted=Fitted(NUMBERS, 0.0, False, {}, 0.0))
    images, masks = zip(*(_view(batch, i).photo() for i in range(6)), strict=True)
    encoded = [replace(persam.encode(image), pixels=None) for image in images]
    views = EncodedImage(torch.cat([each.features for each in encoded]), model.frame((64, 64)))
    photos = as_photos(batch, views)
    learned = learn_views(model, batch, photos)
    maps = own_maps(confidence_everywhere(views, [learned[i ^ 1].target for i in range(6)]))
    for i in range(6):
        concept = persam.learn(images[i ^ 1], masks[i ^ 1] == OWN)
        concept = replace(concept, settings=PERSAM.but(colour_cue=False))
        expected = prior_of(encoded[i], concept, model.low_resolution, tuned=False)
        cells = fused_cells(photos[i], maps[i], cues_by(learned[i ^ 1]))
        prior = prior_in(model, photos[i], cells, maps[i], learned[i ^ 1].target, PERSAM)
        torch.testing.assert_close(prior.cells, expected.cells)
        assert prior.box is not None
        assert expected.box is not None
        np.testing.assert_allclose(prior.box, expected.box)
        np.testing.assert_allclose(prior.points, expected.points)
        torch.testing.assert_close(prior.dense, expected.dense)
        assert prior.guidance is not None
        assert expected.guidance is not None
        torch.testing.assert_close(prior.guidance.attention, expected.guidance.attention)


def test_gradients_reach_the_features_of_both_views(model: Sam, batch: Batch) -> None:
    batch = _first(batch, 2)
    views = encode_views(model, batch.images)
    features = views.features.detach().requires_grad_()
    views = replace(views, features=features)
    photos = as_photos(batch, views)
    targets = [each.target for each in learn_views(model, batch, photos)][::-1]
    every = confidence_everywhere(views, targets)
    settings = PERSAM.but(positive_points=4, negative_point=True)
    prior = prior_in(model, photos[0], own_maps(every)[0], None, targets[0], settings)
    assert prior.guidance is not None
    for value in (prior.dense, prior.guidance.attention):
        assert value is not None
        (gradient,) = torch.autograd.grad((value**3).sum(), features, retain_graph=True)
        assert torch.isfinite(gradient).all()
        assert (gradient.flatten(1).abs().sum(1) > 0).all()  # of the view, and of its reference
    assert prior.guidance.semantic is not None
    (gradient,) = torch.autograd.grad(prior.guidance.semantic.sum(), features, retain_graph=True)
    assert (gradient.flatten(1).abs().sum(1) > 0).tolist() == [False, True]
    (gradient,) = torch.autograd.grad(confidence_loss(batch, photos, every), features, retain_graph=True)
    assert (gradient.flatten(1).abs().sum(1) > 0).all()
    cues = [cues_by(each) for each in learn_views(model, batch, photos)][::-1]
    fused = torch.stack([fused_cells(*each) for each in zip(photos, own_maps(every), cues, strict=True)])
    (gradient,) = torch.autograd.grad(fused_loss(batch, photos, every, cues, fused), features)
    assert (gradient.flatten(1).abs().sum(1) > 0).all()


@pytest.mark.parametrize("count", [2, 4, 6, 14, 32])
def test_strangers_are_of_as_many_other_pairs_as_there_are(count: int) -> None:
    strangers = strangers_of(count)
    assert strangers.shape == (count, min(STRANGERS, count // 2 - 1))
    for i, others in enumerate(strangers.tolist()):
        pairs = {other // 2 for other in others}
        assert len(pairs) == len(others)
        assert i // 2 not in pairs
        assert all(0 <= other < count for other in others)


def test_targets_are_compared_with_views_as_persam_compares(model: Sam, batch: Batch) -> None:
    views = encode_views(model, batch.images)
    photos = as_photos(batch, views)
    targets = [each.target for each in learn_views(model, batch, photos)]
    every = confidence_everywhere(views, targets)
    for i, target in enumerate(targets):
        for j, photo in enumerate(photos):
            torch.testing.assert_close(every[i, j], confidence_cells(photo.features, [target]))
        assert torch.equal(own_maps(every)[i], every[i, i])


def test_the_contrast_is_with_strangers_alone_and_not_with_padding(model: Sam, batch: Batch) -> None:
    """What a map says of a view that is no stranger, and of what is no photo, changes nothing."""
    views = encode_views(model, batch.images)
    photos = as_photos(batch, views)
    every = torch.rand(6, 6, 8, 8).requires_grad_()
    (gradient,) = torch.autograd.grad(confidence_loss(batch, photos, every), every)
    strangers = strangers_of(6)
    for i in range(6):
        for j in range(6):
            reached, inside = gradient[i, j] != 0, photos[j].frame.inside()
            if j in strangers[i]:
                assert torch.equal(reached, inside & gradient[i].any())
            elif i != j:
                assert not reached.any()


def test_the_contrast_of_cues_falls_where_strangers_are_less_alike(model: Sam, batch: Batch) -> None:
    """It rises with what the maps say in strangers and beside the object, and falls with what they say on it."""
    views = encode_views(model, batch.images)
    photos = as_photos(batch, views)
    learned = learn_views(model, batch, photos)
    cues = [cues_by(learned[i ^ 1]) for i in range(6)]
    every = torch.zeros(6, 6, 8, 8).requires_grad_()
    fused = torch.zeros(6, 8, 8).requires_grad_()
    loss = fused_loss(batch, photos, every, cues, fused)
    by_similarity, by_map = torch.autograd.grad(loss, (every, fused))
    strangers = strangers_of(6, CUE_STRANGERS)
    for i in range(6):
        for j in range(6):
            reached = by_similarity[i, j] != 0
            assert torch.equal(reached, photos[j].frame.inside() & torch.tensor(j in strangers[i]) & by_map[i].any())
        assert (by_similarity[i] >= 0).all()
        own = torch.nn.functional.avg_pool2d((batch.masks[i : i + 1] == OWN).float(), 8)[0]
        assert (by_map[i][own > 0.5] <= 0).all()
        assert (by_map[i][own == 0] >= 0).all()


def test_a_lone_pair_has_no_strangers(model: Sam, batch: Batch) -> None:
    batch = _first(batch, 2)
    views = encode_views(model, batch.images)
    photos = as_photos(batch, views)
    learned = learn_views(model, batch, photos)
    every = confidence_everywhere(views, [learned[i ^ 1].target for i in range(2)])
    cues = [cues_by(learned[i ^ 1]) for i in range(2)]
    fused = torch.stack([fused_cells(*each) for each in zip(photos, own_maps(every), cues, strict=True)])
    assert torch.isfinite(fused_loss(batch, photos, every, cues, fused))


@pytest.mark.parametrize("point_and_box", [0.0, 1.0])
def test_a_step_goes_one_of_the_two_ways(model: Sam, batch: Batch, point_and_box: float) -> None:
    with torch.no_grad():
        figures = training_step(model, batch, Random(0), Shares(cascade=1.0, point_and_box=point_and_box)).figures
    with_box, cascade = {"boxed", "alone", "boxed_located"}, {"personal", "located"}
    here, not_here = (with_box, cascade) if point_and_box else (cascade, with_box)
    assert here <= figures.keys()
    assert not_here.isdisjoint(figures)
    assert bool({"second", "third"} & figures.keys()) != bool(point_and_box)
    assert all(torch.isfinite(figure) for figure in figures.values())


def test_wrong_boxes_become_the_objects_own_about(model: Sam, batch: Batch) -> None:
    _, priors = _priors(model, batch, "dddd")
    target = torch.zeros(4, 32, 32)
    target[:2, 4:12, 6:20] = 1  # not to be seen in the third
    truth = np.array([12, 8, 40, 24]) - 0.5
    near, far = truth + np.array([1, -1, 2, 0]), np.array([40.0, 30.0, 60.0, 50.0])
    priors = [replace(prior, box=box) for prior, box in zip(priors[:3], (near, far, far), strict=True)]
    kept, replaced, unknown = with_boxes(priors, target[:3], Random(0))
    assert kept is priors[0]
    assert unknown is priors[2]
    assert replaced.box is not None
    assert not np.array_equal(replaced.box, truth)
    assert (np.abs(replaced.box - truth) <= JITTER * np.array([28, 16, 28, 16]) + 1e-9).all()
    assert box_iou(replaced.box, truth) > FORGIVEN_BOX


def test_the_iou_of_boxes() -> None:
    one = np.array([0.0, 0.0, 4.0, 2.0])
    assert box_iou(one, one) == 1
    assert box_iou(one, np.array([2.0, 0.0, 6.0, 2.0])) == pytest.approx(4 / 12)
    assert box_iou(one, np.array([5.0, 5.0, 6.0, 6.0])) == 0
    assert box_iou(one, np.array([4.0, 2.0, 6.0, 6.0])) == 0
    assert box_iou(np.zeros(4), np.zeros(4)) == 0


def _priors(model: Sam, batch: Batch, forms: str) -> tuple[EncodedImage, list[Prior]]:
    """One prior for each letter: d dense, s semantic, a attention, A all, 0 none."""
    batch = _first(batch, len(forms))
    views = encode_views(model, batch.images)
    photos = as_photos(batch, views)
    learned = learn_views(model, batch, photos)
    priors = []
    for i, form in enumerate(forms):
        settings = PERSAM.but(
            positive_points=1 + i % 3,  # so that some are filled up
            dense_prior=form in "dA",
            semantic="mean" if form in "sA" else "off",
            attention="logits" if form in "aA" else "off",
        )
        target = learned[i ^ 1].target
        cells = confidence_cells(photos[i].features, [target])
        priors.append(prior_in(model, photos[i], cells, None, target, settings))
    return views, priors


def test_every_view_gets_its_own_prompts(model: Sam, batch: Batch) -> None:
    """What the batch is told is what the method tells each alone; places filled up with "no point" are SAM's own."""
    views, priors = _priors(model, batch, "Asda0d")
    mixed = first_pass(model, views, priors)
    assert mixed.logits.shape == (6, 3, 32, 32)
    for i, prior in enumerate(priors):
        view = replace(views, features=views.features[i : i + 1])
        most = max(len(other.points) for other in priors if (other.dense is None) == (prior.dense is None))
        spare = most - len(prior.points)
        filled = replace(
            prior,
            points=np.concatenate([prior.points, np.zeros((spare, 2))]),
            labels=np.concatenate([prior.labels, np.full(spare, -1)]),
        )
        alone = decode_at_prior(model, view, filled, multimask=True)
        torch.testing.assert_close(mixed.logits[i : i + 1], alone.logits, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(mixed.scores[i : i + 1], alone.scores, atol=1e-5, rtol=1e-4)


def test_views_without_guidance_are_decoded_as_if_there_were_none(model: Sam, batch: Batch) -> None:
    for form in ("0", "d"):
        views, priors = _priors(model, batch, 2 * form)
        prompts = as_batch([prompts_at(prior, logits=prior.dense) for prior in priors])
        unguided = model.decode(views, prompts, multimask=True)
        torch.testing.assert_close(first_pass(model, views, priors).logits, unguided.logits, rtol=1e-4, atol=1e-5)
        guided = [replace(prior, guidance=Guidance(semantic=torch.randn(32))) for prior in priors]
        assert not torch.allclose(first_pass(model, views, guided).logits, unguided.logits)


def test_prompts_of_different_lengths_become_one_batch() -> None:
    short = Prompts(torch.ones(1, 1, 2), torch.ones(1, 1), torch.rand(1, 4), torch.rand(1, 1, 8, 8))
    long = Prompts(torch.ones(1, 3, 2), torch.tensor([[1, 1, 0]]), torch.rand(1, 4), torch.rand(1, 1, 8, 8))
    both = as_batch([short, long])
    assert both.labels is not None
    assert both.points is not None
    assert both.points.shape == (2, 3, 2)
    assert both.labels.tolist() == [[1, -1, -1], [1, 1, 0]]
    assert both.boxes is not None
    assert torch.equal(both.boxes[1:], long.boxes if long.boxes is not None else both.boxes)
    assert as_batch([replace(short, boxes=None)]).boxes is None


def test_wrong_points_are_moved_onto_the_object(model: Sam, batch: Batch) -> None:
    _, priors = _priors(model, batch, "00dd")
    labels = np.array([1, 1, 0])
    at = np.array([[4.5, 4.5], [50.5, 30.5], [60.5, 2.5]])  # on the object, off it, and a negative one
    priors = [replace(prior, points=points, labels=labels) for prior, points in zip(priors, 4 * [at], strict=True)]
    priors[1] = replace(priors[1], points=at[[1, 0, 2]])
    target = torch.zeros(4, 32, 32)
    target[:, :4, :4] = 1
    on_object, moved = forgiven_points(priors, target, Random(0), Shares(forgiven=0.0))
    assert on_object.tolist() == [1, 0, 1, 1]
    for i, wrong in ((0, 1), (1, 0)):  # blind: nothing but their points tells where the object is
        right = [place for place in range(3) if place != wrong]
        assert np.array_equal(moved[i].points[right], priors[i].points[right])
        assert (moved[i].points[wrong] < 8).all()
    assert all(np.array_equal(moved[i].points, at) for i in (2, 3))
    _, moved = forgiven_points(priors, target, Random(0), Shares(forgiven=1.0))
    assert all((prior.points[:2] < 8).all() for prior in moved)


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
