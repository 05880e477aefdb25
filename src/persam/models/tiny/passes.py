"""The training passes over one batch: promptable (click, box, correction) and personal (PerSAM's whole way)."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import torch
from torch import Tensor
from torch.nn import functional as F

from .architecture import TinySam
from .loader import Batch, normalise
from .losses import contrastive_loss, mask_loss
from .personal import (
    Decoded,
    Prompts,
    box_prompts,
    cell_centres,
    cell_coverage,
    confidence_map,
    decode,
    dense_prior,
    highest_cells,
    standardised,
    target_embedding,
)
from .photos import IGNORE
from .prompts import corrective_points
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
        loss = mask_loss(decoded.logits, decoded.iou, target, valid)
        self.total = self.total + weight * (loss.mask + loss.quality).mean()
        self.figures[name] = loss.mask.detach().mean()
        self.figures[f"{name}_iou"] = loss.chosen_iou.mean()


def training_step(model: TinySam, batch: Batch, random: Random, shares: Shares) -> StepLoss:
    """All passes over a batch; the encoder runs once."""
    features = model.vision_encoder(normalise(batch.images)).float()
    result = StepLoss(features.new_zeros(()))
    valid = F.avg_pool2d((batch.masks != IGNORE)[:, None].float(), 2)[:, 0] > 0.99
    promptable_pass(model, batch, features, valid, result, random, shares)
    personal_pass(model, batch, features, valid, result, random, shares)
    return result


def _target(masks: Tensor, ids: Tensor | int) -> Tensor:
    """Share of every 2 x 2 pixels that a thing covers, (B, S/2, S/2)."""
    ids = ids.view(-1, 1, 1) if isinstance(ids, Tensor) else ids
    return F.avg_pool2d((masks == ids)[:, None].float(), 2)[:, 0]


def promptable_pass(
    model: TinySam, batch: Batch, features: Tensor, valid: Tensor, result: StepLoss, random: Random, shares: Shares
) -> None:
    """SAM's own task: a click or a box, and sometimes a corrective click with the mask so far."""
    target = _target(batch.masks, batch.targets)
    labels = torch.ones_like(batch.points[..., 0], dtype=torch.long)
    if random.random() < shares.box:
        prompts = Prompts(boxes=batch.boxes)
        if random.random() < 0.3:
            prompts = Prompts(points=batch.points, labels=labels, boxes=batch.boxes)
        decoded = decode(model, features, prompts, multimask=random.random() >= 2 * shares.single_mask)
        result.add("box", decoded, target, valid)
    else:
        prompts = Prompts(batch.points, labels)
        decoded = decode(model, features, prompts, multimask=random.random() >= shares.single_mask)
        result.add("click", decoded, target, valid)
    if random.random() < shares.correction:
        half = slice(random.randrange(2), None, 2)
        size = batch.masks.shape[-1]
        points, new = corrective_points(decoded.best()[half, 0], target[half], valid[half], size)
        points = torch.cat([batch.points[half], points], 2)
        prompts = Prompts(points, torch.cat([labels[half], new], 2), masks=decoded.best()[half])
        decoded = decode(model, features[half], prompts, multimask=random.random() < 0.3)
        result.add("corrected", decoded, target[half], valid[half])


def personal_pass(
    model: TinySam, batch: Batch, features: Tensor, valid: Tensor, result: StepLoss, random: Random, shares: Shares
) -> None:
    """Each view is segmented with what the other view of its pair tells about the shared object."""
    size, batch_size = batch.masks.shape[-1], len(features)
    height, width = features.shape[-2:]
    own = cell_coverage(batch.masks == OWN)
    known = cell_coverage(batch.masks != IGNORE) > 0.5
    rows = torch.arange(height, device=features.device) * 8 < batch.frames[:, :1]
    columns = torch.arange(width, device=features.device) * 8 < batch.frames[:, 1:]
    inside = rows[:, :, None] & columns[:, None, :]

    partner = torch.arange(batch_size, device=features.device) ^ 1
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

    prompts, on_object = location_prompts(confidence, inside, own, targets, random, shares, size)
    result.figures["located"] = on_object.float().mean()
    target = _target(batch.masks, OWN)
    first = decode(model, features, prompts)
    result.add("personal", first, target, valid)
    if random.random() < shares.cascade:
        half = slice(random.randrange(2), None, 2)
        cascade_pass(model, features, prompts, first.best(), target, valid, half, result, random, shares)


def cascade_pass(
    model: TinySam,
    features: Tensor,
    prompts: Prompts,
    logits: Tensor,
    target: Tensor,
    valid: Tensor,
    part: slice,
    result: StepLoss,
    random: Random,
    shares: Shares,
) -> None:
    """PerSAM's second or third step for a part of the batch: the same points, the mask so far, and then its box."""
    features, target, valid, logits = features[part], target[part], valid[part], logits[part]
    assert prompts.points is not None
    assert prompts.labels is not None
    points, labels = prompts.points[part], prompts.labels[part]
    guided = prompts.semantic is not None and random.random() < shares.guided_cascade
    semantic = prompts.semantic[part] if guided and prompts.semantic is not None else None
    again = Prompts(points, labels, masks=logits, semantic=semantic)
    if random.random() >= shares.third_step:
        result.add("second", decode(model, features, again), target, valid)
        return
    with torch.no_grad():
        second = decode(model, features, again)
    last = Prompts(points, labels, box_prompts(second), second.best(), semantic=semantic)
    result.add("third", decode(model, features, last), target, valid)


def location_prompts(
    confidence: Tensor, inside: Tensor, own: Tensor, targets: Tensor, random: Random, shares: Shares, size: int
) -> tuple[Prompts, Tensor]:
    """Prompts from a confidence map (B, h, w), as PerSAM makes them, and whether the highest cell is on the object.

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
    prompts = Prompts(
        points=points[:, None].clamp(max=size),
        labels=labels[:, None],
        masks=dense_prior(z_scores),
        used_masks=dense,
        semantic=(targets * semantic[:, None])[:, None, None],
        attention=(z_scores * attention[:, None, None]).flatten(1)[:, None, None],
    )
    return prompts, right[:, 0]
