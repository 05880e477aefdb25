"""The training passes over one batch: promptable (click, box, correction) and personal (PerSAM's whole way).

The personal pass is `persam.method` itself, in the two ways that mode persam has: with a map of cues, point and box;
with a mere similarity, the cascade.  The trainer's own are the losses, and chance: which way a step goes, which
techniques a view gets, and which wrong points and boxes are forgiven.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from persam.method.learn import TargetFeatures
from persam.method.prior import Prior, box_around, canvas_confidence, prior_from
from persam.method.segment import prompts_at, tight_box
from persam.method.settings import Settings
from persam.models.base import Decoded, EncodedImage, Guidance, Prompts
from persam.models.sam import Sam

from .batches import Batch
from .confidence import (
    PERSAM,
    as_photos,
    confidence_everywhere,
    confidence_loss,
    cues_by,
    fused_cells,
    fused_loss,
    learn_views,
    own_maps,
    share_of,
)
from .losses import mask_loss
from .model import encode_views
from .photos import IGNORE
from .views import OWN

FORGIVEN_BOX = 0.4  # IoU with the object's box below which a box is replaced
JITTER = 0.2  # of the sides of the one in its place


@dataclass(frozen=True)
class Shares:
    """How often a training step does what, and the weight of the contrastive loss.

    The dense prior is given more often than the semantic prompt: measured after 60,000 views of an even mixture, the
    decoder made better masks from it, and worse ones with a semantic prompt than without.
    `forgiven` is the share of points off the object that are moved onto it, lest the points become worthless.
    `point_and_box` is how often the personal pass goes persam's way with a box, as where cues are fused, instead of the
    cascade.
    """

    box: float = 0.35
    single_mask: float = 0.35
    correction: float = 0.4
    cascade: float = 0.9
    third_step: float = 0.5
    negative_point: float = 0.5
    dense: float = 0.85
    semantic: float = 0.35
    attention: float = 0.2
    guided_cascade: float = 0.5
    point_and_box: float = 0.6
    contrastive: float = 0.3
    forgiven: float = 0.6


@dataclass
class StepLoss:
    """The sum to minimise, and figures to report (on the device: reading them early would make it wait)."""

    total: Tensor
    figures: dict[str, Tensor] = field(default_factory=dict)

    def add(self, name: str, decoded: Decoded, target: Tensor, valid: Tensor, weight: float = 1.0) -> None:
        """Add the mask losses of a pass: target and valid (B, S/2, S/2)."""
        loss = mask_loss(decoded.logits, decoded.scores, target, valid)
        self.total = self.total + weight * (loss.mask + loss.quality).mean()
        self.figures[name] = loss.mask.detach().mean()
        self.figures[f"{name}_iou"] = loss.chosen_iou.mean()


def training_step(model: Sam, batch: Batch, random: Random, shares: Shares) -> StepLoss:
    """All passes over a batch; the encoder runs once."""
    views = encode_views(model, batch.images)
    result = StepLoss(views.features.new_zeros(()))
    valid = share_of(batch.masks != IGNORE, 2) > 0.99
    promptable_pass(model, batch, views, valid, result, random, shares)
    personal_pass(model, batch, views, valid, result, random, shares)
    return result


def _target(masks: Tensor, ids: Tensor | int) -> Tensor:
    """Share of every 2 x 2 pixels that a thing covers, (B, S/2, S/2)."""
    ids = ids.view(-1, 1, 1) if isinstance(ids, Tensor) else ids
    return share_of(masks == ids, 2)


def _some(views: EncodedImage, items: slice | list[int]) -> EncodedImage:
    return replace(views, features=views.features[items])


def promptable_pass(
    model: Sam, batch: Batch, views: EncodedImage, valid: Tensor, result: StepLoss, random: Random, shares: Shares
) -> None:
    """SAM's own task: a click or a box, and sometimes a corrective click with the mask so far."""
    target = _target(batch.masks, batch.targets)
    labels = torch.ones_like(batch.points[..., 0], dtype=torch.long)
    if random.random() < shares.box:
        prompts = Prompts(boxes=batch.boxes)
        if random.random() < 0.3:
            prompts = Prompts(points=batch.points, labels=labels, boxes=batch.boxes)
        decoded = model.decode(views, prompts, multimask=random.random() >= 2 * shares.single_mask)
        result.add("box", decoded, target, valid)
    else:
        prompts = Prompts(batch.points, labels)
        decoded = model.decode(views, prompts, multimask=random.random() >= shares.single_mask)
        result.add("click", decoded, target, valid)
    if random.random() < shares.correction:
        half = slice(random.randrange(2), None, 2)
        size = batch.masks.shape[-1]
        before = decoded.best().detach()[half]
        points, new = corrective_points(before[:, 0], target[half], valid[half], size)
        points = torch.cat([batch.points[half], points], 1)
        prompts = Prompts(points, torch.cat([labels[half], new], 1), logits=before)
        decoded = model.decode(_some(views, half), prompts, multimask=random.random() < 0.3)
        result.add("corrected", decoded, target[half], valid[half])


