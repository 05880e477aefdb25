"""How well the bundled model does on photos that it was not trained on, at one image size.

    python -m training.validate --val val.tar --size 128

Five figures. Two are SAM's: IoU of one click (deepest point of an object) and of one box. Three are of `PerSAM` as
people run it (mode persam, without what is fitted for an encoder), on pairs of views that share an object, each learned
from the other, made from the photos with a fixed seed: how often the first point lies on the object, the IoU of the
mask, and how well the score tells views with the object from views of another set (AUROC). All but the last are means
over sets.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from persam.concept import Concept
from persam.method.find import similarity_score
from persam.method.prior import prior_of
from persam.method.settings import Settings
from persam.method.threshold import levels_of
from persam.models.base import Decoded, EncodedImage, Prompts
from persam.models.sam import Sam
from persam.models.tiny.architecture import PACKAGED_WEIGHTS, TinySam
from persam.persam import PerSAM

from .batches import interior_point
from .figures import Figure, over_sets, presence, score
from .losses import mask_iou
from .model import as_sam, encode_views
from .photos import IGNORE, Array, Photos, read_photos
from .views import OWN, PADDING, Mixture, View, sample_pair

MIXTURE = Mixture(same_photo=0.3, same_kind=0.15, same_object=0.25)
# Numbers are fitted when training is over: until then every checkpoint is measured without.
UNFITTED = Settings.of("persam").but(nearest_cue=False, background_cue=False, colour_cue=False, refine=False)
FEWEST = 3  # things that a set must have to be asked for pairs: fewer would be the same ones again and again


@dataclass(frozen=True)
class Examples:
    """Fixed material of a validation: whole photos with prompts, and pairs of views."""

    images: Tensor  # (N, 3, S, S) uint8
    masks: Tensor  # (N, S, S): 1 the object, 0 not, 255 ignored
    points: Tensor  # (N, 1, 2)
    boxes: Tensor  # (N, 4)
    sets: list[str]  # (N,), where the photos come from
    pairs: list[tuple[View, View]]  # P
    pair_sets: list[str]  # (P,), where their objects come from


def make_examples(photos: Photos, size: int, pairs: int = 8, seed: int = 0) -> Examples:
    """The largest object of every photo with a click and a box, and `pairs` pairs of views of every set."""
    images, masks, points, boxes, sets = [], [], [], [], []
    for index, shown in photos.by_photo.items():
        photo = photos[index]
        thing = max(shown, key=lambda thing: thing.area)
        image, ids = letterbox(photo.image, photo.mask, size)
        mask = np.where(ids == IGNORE, IGNORE, ids == thing.id).astype(np.uint8)
        if not (mask == 1).any():
            continue
        x, y, w, h = cv2.boundingRect((mask == 1).astype(np.uint8))
        images.append(image)
        masks.append(mask)
        points.append(interior_point(mask == 1))
        boxes.append((x, y, x + w, y + h))
        sets.append(photo.source)
    drawn = {}
    for source, things in photos.by_source.items():
        random = Random(f"{seed} {source}")  # so that another set changes nothing here
        count = pairs if len(things) >= FEWEST else 0
        drawn[source] = [sample_pair(photos, size, random, MIXTURE, source) for _ in range(count)]
    usable = [(pair, source) for source, some in drawn.items() for pair in some if all(map(learnable, pair))]
    return Examples(
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
        torch.from_numpy(np.stack(masks)),
        torch.tensor(points)[:, None],
        torch.tensor(boxes, dtype=torch.float32),
        sets,
        [pair for pair, _ in usable],
        [source for _, source in usable],
    )


def learnable(view: View) -> bool:
    """Whether the shared object is in the view, and something beside it."""
    return len(np.unique(view.photo()[1] == OWN)) == 2


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


def evaluate(network: TinySam, examples: Examples, batch: int = 32) -> dict[str, Figure]:
    """The figures click_iou and box_iou of the photos; located, personal_iou and presence of the pairs."""
    model = as_sam(network)
    with torch.no_grad():
        return prompted_figures(model, examples, batch) | personal_figures(model, examples)


def prompted_figures(model: Sam, examples: Examples, batch: int) -> dict[str, Figure]:
    """SAM's own task: IoU of a click and of a box, on every photo."""
    found: dict[str, list[float]] = {"click_iou": [], "box_iou": []}
    for start in range(0, len(examples.images), batch):
        part = slice(start, start + batch)
        views = encode_views(model, examples.images[part].to(model.device))
        masks, points = examples.masks[part].to(model.device), examples.points[part]
        clicks, boxes = Prompts(points, torch.ones(points.shape[:2])), Prompts(boxes=examples.boxes[part])
        for name, prompts in (("click_iou", clicks), ("box_iou", boxes)):
            decoded = model.decode(views, prompts, multimask=name == "click_iou")
            found[name] += _iou(decoded, masks == 1, masks != IGNORE)
    return {name: over_sets(by_set(values, examples.sets)) for name, values in found.items()}


