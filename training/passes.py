"""The training passes over one batch: promptable (click, box, correction) and personal (PerSAM's whole way)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

import torch
from torch import Tensor
from torch.nn import functional as F

from persam.models.base import Decoded, EncodedImage, Prompts
from persam.models.guidance import Guidance
from persam.models.sam import Sam

from .batches import Batch
from .losses import contrastive_loss, mask_loss
from .model import encode_views
from .personal import (
    box_prompts,
    cell_centres,
    cell_coverage,
    cells_inside,
    confidence_map,
    dense_prior,
    highest_cells,
    standardised,
    target_embedding,
)
from .photos import IGNORE
from .views import OWN


@dataclass(frozen=True)
class Shares:
    """How often a training step does what, and the weight of the contrastive loss.

    The dense prior is given more often than the semantic prompt: measured after 60,000 views of an even mixture, the
    decoder made better masks from it, and worse ones with a semantic prompt than without.
    `forgiven` is the share of points off the object that are moved onto it, lest the points become worthless.
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
    valid = F.avg_pool2d((batch.masks != IGNORE)[:, None].float(), 2)[:, 0] > 0.99
    promptable_pass(model, batch, views, valid, result, random, shares)
    personal_pass(model, batch, views, valid, result, random, shares)
    return result


def _target(masks: Tensor, ids: Tensor | int) -> Tensor:
    """Share of every 2 x 2 pixels that a thing covers, (B, S/2, S/2)."""
    ids = ids.view(-1, 1, 1) if isinstance(ids, Tensor) else ids
    return F.avg_pool2d((masks == ids)[:, None].float(), 2)[:, 0]


def _some(views: EncodedImage, items: slice | Tensor) -> EncodedImage:
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


def personal_pass(
    model: Sam, batch: Batch, views: EncodedImage, valid: Tensor, result: StepLoss, random: Random, shares: Shares
) -> None:
    """Each view is segmented with what the other view of its pair tells about the shared object."""
    features = views.features
    height, width = features.shape[-2:]
    own = cell_coverage(batch.masks == OWN)
    known = cell_coverage(batch.masks != IGNORE) > 0.5
    inside = cells_inside(batch.frames, height, width)

    partner = torch.arange(len(features), device=features.device) ^ 1
    targets = target_embedding(features, own)[partner]  # (B, C), of the object as the other view shows it
    confidence = confidence_map(targets, features)
    other_pair = confidence_map(targets.roll(2, 0), features).roll(-2, 0)  # the same targets on another pair's view
    contrast = contrastive_loss(
        confidence.flatten(1),
        (own > 0.5).flatten(1),
        ((own < 0.05) & known & inside).flatten(1),
        other_pair.masked_fill(~inside.roll(-2, 0), -10).flatten(1),
    )
    result.total = result.total + shares.contrastive * contrast
    result.figures["contrast"] = contrast.detach()

    prompts = personal_prompts(confidence, inside, own, targets, random, shares)
    result.figures["located"] = prompts.on_object.float().mean()
    target = _target(batch.masks, OWN)
    first = first_pass(model, views, prompts)
    result.add("personal", first, target, valid)
    if random.random() < shares.cascade:
        half = slice(random.randrange(2), None, 2)
        logits = first.best().detach()[half]
        cascade_pass(
            model, _some(views, half), prompts[half], logits, target[half], valid[half], result, random, shares
        )


@dataclass(frozen=True, eq=False)
class PersonalPrompts:
    """What the confidence map tells the decoder about every view.

    Attributes:
        points: (B, N, 2) pixels; labels: (B, N), 1 object, 0 background.
        prior: z-scored confidence map as a mask prompt, (B, 1, S/2, S/2); with_prior: which views get it, boolean (B,).
        semantic: target embedding (B, 1, 1, C), zero where it is not given.
        attention: z-scored confidence map (B, 1, 1, h*w), zero where it is not given.
        on_object: whether the highest cell lies on the object, boolean (B,).
    """

    points: Tensor
    labels: Tensor
    prior: Tensor
    with_prior: Tensor
    semantic: Tensor
    attention: Tensor
    on_object: Tensor

    def __getitem__(self, items: slice | Tensor) -> PersonalPrompts:
        return PersonalPrompts(**{name: value[items] for name, value in vars(self).items()})


