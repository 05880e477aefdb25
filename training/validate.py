"""How well the bundled model does on photos that it was not trained on, at one image size.

    python -m training.validate --val val.tar --size 128

Four figures: IoU of one click (deepest point of an object) and of one box; how often the highest cell of the
confidence map lies on the object; and the IoU of the whole personal pass (confidence map, location prior, guided
decoding, cascade) on pairs of views that share an object, made from the photos with a fixed seed.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from persam.metrics import bootstrap_mean
from persam.models.base import Decoded, EncodedImage, Prompts
from persam.models.guidance import Guidance
from persam.models.sam import Sam
from persam.models.tiny.architecture import PACKAGED_WEIGHTS, TinySam

from .batches import interior_point
from .losses import mask_iou
from .model import as_sam, encode_views
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
from .photos import IGNORE, Array, Photos, read_photos
from .views import OWN, PADDING, Mixture, View, sample_pair


@dataclass(frozen=True)
class Examples:
    """Fixed material of a validation: whole photos with prompts, and pairs of views."""

    images: Tensor  # (N, 3, S, S) uint8
    masks: Tensor  # (N, S, S): 1 the object, 0 not, 255 ignored
    points: Tensor  # (N, 1, 2)
    boxes: Tensor  # (N, 4)
    pair_images: Tensor  # (2P, 3, S, S)
    pair_masks: Tensor  # (2P, S, S)
    pair_frames: Tensor  # (2P, 2)


def make_examples(photos: Photos, size: int, pairs: int = 128, seed: int = 0) -> Examples:
    """The largest object of every photo with a click and a box, and `pairs` pairs of views."""
    images, masks, points, boxes = [], [], [], []
    for index, photo in enumerate(photos.photos):
        things = [thing for thing in photos.things if thing.photo == index]
        if not things:
            continue
        thing = max(things, key=lambda thing: thing.area)
        image, ids = letterbox(photo.image, photo.mask, size)
        mask = np.where(ids == IGNORE, IGNORE, ids == thing.id).astype(np.uint8)
        if not (mask == 1).any():
            continue
        x, y, w, h = cv2.boundingRect((mask == 1).astype(np.uint8))
        images.append(image)
        masks.append(mask)
        points.append(interior_point(mask == 1))
        boxes.append((x, y, x + w, y + h))
    random = Random(seed)
    mixture = Mixture(same_photo=0.35, same_kind=0.15)
    views: list[View] = [view for _ in range(pairs) for view in sample_pair(photos, size, random, mixture)]
    return Examples(
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
        torch.from_numpy(np.stack(masks)),
        torch.tensor(points)[:, None],
        torch.tensor(boxes, dtype=torch.float32),
        torch.from_numpy(np.stack([view.image for view in views])).permute(0, 3, 1, 2),
        torch.from_numpy(np.stack([view.mask for view in views])),
        torch.tensor([view.frame for view in views]),
    )


def letterbox(image: Array, mask: Array, size: int) -> tuple[Array, Array]:
    """Longer side to `size`, padded at the right and bottom: image (S, S, 3), mask (S, S)."""
    scale = size / max(mask.shape)
    width, height = max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    out = np.empty((size, size, 3), np.uint8)
    out[...] = PADDING
    ids = np.full((size, size), IGNORE, np.uint8)
    out[:height, :width] = cv2.resize(image, (width, height), interpolation=interpolation)
    ids[:height, :width] = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    return out, ids


def evaluate(network: TinySam, examples: Examples, batch: int = 32) -> dict[str, list[float]]:
    """Every example's figure: click_iou, box_iou (N,), located (0 or 1), personal_iou (2P,)."""
    model = as_sam(network)
    with torch.no_grad():
        return prompted_figures(model, examples, batch) | personal_figures(model, examples, batch)


def prompted_figures(model: Sam, examples: Examples, batch: int) -> dict[str, list[float]]:
    """SAM's own task: IoU of a click and of a box, of every photo."""
    figures: dict[str, list[float]] = {"click_iou": [], "box_iou": []}
    for start in range(0, len(examples.images), batch):
        part = slice(start, start + batch)
        views = encode_views(model, examples.images[part].to(model.device))
        masks, points = examples.masks[part].to(model.device), examples.points[part]
        clicks, boxes = Prompts(points, torch.ones(points.shape[:2])), Prompts(boxes=examples.boxes[part])
        for name, prompts in (("click_iou", clicks), ("box_iou", boxes)):
            decoded = model.decode(views, prompts, multimask=name == "click_iou")
            figures[name] += _iou(decoded, masks == 1, masks != IGNORE)
    return figures


