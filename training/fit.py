"""Fit what persam knows about an encoder: how much each cue says, how sure an answer is, whether refinement pays.

    python -m training.fit --data train.tar                                       # the bundled model's packaged numbers
    python -m training.fit --data photos/ --model facebook/sam-vit-base -o fitted.json

On pairs of views that share an object (`training.views`), by logistic regression.  Cues: every cell of a view is on the
object or beside it; what do the cues that were learned from the other view tell about that?  Score: the object of a
view is looked for in the other one, where it is, and in a view of something else; what do the signs tell about that?
Refinement is taken where it makes the masks better, inside and at the boundary.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from persam.concept import Concept
from persam.files import write_text
from persam.method.cues import BINS, cue_maps, histogram
from persam.method.find import SIGNS, SIGNS_FROM_AFAR, score_of, signs_of
from persam.method.prior import confidence_cells
from persam.metrics import auroc, boundary_f, iou
from persam.models.encode_once import encode_once
from persam.models.fitted import PACKAGED, PHOTO_COLOURS, Fitted, key_of
from persam.models.identity.network import identity_fingerprint
from persam.models.loading import BUNDLED
from persam.persam import PerSAM

from .photos import IGNORE, Photos, read_photos
from .views import OWN, View, sample_pair

CUES = ("similarity", "nearest", "beside", "colour")  # that are fitted, of those that there are
CELLS = 60  # of the object, and as many beside it, that one pair gives
FEWEST = 8  # pairs
# The identity's weight, as a share of what is fitted: strangers are of other sets here, and told apart by it more
# easily than what lies beside a thing in a photo. With all of it views of validation photos lose 1.0 of IoU, and a dog
# behind a pole is another one; other weights fitted again beside the half told less when it came.
IDENTITY = 0.5
ON, BESIDE = 0.5, 0.05  # a cell is on the object from this share on that it covers, beside it below that one


@dataclass
class Examples:
    """What was seen, and what is true: columns of numbers by name, 1 or 0, and how much each row counts."""

    columns: dict[str, list[float]] = field(default_factory=dict)
    truth: list[float] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)

    def add(self, rows: Mapping[str, list[float]], truth: bool) -> None:
        """Rows that together count as one example."""
        count = len(next(iter(rows.values())))
        for name, values in rows.items():
            self.columns.setdefault(name, []).extend(values)
        self.truth += [float(truth)] * count
        self.weight += [1 / max(count, 1)] * count


def logistic_regression(examples: Examples, ridge: float = 1e-3) -> tuple[dict[str, float], float]:
    """Weights by name, and the offset; what is true counts as much as what is not, whatever their numbers."""
    table = torch.tensor(list(examples.columns.values()), dtype=torch.double).T
    truth, weight = (torch.tensor(each, dtype=torch.double) for each in (examples.truth, examples.weight))
    for value in (0.0, 1.0):
        weight[truth == value] /= 2 * weight[truth == value].sum()
    centre, spread = table.mean(0), table.std(0).clamp(min=1e-9)
    scaled = (table - centre) / spread
    slopes = torch.zeros(table.shape[1], dtype=torch.double, requires_grad=True)
    offset = torch.zeros((), dtype=torch.double, requires_grad=True)
    optimiser = torch.optim.LBFGS([slopes, offset], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        entropy = F.binary_cross_entropy_with_logits(scaled @ slopes + offset, truth, weight, reduction="sum")
        total = entropy + ridge * slopes.square().sum()
        total.backward()
        return total

    optimiser.step(loss)
    found = slopes.detach() / spread
    names = list(examples.columns)
    return dict(zip(names, found.tolist(), strict=True)), float(offset.detach() - found @ centre)


# -------------------------------------------------------------------------------------------------------- pairs


@dataclass(frozen=True, eq=False)
class Pair:
    """Two views that share the object `OWN`, learned from the first and looked for in the second; and its set."""

    reference: View
    test: View
    source: str


def learnable_pairs(photos: Photos, size: int, count: int, seed: int) -> list[Pair]:
    """Pairs of views in both of which the object can be seen, and does not fill everything."""
    random = Random(seed)
    pairs: list[Pair] = []
    while len(pairs) < count:
        source = photos[photos.draw(random).photo].source
        views = sample_pair(photos, size, random, source=source)
        if all(0 < (view.photo()[1] == OWN).mean() < 1 for view in views):
            pairs.append(Pair(*views, source))
    return pairs


def learned_from(persam: PerSAM, view: View) -> Concept:
    """The object of a view as a concept."""
    image, mask = view.photo()
    return persam.learn(image, mask == OWN)


# --------------------------------------------------------------------------------------------------------- fitting


def cue_examples(persam: PerSAM, pairs: list[Pair]) -> Examples:
    """What the cues learned from the first view of every pair say of cells of the second."""
    examples, chosen = Examples(), np.random.default_rng(0)
    for pair in track(pairs, "cues"):
        concept = learned_from(persam, pair.reference)
        image, mask = pair.test.photo()
        photo = persam.encode(image)
        matching = photo.other or photo
        similarity = confidence_cells(matching.features, concept.targets[concept.views])
        maps = cue_maps(matching, similarity, concept.cues[0], concept.settings, photo.pixels)
        known = matching.frame.inside() & (matching.frame.cover(torch.from_numpy(mask == IGNORE)) < ON)
        share = matching.frame.cover(torch.from_numpy(mask == OWN))
        for places, truth in ((known & (share >= ON), True), (known & (share < BESIDE), False)):
            indices = places.flatten().nonzero()[:, 0].numpy()
            indices = chosen.permutation(indices)[:CELLS]
            if len(indices):
                said = {name: maps[name].flatten()[indices].tolist() for name in CUES if name in maps}
                examples.add(said, truth)
    return examples


def sign_examples(persam: PerSAM, pairs: list[Pair]) -> list[tuple[dict[str, float], bool]]:
    """Signs of what is found of the first view's object in the second, and in a view of another set, which does not
    show it; each with whether it is there."""
    found = []
    for number, pair in enumerate(track(pairs, "signs")):
        concept = learned_from(persam, pair.reference)
        after = pairs[number + 1 :] + pairs[:number]
        # A view of the same set may show the very thing; where there is one set alone, that has to be risked.
        stranger = next((each for each in after if each.source != pair.source), after[0])
        for view, is_there in ((pair.test, True), (stranger.test, False)):
            photo = persam.encode(view.photo()[0])
            trace = persam.segment(photo, concept, explain=True).trace
            assert trace is not None
            assert trace.prior is not None
            found.append((signs_of(photo, concept, trace.prior, trace.mask), is_there))
    return found


def fit_signs(
    seen: Sequence[dict[str, float]], truth: Sequence[bool], names: tuple[str, ...], fewest: int = 2
) -> tuple[dict[str, tuple[float, float]], float]:
    """Weight and usual value of some of the signs, and the offset: `Fitted.presence`; ({}, 0) if fewer than `fewest`
    examples have them."""
    examples = Examples()
    for signs, is_there in zip(seen, truth, strict=True):
        if signs.keys() >= set(names):
            examples.add({name: [signs[name]] for name in names}, is_there)
    if len(examples.truth) < fewest:
        return {}, 0.0
    weights, offset = logistic_regression(examples)
    usual = {name: float(np.mean(values)) for name, values in examples.columns.items()}
    centred = offset + sum(weight * usual[name] for name, weight in weights.items())
    shares = {name: IDENTITY for name in weights if name.startswith("identity")}
    return {name: (weight * shares.get(name, 1.0), usual[name]) for name, weight in weights.items()}, centred


def gain_of_refinement(persam: PerSAM, pairs: list[Pair]) -> tuple[float, float]:
    """How much better masks are with than without it: mean gain of the IoU, and of the boundary's F."""
    assert persam.fitted is not None
    gains = []
    plain, refining = (_with(persam, replace(persam.fitted, refine=refine)) for refine in (False, True))
    for pair in track(pairs, "refinement"):
        image, mask = pair.test.photo()
        masks = [each.segment(image, learned_from(each, pair.reference)).assumed_mask for each in (plain, refining)]
        truth, ignored = mask == OWN, mask == IGNORE
        scores = [(iou(each, truth, ignored), boundary_f(each & ~ignored, truth)) for each in masks]
        gains.append(np.subtract(scores[1], scores[0]))
    inside, boundary = np.mean(gains, axis=0)
    return float(inside), float(boundary)


