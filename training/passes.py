"""The training passes over one batch: promptable (click, box, correction) and personal (PerSAM's whole way).

The personal pass is `persam.method` itself: encoder and decoder see the batch at once, and every view, with the frame
of what is no padding, is learned from and located in as a photo of its own.  The trainer's own are the losses, and
chance: which techniques a view gets, and which wrong points are forgiven.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from persam.geometry import Frame
from persam.method.learn import Learned, TargetFeatures, learn_reference
from persam.method.prior import Prior, canvas_confidence, prior_from
from persam.method.segment import prompts_at, tight_box
from persam.method.settings import Settings
from persam.models.base import Decoded, EncodedImage, Guidance, Prompts
from persam.models.sam import Sam

from .batches import Batch
from .losses import contrastive_loss, mask_loss
from .model import encode_views
from .photos import IGNORE
from .views import OWN

PERSAM = Settings.of("persam")
STRANGERS = 6  # views of other pairs in which a target must not be found


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
    valid = _share(batch.masks != IGNORE, 2) > 0.99
    promptable_pass(model, batch, views, valid, result, random, shares)
    personal_pass(model, batch, views, valid, result, random, shares)
    return result


def _target(masks: Tensor, ids: Tensor | int) -> Tensor:
    """Share of every 2 x 2 pixels that a thing covers, (B, S/2, S/2)."""
    ids = ids.view(-1, 1, 1) if isinstance(ids, Tensor) else ids
    return _share(masks == ids, 2)


def _share(pixels: Tensor, side: int) -> Tensor:
    """Share of every `side` x `side` pixels (B, S, S) that are true, (B, S/side, S/side)."""
    return F.avg_pool2d(pixels[:, None].float(), side)[:, 0]


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
    with torch.autocast(model.device.type, enabled=False):  # persam locates in full precision
        photos = as_photos(batch, views)
        learned = learn_views(model, batch, photos)
        targets = [learned[i ^ 1].target for i in range(len(photos))]  # as the other view shows the object
        every = confidence_everywhere(views, targets)
        settings = drawn_settings(len(photos), random, shares)
        priors = [prior_in(*each, model) for each in zip(photos, own_maps(every), targets, settings, strict=True)]
        contrast = confidence_loss(batch, photos, every)
        on_object, priors = forgiven_points(priors, target, random, shares)
    result.total = result.total + shares.contrastive * contrast
    result.figures["contrast"] = contrast.detach()
    result.figures["located"] = on_object.mean()

    first = first_pass(model, views, priors)
    result.add("personal", first, target, valid)
    if random.random() < shares.cascade:
        half = slice(random.randrange(2), None, 2)
        logits = first.best().detach()[half]
        cascade_pass(model, _some(views, half), priors[half], logits, target[half], valid[half], result, random, shares)


def as_photos(batch: Batch, views: EncodedImage) -> list[EncodedImage]:
    """Every view as a photo of its own, whose frame leaves the padding out."""
    canvas, grid = views.frame.canvas, views.frame.grid
    contents = [(height, width) for height, width in batch.frames.tolist()]
    frames = [Frame(photo=content, content=content, canvas=canvas, grid=grid) for content in contents]
    return [EncodedImage(*each) for each in zip(views.features.split(1), frames, strict=True)]


def learn_views(model: Sam, batch: Batch, photos: list[EncodedImage]) -> list[Learned]:
    """What every view, as a reference, says about the object."""
    contents = [photo.frame.content for photo in photos]
    masks = [mask[:height, :width] == OWN for mask, (height, width) in zip(batch.masks, contents, strict=True)]
    return [learn_reference(model, photo, mask, PERSAM) for photo, mask in zip(photos, masks, strict=True)]


def confidence_everywhere(views: EncodedImage, targets: list[TargetFeatures]) -> Tensor:
    """The confidence map of each of B targets in each of B views, (targets, views, rows, columns).

    They are `confidence_cells` of mode persam, which removes no background, as one product.
    """
    directions = torch.stack([target.direction for target in targets])
    products = views.features.permute(0, 2, 3, 1) @ directions.T
    return products.permute(3, 0, 1, 2) / views.features.norm(dim=1).clamp(min=1e-12)  # fewer to divide than features


def own_maps(every: Tensor) -> tuple[Tensor, ...]:
    """The maps (rows, columns) of B targets, each in its own view."""
    return every.diagonal(dim1=0, dim2=1).unbind(-1)


def prior_in(photo: EncodedImage, cells: Tensor, target: TargetFeatures, settings: Settings, model: Sam) -> Prior:
    """The prior of a target in a view, as `persam.method.prior.prior_of` makes that of a concept in a photo."""
    canvas = canvas_confidence(cells, photo.frame, photo.frame, model.low_resolution)
    return prior_from(cells, canvas, None, photo.frame, settings, [target])


def confidence_loss(batch: Batch, photos: list[EncodedImage], every: Tensor) -> Tensor:
    """Contrastive loss on the confidence maps of targets in their views, and in views of other pairs, where none is.

    By chance two pairs of a batch show the same object or kind. With thousands of things that is rare enough.
    """
    confidence = torch.stack(own_maps(every))
    inside = torch.stack([photo.frame.inside(device=every.device) for photo in photos])
    strangers = strangers_of(len(photos)).to(every.device)
    itself = torch.arange(len(photos), device=every.device)[:, None]
    foreign = every[itself, strangers].masked_fill(~inside[strangers], -10)  # which is no rival
    side = batch.masks.shape[-1] // confidence.shape[-1]
    own, known = _share(batch.masks == OWN, side), _share(batch.masks != IGNORE, side) > 0.5
    return contrastive_loss(
        confidence.flatten(1),
        (own > 0.5).flatten(1),
        ((own < 0.05) & known & inside).flatten(1),
        foreign.flatten(1),
    )


def strangers_of(count: int) -> Tensor:
    """The views that each of `count` views is compared with, (B, K): one each of up to `STRANGERS` other pairs."""
    others = min(STRANGERS, count // 2 - 1)
    return (torch.arange(count)[:, None] + 2 * torch.arange(1, others + 1)) % count


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


def first_pass(model: Sam, views: EncodedImage, priors: list[Prior]) -> Decoded:
    """The guided pass from the location prior; in two calls, as some views have a mask prompt and some have none."""
    dense = [i for i, prior in enumerate(priors) if prior.dense is not None]
    bare = [i for i, prior in enumerate(priors) if prior.dense is None]
    passes = []
    for items in filter(None, (dense, bare)):
        some = [priors[i] for i in items]
        prompts = as_batch([prompts_at(prior, logits=prior.dense) for prior in some])
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
