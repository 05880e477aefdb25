"""The confidence maps of a batch, of the similarity and of cues, and the contrastive loss on both.

The encoder sees a batch at once; every view, with the frame of what is no padding, is learned from and located in as a
photo of its own, by `persam.method` itself.  A map should be higher on the object than beside it, and than anywhere in
views of other pairs, its strangers, where there is no such object.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from persam.geometry import Frame
from persam.method.cues import CueFeatures, cue_maps, cues_of, log_odds
from persam.method.learn import Learned, TargetFeatures, learn_reference
from persam.method.settings import Settings
from persam.models.base import EncodedImage
from persam.models.sam import Sam

from .batches import Batch
from .losses import contrastive_loss
from .photos import IGNORE
from .views import OWN

PERSAM = Settings.of("persam")
WITHOUT_COLOUR = PERSAM.but(colour_cue=False)
STRANGERS = 6  # views of other pairs in which a target must not be found
CUE_STRANGERS = 2  # the same for the map of cues, which is dearer
NUMBERS = {"similarity": 5.0, "nearest": 4.0, "beside": -5.0}  # about what is fitted for the cues; no colour
MOST_CELLS = 128  # of a reference's object, and of its background, that cues compare with


def share_of(pixels: Tensor, side: int) -> Tensor:
    """Share of every `side` x `side` pixels (B, S, S) that are true, (B, S/side, S/side)."""
    return F.avg_pool2d(pixels[:, None].float(), side)[:, 0]


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


def cues_by(learned: Learned) -> CueFeatures:
    """What cues compare with, `MOST_CELLS` of the object and of its background, evenly spread; no colours."""

    def some(cells: Tensor) -> Tensor:
        return cells[:: max(1, -(-len(cells) // MOST_CELLS))]

    cues = cues_of(learned)
    return replace(cues, object_cells=some(cues.object_cells), background_cells=some(cues.background_cells))


def fused_cells(photo: EncodedImage, similarity: Tensor, cues: CueFeatures) -> Tensor:
    """The map of cues of a reference in a view, log odds (rows, columns); its similarity is one of them."""
    return log_odds(cue_maps(photo, similarity, cues, WITHOUT_COLOUR, photo.pixels), NUMBERS, 0.0)


def confidence_loss(batch: Batch, photos: list[EncodedImage], every: Tensor) -> Tensor:
    """Contrastive loss on the confidence maps of targets in their views, and in views of other pairs, where none is.

    By chance two pairs of a batch show the same object or kind. With thousands of things that is rare enough.
    """
    strangers = strangers_of(len(photos)).to(every.device)
    itself = torch.arange(len(photos), device=every.device)[:, None]
    return _contrast(batch, photos, torch.stack(own_maps(every)), strangers, every[itself, strangers], tau=0.1)


def fused_loss(
    batch: Batch, photos: list[EncodedImage], every: Tensor, cues: list[CueFeatures], fused: Tensor
) -> Tensor:
    """The same on the maps of cues, `fused` (B, rows, columns): log odds, so a unit of them is one of the loss."""
    strangers = strangers_of(len(photos), CUE_STRANGERS)
    foreign = fused.new_zeros(*strangers.shape, *fused.shape[1:])
    if foreign.numel():
        pairs = [(i, j) for i, those in enumerate(strangers.tolist()) for j in those]
        foreign = torch.stack([fused_cells(photos[j], every[i, j], cues[i]) for i, j in pairs]).view_as(foreign)
    return _contrast(batch, photos, fused, strangers.to(every.device), foreign, tau=1.0)


def _contrast(
    batch: Batch, photos: list[EncodedImage], maps: Tensor, strangers: Tensor, foreign: Tensor, tau: float
) -> Tensor:
    """`maps` (B, rows, columns), and those in K strangers each (B, K, rows, columns)."""
    inside = torch.stack([photo.frame.inside(device=maps.device) for photo in photos])
    foreign = foreign.masked_fill(~inside[strangers], -100 * tau)  # which is no rival
    side = batch.masks.shape[-1] // maps.shape[-1]
    own, known = share_of(batch.masks == OWN, side), share_of(batch.masks != IGNORE, side) > 0.5
    return contrastive_loss(
        maps.flatten(1),
        (own > 0.5).flatten(1),
        ((own < 0.05) & known & inside).flatten(1),
        foreign.flatten(1),
        tau,
    )


def strangers_of(count: int, most: int = STRANGERS) -> Tensor:
    """The views that each of `count` views is compared with, (B, K): one each of up to `most` other pairs."""
    others = min(most, count // 2 - 1)
    return (torch.arange(count)[:, None] + 2 * torch.arange(1, others + 1)) % count