def personal_prompts(
    confidence: Tensor, inside: Tensor, own: Tensor, targets: Tensor, random: Random, shares: Shares
) -> PersonalPrompts:
    """Prompts from a confidence map (B, h, w), as PerSAM makes them.

    Every item draws its own mixture of the semantic, dense and attention prompts; the number of points is that of the
    batch. With neither a semantic nor a dense prompt a wrong point would teach noise, so it is moved onto the object;
    of the others, some are.
    """
    batch_size, width = len(confidence), confidence.shape[-1]
    device = confidence.device

    def drawn(share: float) -> Tensor:
        return torch.rand(batch_size, device=device) < share

    semantic, dense, attention = drawn(shares.semantic), drawn(shares.dense), drawn(shares.attention)
    z_scores = standardised(confidence, inside)
    cells = highest_cells(confidence, inside, random.choice((1, 1, 1, 2, 3, 4)))
    right = own.flatten(1).gather(1, cells) > 0.1
    somewhere = torch.multinomial(own.flatten(1) ** 2 + 1e-9, cells.shape[1], replacement=True)
    blind = ~(semantic | dense) | drawn(shares.forgiven)
    cells = torch.where(blind[:, None] & ~right, somewhere, cells)
    points, labels = cell_centres(cells, width), torch.ones_like(cells)
    if random.random() < shares.negative_point:
        lowest = confidence.detach().masked_fill(~inside, torch.inf).flatten(1).argmin(1, keepdim=True)
        points = torch.cat([points, cell_centres(lowest, width)], 1)
        labels = torch.cat([labels, torch.zeros_like(lowest)], 1)
    return PersonalPrompts(
        points,
        labels,
        prior=dense_prior(z_scores),
        with_prior=dense,
        semantic=(targets * semantic[:, None])[:, None, None],
        attention=(z_scores * attention[:, None, None]).flatten(1)[:, None, None],
        on_object=right[:, 0],
    )


def first_pass(model: Sam, views: EncodedImage, prompts: PersonalPrompts) -> Decoded:
    """The guided pass from the location prior; in two calls, as some views have a mask prompt and some have none."""
    groups = [prompts.with_prior.nonzero()[:, 0], (~prompts.with_prior).nonzero()[:, 0]]
    passes = []
    for items, has_prior in zip(groups, (True, False), strict=True):
        if len(items):
            some = prompts[items]
            given = Prompts(some.points, some.labels, logits=some.prior if has_prior else None)
            guidance = Guidance(some.attention, "before", some.semantic)
            passes.append(model.decode(_some(views, items), given, multimask=True, guidance=guidance))
    back = torch.cat(groups).argsort()
    logits, scores = (torch.cat([getattr(each, name) for each in passes])[back] for name in ("logits", "scores"))
    return Decoded(logits, scores)


def cascade_pass(
    model: Sam,
    views: EncodedImage,
    prompts: PersonalPrompts,
    logits: Tensor,
    target: Tensor,
    valid: Tensor,
    result: StepLoss,
    random: Random,
    shares: Shares,
) -> None:
    """PerSAM's second or third step: the same points, the mask so far (B, 1, S/2, S/2), and then its box."""
    guidance = Guidance(semantic=prompts.semantic) if random.random() < shares.guided_cascade else None
    again = Prompts(prompts.points, prompts.labels, logits=logits)
    if random.random() >= shares.third_step:
        result.add("second", model.decode(views, again, multimask=True, guidance=guidance), target, valid)
        return
    with torch.no_grad():
        second = model.decode(views, again, multimask=True, guidance=guidance).best()
    last = replace(again, boxes=box_prompts(second), logits=second)
    result.add("third", model.decode(views, last, multimask=True, guidance=guidance), target, valid)