def corrective_points(logits: Tensor, target: Tensor, valid: Tensor, image_size: int) -> tuple[Tensor, Tensor]:
    """A click into what is wrong: logits, target (0..1), valid: (B, h, w) -> points (B, 1, 2), labels (B, 1).

    Where nothing is wrong the label is -1, which SAM reads as no point.
    """
    width = logits.shape[-1]
    wrong = (((logits > 0) != (target > 0.5)) & valid.bool()).flatten(1).float()
    any_wrong = wrong.sum(1) > 0
    place = torch.multinomial(torch.where(any_wrong[:, None], wrong, 1.0), 1)[:, 0]
    y, x = place // width, place % width
    scale = image_size / width
    points = (torch.stack([x, y], -1) + 0.5) * scale
    labels = (target.flatten(1).gather(1, place[:, None])[:, 0] > 0.5).long()
    labels = torch.where(any_wrong, labels, -1)
    return points[:, None], labels[:, None]


# ---------------------------------------------------------------------------------------------- the personal pass


def personal_pass(
    model: Sam, batch: Batch, views: EncodedImage, valid: Tensor, result: StepLoss, random: Random, shares: Shares
) -> None:
    """Each view is segmented with what the other view of its pair tells about the shared object."""
    target = _target(batch.masks, OWN)
    boxed = random.random() < shares.point_and_box
    with torch.autocast(model.device.type, enabled=False):  # persam locates in full precision
        photos = as_photos(batch, views)
        learned = learn_views(model, batch, photos)
        others = [learned[i ^ 1] for i in range(len(photos))]  # as the other view shows the object
        targets = [other.target for other in others]
        every = confidence_everywhere(views, targets)
        cues = [cues_by(other) for other in others]
        similarity = own_maps(every)
        fused = torch.stack([fused_cells(*each) for each in zip(photos, similarity, cues, strict=True)])
        settings = drawn_settings(len(photos), random, shares)
        maps = fused if boxed else similarity
        priors = [
            prior_in(model, photo, cells, alike if boxed else None, own, how)
            for photo, cells, alike, own, how in zip(photos, maps, similarity, targets, settings, strict=True)
        ]
        priors = with_boxes(priors, target, random) if boxed else priors
        contrast, fused_contrast = confidence_loss(batch, photos, every), fused_loss(batch, photos, every, cues, fused)
        on_object, priors = forgiven_points(priors, target, random, shares)
    result.total = result.total + shares.contrastive * (contrast + fused_contrast)
    result.figures |= {"contrast": contrast.detach(), "fused_contrast": fused_contrast.detach()}
    result.figures["boxed_located" if boxed else "located"] = on_object.mean()

    first = first_pass(model, views, priors)
    result.add("boxed" if boxed else "personal", first, target, valid)
    half = slice(random.randrange(2), None, 2)
    if boxed:
        prompts = as_batch([prompts_at(prior, prior.box) for prior in priors[half]])
        result.add("alone", model.decode(_some(views, half), prompts, multimask=True), target[half], valid[half])
    elif random.random() < shares.cascade:
        logits = first.best().detach()[half]
        cascade_pass(model, _some(views, half), priors[half], logits, target[half], valid[half], result, random, shares)


def prior_in(
    model: Sam, photo: EncodedImage, cells: Tensor, alike: Tensor | None, target: TargetFeatures, settings: Settings
) -> Prior:
    """The prior of a target in a view, as `persam.method.prior.prior_of` makes that of a concept in a photo.

    `cells` is the confidence map; `alike` the similarity where that is a map of cues, which alone gives a box.
    """
    frame, size = photo.frame, model.low_resolution
    canvas = canvas_confidence(cells, frame, frame, size)
    similarity = None if alike is None else canvas_confidence(alike, frame, frame, size)
    return prior_from(cells, canvas, None, frame, settings, [target], similarity)


def drawn_settings(count: int, random: Random, shares: Shares) -> list[Settings]:
    """Mode persam for every view, with some techniques switched off; the number of points is that of the batch."""
    points, negative = random.choice((1, 1, 1, 2, 3, 4)), random.random() < shares.negative_point
    return [
        PERSAM.but(
            positive_points=points,
            negative_point=negative,
            dense_prior=random.random() < shares.dense,
            semantic=PERSAM.semantic if random.random() < shares.semantic else "off",
            attention=PERSAM.attention if random.random() < shares.attention else "off",
        )
        for _ in range(count)
    ]


def forgiven_points(priors: list[Prior], target: Tensor, random: Random, shares: Shares) -> tuple[Tensor, list[Prior]]:
    """Move some of the positive points that lie off the object onto it: target is its share of places, (B, h, w).

    With neither a semantic nor a dense prompt a wrong point would teach noise, so it is always moved.
    Returns also whether every view's first point lay on the object, (B,) of 0 or 1.
    """
    height, width = target.shape[1:]
    most = max(len(prior.points) for prior in priors)
    elsewhere = torch.multinomial(target.flatten(1) ** 2 + 1e-9, most, replacement=True).cpu()
    shown = target.cpu().numpy()
    moved, on_object = [], []
    for i, prior in enumerate(priors):
        canvas = np.array(prior.frame.canvas[::-1])
        x, y = ((prior.points + 0.5) * (width, height) / canvas).astype(int).T
        wrong = (prior.labels == 1) & (shown[i, y, x] <= 0.1)
        on_object.append(not wrong[0])
        blind = prior.dense is None and (prior.guidance is None or prior.guidance.semantic is None)
        if blind or random.random() < shares.forgiven:
            places = prior.frame.cell_centres(elsewhere[i, : len(wrong)], (height, width))
            prior = replace(prior, points=np.where(wrong[:, None], places, prior.points))
        moved.append(prior)
    return torch.tensor(on_object, dtype=torch.float32), moved