def fit(persam: PerSAM, pairs: list[Pair]) -> tuple[Fitted, dict[str, float]]:
    """The numbers of the encoder that `persam` finds with, and figures that say how good they are."""
    persam = PerSAM(encode_once(persam.model), settings=persam.settings, encoder=persam.encoder)
    # From afar as well, for which there has to be a number, and none that weighs anything.
    unweighed = dict.fromkeys(SIGNS_FROM_AFAR, (0.0, 0.0))
    nothing = Fitted(
        cues={"similarity": 1.0},
        offset=0.0,
        refine=False,
        presence={},
        presence_offset=0.0,
        presence_afar=unweighed,
        identity=identity_fingerprint(),
    )
    # Two parts of the pairs: what was learned from one would look better there than it is.
    half = len(pairs) // 2
    weights, offset = logistic_regression(cue_examples(_with(persam, nothing), pairs[:half]))
    fitted = replace(nothing, cues=weights, offset=offset)
    inside, boundary = gain_of_refinement(_with(persam, fitted), pairs[: half // 4])
    fitted = replace(fitted, refine=inside > 0 and boundary > 0)
    seen, truth = zip(*sign_examples(_with(persam, fitted), pairs[half:]), strict=True)
    presence, presence_offset = fit_signs(seen, truth, SIGNS)
    afar, afar_offset = fit_signs(seen, truth, SIGNS_FROM_AFAR, 2 * FEWEST)
    fitted = replace(
        fitted, presence=presence, presence_offset=presence_offset, presence_afar=afar, presence_afar_offset=afar_offset
    )
    figures = {
        "pairs": len(pairs),
        "refinement_iou_gain": inside,
        "refinement_boundary_gain": boundary,
        "presence_auroc": auroc(np.array([score_of(signs, fitted) for signs in seen]), np.array(truth)),
    }
    return fitted, figures


def _with(persam: PerSAM, fitted: Fitted) -> PerSAM:
    """The same with other numbers, looking at the highest place alone: without a score no places can be compared."""
    settings = persam.settings.but(places=1)
    return PerSAM(persam.model, settings=settings, encoder=persam.encoder, fitted=fitted)


def colours_of(photos: Photos) -> np.ndarray:
    """How common every colour is in all of the photos, (BINS, BINS, BINS) float16, sums to 1."""
    total = np.zeros((BINS,) * 3)
    for photo in track(photos.photos, "colours"):
        total += histogram(photo.image)
    return (total / total.sum()).astype(np.float16)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m training.fit", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, type=Path, help="tar or folder of SET/STEM.webp with SET/STEM.png")
    add("--objects", type=Path, help="JSON that names the physical things in it; default: not known")
    add("--model", default=BUNDLED, help="as in `persam learn --model`")
    add("--encoder", help="another encoder for the confidence map")
    add("--pairs", default=2000, type=int)
    add("--size", default=224, type=int, help="side of the views, a multiple of 32")
    add("--seed", default=0, type=int)
    add("--colours", action="store_true", help="also count the colours of photos in general")
    add("-o", "--output", default=PACKAGED, type=Path, help="JSON file to add to; default: the packaged one")
    options = parser.parse_args(arguments)
    if options.pairs < FEWEST:
        parser.error(f"--pairs: {FEWEST} at least, for something to be fitted on")
    photos = read_photos(options.data, objects=options.objects)
    if options.colours:
        np.save(PHOTO_COLOURS, colours_of(photos))
    persam = PerSAM.from_pretrained(options.model, encoder=options.encoder)
    fitted, figures = fit(persam, learnable_pairs(photos, options.size, options.pairs, options.seed))
    key = key_of(persam.model, persam.encoder)
    names = {"model": persam.model.name, "encoder": None if persam.encoder is None else persam.encoder.name}
    entries = json.loads(options.output.read_text(encoding="utf-8")) if options.output.exists() else {}
    entries = {other: entry for other, entry in entries.items() if any(entry.get(k) != v for k, v in names.items())}
    entries[key] = {**names, **_rounded(fitted.to_dict()), "figures": _rounded(figures)}
    write_text(options.output, json.dumps(entries, indent=1) + "\n")
    print(json.dumps(entries[key], indent=1))


def _rounded(values: Any) -> Any:
    """Floats with as many digits as mean something, at any depth."""
    if isinstance(values, float):
        return float(f"{values:.5g}")
    if isinstance(values, dict):
        return {key: _rounded(value) for key, value in values.items()}
    return [_rounded(value) for value in values] if isinstance(values, (list, tuple)) else values


if __name__ == "__main__":
    main()