def personal_figures(model: Sam, examples: Examples, seed: int = 0) -> dict[str, Figure]:
    """PerSAM's task, on the pairs: the first point is on the object, IoU of the mask, and whether it is there at all.

    The two views of a pair are one example, the mean of what either finds in the other. A view without the object is
    one of a random pair of another set; there is no figure of presence where there is one set alone, and none of the
    three where there is no pair.
    """
    if not examples.pairs:
        return {}
    random, persam = Random(seed), PerSAM(model, settings=UNFITTED)
    views = [view.photo() for pair in examples.pairs for view in pair]
    sets = [source for source in examples.pair_sets for _ in range(2)]
    concepts = [persam.learn(image, mask == OWN) for image, mask in views]
    # Weights for which nothing was fitted yet are measured as those are for which something was.
    concepts = [replace(concept, **levels_of(concept.material, calibrated=False)) for concept in concepts]
    encoded = [concept.material[0].image for concept in concepts]
    located, ious, asked = [], [], []
    for i, concept in enumerate(concepts):
        _, mask = views[i ^ 1]
        found = persam.segment(encoded[i ^ 1], concept)
        x, y = found.points[0].astype(int)
        located.append(float(mask[y, x] == OWN))
        masks = (torch.tensor(each) for each in (found.assumed_mask, mask == OWN, mask != IGNORE))
        ious.append(float(mask_iou(*masks)))
        others = [j for j, source in enumerate(sets) if source != sets[i]]
        if others:
            absent = score_in(model, encoded[random.choice(others)], concept)
            asked += [(found.score, True, i // 2), (absent, False, i // 2)]
    figures = {
        name: over_sets(by_set(np.reshape(values, (-1, 2)).mean(1).tolist(), examples.pair_sets))
        for name, values in (("located", located), ("personal_iou", ious))
    }
    return figures | ({"presence": presence(*zip(*asked, strict=True))} if asked else {})


def score_in(model: Sam, image: EncodedImage, concept: Concept) -> float:
    """The score that `PerSAM.segment` gives, without the decoder's passes, on which it does not depend."""
    prior = prior_of(image, concept, model.low_resolution, tuned=False)
    return similarity_score(prior.similarity, concept.threshold, concept.own_similarity)


def by_set(values: list[float], sets: list[str]) -> dict[str, list[float]]:
    """Values (N,) of the examples, by the sets (N,) that these come from."""
    groups: dict[str, list[float]] = defaultdict(list)
    for value, source in zip(values, sets, strict=True):
        groups[source].append(value)
    return dict(groups)


def _iou(decoded: Decoded, target: Tensor, valid: Tensor) -> list[float]:
    """IoU at the image's size (B,) of the best masks: target and valid (B, S, S) boolean."""
    masks = F.interpolate(decoded.best(), size=target.shape[-2:], mode="bilinear", align_corners=False)[:, 0] > 0
    figures: list[float] = mask_iou(masks, target, valid).tolist()
    return figures


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m training.validate", description=__doc__)
    parser.add_argument("--val", required=True, type=Path, help="tar or folder of SET/STEM.webp with SET/STEM.png")
    parser.add_argument("--objects", type=Path, help="JSON that names the physical things in it; default: not known")
    parser.add_argument("--weights", default=PACKAGED_WEIGHTS, type=Path, help="default: the packaged weights")
    parser.add_argument("--size", nargs="*", type=int, help="image sizes; default: that of the weights")
    parser.add_argument("--pairs", default=8, type=int, help="pairs of views of every set; default: 8")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--record", action="store_true", help="write the figures into the weights, for the model card")
    options = parser.parse_args(arguments)
    if options.record and options.size:
        parser.error("--record takes the weights' own size; leave --size out")
    model, photos = TinySam.load(options.weights), read_photos(options.val, objects=options.objects)
    model.vision_encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for size in options.size or [model.image_size]:
        figures = evaluate(model.resize(size), make_examples(photos, size, options.pairs))
        if options.record:
            model.save(
                options.weights, model.history | {"validation": {"size": size, "score": score(figures), **figures}}
            )
        if options.json:
            print(json.dumps({"size": size, "score": score(figures), **figures}))
            continue
        print(f"{size} px, score {score(figures):.3f}")
        for name, (mean, low, high, count) in figures.items():
            print(f"  {name:13} {mean:.3f}  [{low:.3f}, {high:.3f}]  n={count}")


if __name__ == "__main__":
    main()