def personal_figures(model: Sam, examples: Examples, batch: int) -> dict[str, list[float]]:
    """PerSAM's task, on the pairs: whether the highest cell lies on the object, and IoU of the mask."""
    figures: dict[str, list[float]] = {"located": [], "personal_iou": []}
    for start in range(0, len(examples.pair_images), batch):
        part = slice(start, start + batch)
        views = encode_views(model, examples.pair_images[part].to(model.device))
        masks, frames = examples.pair_masks[part].to(model.device), examples.pair_frames[part].to(model.device)
        located, decoded = personal_segmentation(model, views, masks == OWN, frames)
        figures["located"] += located.float().tolist()
        figures["personal_iou"] += _iou(decoded, masks == OWN, masks != IGNORE)
    return figures


def personal_segmentation(model: Sam, views: EncodedImage, own: Tensor, frames: Tensor) -> tuple[Tensor, Decoded]:
    """PerSAM's way for pairs (2i, 2i+1), each the other's reference: own (B, S, S) boolean, frames (B, 2).

    Returns whether the highest cell lies on the object (B,), and the last decoder pass.
    """
    features = views.features
    height, width = features.shape[-2:]
    coverage, inside = cell_coverage(own), cells_inside(frames, height, width)
    partner = torch.arange(len(features), device=features.device) ^ 1
    targets = target_embedding(features, coverage)[partner]
    confidence = confidence_map(targets, features)
    best = highest_cells(confidence, inside, 1)
    located = coverage.flatten(1).gather(1, best)[:, 0] > 0.5
    lowest = confidence.masked_fill(~inside, torch.inf).flatten(1).argmin(1, keepdim=True)
    points = cell_centres(torch.cat([best, lowest], 1), width)
    labels = torch.tensor([1, 0], device=features.device).expand(len(features), 2)
    guidance = Guidance(semantic=targets[:, None, None])

    def decode(logits: Tensor, boxes: Tensor | None = None) -> Decoded:
        return model.decode(views, Prompts(points, labels, boxes, logits), multimask=True, guidance=guidance)

    first = decode(dense_prior(standardised(confidence, inside)))
    second = decode(first.best()).best()
    return located, decode(second, box_prompts(second))


def _iou(decoded: Decoded, target: Tensor, valid: Tensor) -> list[float]:
    """IoU at the image's size (B,) of the best masks: target and valid (B, S, S) boolean."""
    masks = F.interpolate(decoded.best(), size=target.shape[-2:], mode="bilinear", align_corners=False)[:, 0] > 0
    figures: list[float] = mask_iou(masks, target, valid).tolist()
    return figures


def interval(values: list[float], draws: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Mean and 95 % bootstrap interval."""
    return bootstrap_mean(values, resamples=draws, seed=seed)


def score(figures: dict[str, list[float]]) -> float:
    """One number to keep the best weights by: the mean of the four figures."""
    return float(np.mean([np.mean(values) for values in figures.values()]))


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m training.validate", description=__doc__)
    parser.add_argument("--val", required=True, type=Path, help="tar or folder of SET/STEM.webp with SET/STEM.png")
    parser.add_argument("--weights", default=PACKAGED_WEIGHTS, type=Path, help="default: the packaged weights")
    parser.add_argument("--size", nargs="*", type=int, help="image sizes; default: that of the weights")
    parser.add_argument("--pairs", default=128, type=int)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    model, photos = TinySam.load(options.weights), read_photos(options.val)
    model.vision_encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for size in options.size or [model.image_size]:
        figures = evaluate(model.resize(size), make_examples(photos, size, options.pairs))
        rows = {name: (*interval(values), len(values)) for name, values in figures.items()}
        if options.json:
            print(json.dumps({"size": size, "score": score(figures), **rows}))
            continue
        print(f"{size} px, score {score(figures):.3f}")
        for name, (mean, low, high, count) in rows.items():
            print(f"  {name:13} {mean:.3f}  [{low:.3f}, {high:.3f}]  n={count}")


if __name__ == "__main__":
    main()