def with_boxes(priors: list[Prior], target: Tensor, random: Random) -> list[Prior]:
    """The priors; a box that has little to do with the object is replaced by the object's own, about.

    `target` is its share of places, (B, h, w).
    """
    boxed = []
    for prior, shown in zip(priors, target.cpu().numpy(), strict=True):
        truth = box_around(shown > 0.5, prior.frame)
        if truth is not None and prior.box is not None and box_iou(prior.box, truth) < FORGIVEN_BOX:
            sides = np.tile(truth[2:] - truth[:2], 2)
            moved = truth + sides * [random.uniform(-JITTER, JITTER) for _ in range(4)]
            prior = replace(prior, box=moved.clip(-0.5, np.tile(prior.frame.content[::-1], 2) - 0.5))
        boxed.append(prior)
    return boxed


def box_iou(one: np.ndarray, other: np.ndarray) -> float:
    """IoU of two boxes (x0, y0, x1, y1)."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    common = float(sides.clip(min=0).prod())
    return common / max(float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod()) - common, 1e-6)


def first_pass(model: Sam, views: EncodedImage, priors: list[Prior]) -> Decoded:
    """The guided pass from the location prior; in two calls, as some views have a mask prompt and some have none."""
    dense = [i for i, prior in enumerate(priors) if prior.dense is not None]
    bare = [i for i, prior in enumerate(priors) if prior.dense is None]
    passes = []
    for items in filter(None, (dense, bare)):
        some = [priors[i] for i in items]
        prompts = as_batch([prompts_at(prior, prior.box, prior.dense) for prior in some])
        passes.append(model.decode(_some(views, items), prompts, multimask=True, guidance=guidance_of(some, views)))
    back = torch.tensor(dense + bare).argsort()
    logits, scores = (torch.cat([getattr(each, name) for each in passes])[back] for name in ("logits", "scores"))
    return Decoded(logits, scores)


def cascade_pass(
    model: Sam,
    views: EncodedImage,
    priors: list[Prior],
    logits: Tensor,
    target: Tensor,
    valid: Tensor,
    result: StepLoss,
    random: Random,
    shares: Shares,
) -> None:
    """PerSAM's second or third step: the same points, the mask so far (B, 1, S/2, S/2), and then its box."""
    guided = random.random() < shares.guided_cascade

    def refine(items: list[int], logits: Tensor, boxes: Sequence[np.ndarray | None]) -> Decoded:
        some = [priors[i] for i in items]
        prompts = as_batch([prompts_at(priors[i], boxes[i], logits[i : i + 1]) for i in items])
        guidance = Guidance(semantic=guidance_of(some, views).semantic) if guided else None
        return model.decode(_some(views, items), prompts, multimask=True, guidance=guidance)

    every, boxless = list(range(len(priors))), [None] * len(priors)
    if random.random() >= shares.third_step:
        result.add("second", refine(every, logits, boxless), target, valid)
        return
    with torch.no_grad():
        second = refine(every, logits, boxless).best()
    boxes = [tight_box(mask[0], prior.frame, photo=False) for mask, prior in zip(second, priors, strict=True)]
    items = [i for i in every if boxes[i] is not None]  # persam ends where nothing is left to refine
    if items:
        result.add("third", refine(items, second, boxes), target[items], valid[items])


def as_batch(prompts: list[Prompts]) -> Prompts:
    """One prompt each of B photos as B prompts; where a photo has fewer points than others, -1 stands for no point."""

    def joined(name: str) -> Tensor | None:
        values = [getattr(each, name) for each in prompts]
        return None if values[0] is None else torch.cat(values)

    points = pad_sequence([each.points[0] for each in prompts if each.points is not None], batch_first=True)
    labels = [each.labels[0] for each in prompts if each.labels is not None]
    padded = pad_sequence(labels, batch_first=True, padding_value=-1)
    return Prompts(points, padded, joined("boxes"), joined("logits"))


def guidance_of(priors: list[Prior], views: EncodedImage) -> Guidance:
    """The guidance of B priors as one; zeros, which guide nowhere, for those that have none."""
    given = [prior.guidance or Guidance() for prior in priors]
    channels, rows, columns = views.features.shape[1:]
    nowhere, nothing = views.features.new_zeros(1, 1, 1, rows * columns), views.features.new_zeros(channels)
    attention = torch.cat([nowhere if each.attention is None else each.attention for each in given])
    semantic = torch.stack([nothing if each.semantic is None else each.semantic for each in given])
    return Guidance(attention, "before", semantic[:, None, None])
