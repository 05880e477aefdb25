"""How well the bundled model does on photos that it was not trained on, at one image size.

    python -m training.validate --val val.tar --size 128

Four figures. Two are SAM's: IoU of one click (deepest point of an object) and of one box. Two are of `PerSAM` as people
run it (mode persam), on pairs of views that share an object, each learned from the other, made from the photos with a
fixed seed: how often the first point lies on the object, and the IoU of the mask.
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
from persam.models.base import Decoded, Prompts
from persam.models.encode_once import encode_once
from persam.models.sam import Sam
from persam.models.tiny.architecture import PACKAGED_WEIGHTS, TinySam
from persam.persam import PerSAM

from .batches import interior_point
from .losses import mask_iou
from .model import as_sam, encode_views
from .photos import IGNORE, Array, Photos, read_photos
from .views import OWN, PADDING, Mixture, View, sample_pair


@dataclass(frozen=True)
class Examples:
    """Fixed material of a validation: whole photos with prompts, and pairs of views."""

    images: Tensor  # (N, 3, S, S) uint8
    masks: Tensor  # (N, S, S): 1 the object, 0 not, 255 ignored
    points: Tensor  # (N, 1, 2)
    boxes: Tensor  # (N, 4)
    pairs: list[tuple[View, View]]


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
    mixture = Mixture(same_photo=0.35, same_kind=0.15, same_object=0.0)
    drawn = [sample_pair(photos, size, random, mixture) for _ in range(pairs)]
    return Examples(
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
        torch.from_numpy(np.stack(masks)),
        torch.tensor(points)[:, None],
        torch.tensor(boxes, dtype=torch.float32),
        [pair for pair in drawn if all(len(np.unique(view.photo()[1] == OWN)) == 2 for view in pair)],  # learnable
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
    """Every example's figure: click_iou, box_iou (N,), located (0 or 1) and personal_iou (2P,)."""
    model = as_sam(network)
    with torch.no_grad():
        return prompted_figures(model, examples, batch) | personal_figures(model, examples)


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


def personal_figures(model: Sam, examples: Examples) -> dict[str, list[float]]:
    """PerSAM's task, on the pairs: whether the first point lies on the object, and IoU of the mask."""
    persam = PerSAM(encode_once(model))
    figures: dict[str, list[float]] = {"located": [], "personal_iou": []}
    for test, reference in [each for pair in examples.pairs for each in (pair, pair[::-1])]:
        image, mask = reference.photo()
        concept = persam.learn(image, mask == OWN)
        image, mask = test.photo()
        found = persam.segment(image, concept)
        x, y = found.points[0].astype(int)
        figures["located"].append(float(mask[y, x] == OWN))
        masks = (torch.from_numpy(each) for each in (found.assumed_mask, mask == OWN, mask != IGNORE))
        figures["personal_iou"].append(float(mask_iou(*masks)))
    return figures


def _iou(decoded: Decoded, target: Tensor, valid: Tensor) -> list[float]:
    """IoU at the image's size (B,) of the best masks: target and valid (B, S, S) boolean."""
    masks = F.interpolate(decoded.best(), size=target.shape[-2:], mode="bilinear", align_corners=False)[:, 0] > 0
    figures: list[float] = mask_iou(masks, target, valid).tolist()
    return figures


def score(figures: dict[str, list[float]]) -> float:
    """One number to keep the best weights by: the mean of the four figures."""
    return float(np.mean([np.mean(values) for values in figures.values()]))


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m training.validate", description=__doc__)
    parser.add_argument("--val", required=True, type=Path, help="tar or folder of SET/STEM.webp with SET/STEM.png")
    parser.add_argument("--objects", type=Path, help="JSON that names the physical things in it; default: not known")
    parser.add_argument("--weights", default=PACKAGED_WEIGHTS, type=Path, help="default: the packaged weights")
    parser.add_argument("--size", nargs="*", type=int, help="image sizes; default: that of the weights")
    parser.add_argument("--pairs", default=128, type=int)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--record", action="store_true", help="write the figures into the weights, for the model card")
    options = parser.parse_args(arguments)
    if options.record and options.size:
        parser.error("--record takes the weights' own size; leave --size out")
    model, photos = TinySam.load(options.weights), read_photos(options.val, objects=options.objects)
    model.vision_encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for size in options.size or [model.image_size]:
        figures = evaluate(model.resize(size), make_examples(photos, size, options.pairs))
        rows = {name: [*bootstrap_mean(values), len(values)] for name, values in figures.items()}
        if options.record:
            model.save(options.weights, model.history | {"validation": {"size": size, "score": score(figures), **rows}})
        if options.json:
            print(json.dumps({"size": size, "score": score(figures), **rows}))
            continue
        print(f"{size} px, score {score(figures):.3f}")
        for name, (mean, low, high, count) in rows.items():
            print(f"  {name:13} {mean:.3f}  [{low:.3f}, {high:.3f}]  n={count}")


if __name__ == "__main__":
    main()
