"""Find: is a mask the thing, is it seen better from close by, and is there another one (appendix E.5)?

Several concepts of a photo go side by side.  The way of each is told as if it went alone: where it comes to the decoder
it yields a question, and those of all are put in one pass.

The score.  Eq. 11 and the cascade give a mask whether or not the thing is in the photo.  What was found is compared
with the reference from several sides, and the answer is a number, 0..1:

    log score / (1 - score)  =  offset + sum of weight * (sign - its usual value)

where the signs are those of `signs_of`, and the numbers are fitted, encoder by encoder (`models/fitted/`), on as many
photos with the thing as without.  The score is for an album in which `USUAL` of the photos show it.  From afar
(`method/afar.py`) there are signs and numbers of their own: the thing is as large as in its reference or smaller, one
as probable as the other, so the mean of the odds of both counts.  Where nothing was fitted: `similarity_score`.

The places.  The map is highest at what is alike, cell by cell; the score compares the whole of what was found.  So
where it says neither yes nor no, what lies at the next highest places is looked at, too, and that counts for which the
score and the map together speak most.  A model for which nothing was fitted looks at the highest place.

The closer look.  What is small in the photo has few cells of the encoder; a window of the photo has all of them.  What
was found small is looked for again in a window around the peak of the confidence map: the whole method once more.  Of
the two answers the one with the higher score counts, for that compares what was found with the reference; so a model
for which nothing was fitted has no closer look.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from persam.geometry import Size, cut, fit_mask, window_at
from persam.instance import CloserLook, Instance, PixelBox
from persam.method.cues import CueFeatures, identity_of, object_colours
from persam.method.prior import Prior, prior_of, suppressed
from persam.method.redraw import Encode, redrawn
from persam.method.segment import OUTLINE_SIDE, cascade, last_good, photo_mask, presence_in
from persam.method.threshold import NEAR
from persam.models.base import Decoded, EncodedImage, PromptableModel, Question, form_of, joined

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.models.fitted import Fitted

Result = TypeVar("Result")

TOGETHER = 16  # prompts that the decoder takes at once: with 64 x 64 cells they need half a gigabyte
PHOTO_PIXELS = 2**24  # of all maps of a photo's size that are in memory at a time
CELLS_ON_CPU = 16384  # of all prompts of a pass on a CPU: with 64 x 64 cells four, and no faster with more

HOPELESS, SURE = 0.1, 0.75  # scores below and above which what was found is not compared with other places
SAME = 0.8  # IoU with an earlier instance from which on it is the same one (published)

# What a fitted score follows from, see `signs_of`; and the same of what was learned from afar.
_OF_A_VIEW = ("explained", "cells", "explained_cells", "unity", "colour", "contrast", "identity")
SIGNS, SIGNS_FROM_AFAR = ("likeness", *_OF_A_VIEW), tuple(f"{name}_afar" for name in _OF_A_VIEW)
BESIDE = 2  # cells around what was found that its contrast is told against
USUAL = 0.25  # share of an album's photos in which a thing is, before one has looked
MOST_ODDS = 60.0  # log odds beyond which a float's exponential says nothing new
STEEPNESS = 8 * (1 / NEAR - 1)  # of `similarity_score`; the reference itself gets 0.94

# The window's size goes by the photo, not by what was found: cut tightly around a thing it has no surroundings left,
# and what was found may be no more than a part.
WINDOW = 1 / 3  # side of the window, as a share of the photo's longest side
WORTHWHILE = 2 / 3  # a window with a larger share shows hardly more than the photo did
SMALL = 0.02  # share of the photo that a small thing covers at most, at both looks
ALREADY = 0.5  # share of the smaller of two masks that lies in the other, from which on they are one object


# --------------------------------------------------------------------- App. E.5: one object after the other


def find(
    model: PromptableModel,
    image: EncodedImage,
    concepts: Sequence[Concept],
    *,
    most: int = 1,
    threshold: float = 0.0,
    encode: Encode | None = None,
) -> list[list[Instance]]:
    """Up to `most` objects of every concept, the surest first; the first one found whatever its score.

    Several: find the best, take its place out of the confidence map, look again, until what is found has a score under
    the `threshold`.  The image is encoded once, and what a concept finds does not depend on the others, but for
    rounding.

    Args:
        model: the promptable model.
        image: encoded.
        concepts: what is looked for.
        most: objects of each.
        threshold: of the score.
        encode: encodes a part of the photo, (h, w, 3) uint8 RGB, as the photo was, for a closer look, and to draw what
            was found again; None: there is neither, as in the window of a closer look, which is one place, too.
    """
    ways = [_one_after_the_other(model, image, each, most, threshold, encode) for each in concepts]
    return side_by_side(model, image, ways)


def _one_after_the_other(
    model: PromptableModel, image: EncodedImage, concept: Concept, most: int, threshold: float, encode: Encode | None
) -> Generator[Question, Decoded, list[Instance]]:
    """The way of one concept."""
    weights = None if concept.scale_weights is None else torch.tensor(concept.scale_weights)
    prior = prior_of(image, concept, model.low_resolution, tuned=weights is not None)
    settings = concept.settings
    pixels = image.pixels if concept.fitted is not None and concept.fitted.refine else None
    evidence = concept.cues if settings.pixel_evidence else ()
    fewest = 1 if concept.fitted is None or encode is None else settings.places

    def closer(one: Instance, earlier: Sequence[Instance]) -> Instance:
        return one if encode is None else look_closer(one, earlier, model, encode, image, concept)

    seen: list[Instance] = []
    places: list[Tensor] = []
    repeats = 0  # other places that led to what was found already
    while repeats < most:
        steps = yield from cascade(prior, settings, weights)
        result, presence = last_good(steps), presence_in(steps)
        place = result.taken > 0
        if seen and (not bool(place.any()) or _known(place, places)):
            break
        mask = photo_mask(result.taken, prior, pixels, evidence, outline=settings.refine)
        score = score_in(image, concept, prior, mask, presence)
        one = Instance(mask, score, prior.similarity, result.predicted_iou, prior, tuple(steps))
        one = closer(one, seen) if most > 1 else one
        repeated = most > 1 and pixels is not None and bool(_met(one.mask, seen))  # evidence has led back to it
        repeats += repeated
        if not repeated:
            seen.append(one)
            if _is_enough(seen, most, threshold, fewest):
                break
        drawn = _drawn(one.mask, prior)  # evidence or a closer look may have put right what the decoder drew
        places += [place, drawn > 0]
        taken = torch.maximum(drawn, result.taken) if repeated else drawn
        prior = suppressed(prior, taken, concept, tuned=weights is not None)
    found: list[Instance] = []
    for each in _surest(seen, most, threshold):
        one = each if most > 1 else closer(each, [])  # one alone: when it is known which place counts
        again = one
        if encode is not None and one.closer is None:  # a closer look's window has no pixels to spare
            again = redrawn(one, model, encode, image, concept, tuned=weights is not None)
        found.append(_unless_known(again, one, found))
    return found


def _is_enough(seen: Sequence[Instance], most: int, threshold: float, fewest: int) -> bool:
    """Whether no other place is looked at: as many were found as are wanted, or the last one was none of them; but
    `fewest` places are looked at as long as something was found, and nothing surely."""
    if len(seen) < fewest and HOPELESS <= max(one.score for one in seen) < SURE:
        return False
    return seen[-1].score < threshold or sum(one.score >= threshold for one in seen) >= most


def _surest(seen: Sequence[Instance], most: int, threshold: float) -> list[Instance]:
    """At most so many of what was seen, the surest first: from the threshold on, or one, whatever its score."""
    likely = [one for one in seen if one.score >= threshold]
    best = sorted(likely or seen, key=lambda one: -_worth(one))[: most if likely else 1]
    return sorted(best, key=lambda one: -one.score)


def _worth(one: Instance) -> float:
    """What speaks for a place beside others of the photo: the log odds of its score, and the map's there."""
    assert one.prior is not None
    score = min(max(one.score, 1e-9), 1 - 1e-9)
    return math.log(score / (1 - score)) + one.prior.peak


def _unless_known(again: Instance, first: Instance, earlier: Sequence[Instance]) -> Instance:
    """What was drawn again, but the first mask where it has run into something that was found earlier."""
    met = [] if again is first else _met(again.mask, earlier)
    return first if len(_met(first.mask, met)) < len(met) else again


def _met(mask: np.ndarray, earlier: Sequence[Instance]) -> list[Instance]:
    """What was found earlier and is one object with what a mask covers."""
    return [each for each in earlier if _share_in_common(mask, each.mask) >= ALREADY]


def side_by_side(
    model: PromptableModel, image: EncodedImage, ways: Sequence[Generator[Question, Decoded, Result]]
) -> list[Result]:
    """What ways end with that ask the decoder about a photo; what they ask at the same time is asked in one pass.

    Args:
        model: the promptable model.
        image: encoded.
        ways: each yields `Question`s of one prompt and is sent the answers.
    """
    ends: dict[int, Result] = {}
    waiting: dict[int, Question] = {}
    most = prompts_at_once(model)

    def go_on(number: int, answer: Any) -> None:
        try:
            waiting[number] = ways[number].send(answer)
        except StopIteration as end:
            ends[number] = end.value

    for number in range(len(ways)):
        go_on(number, None)
    while waiting:
        alike: defaultdict[Any, list[int]] = defaultdict(list)
        for number, question in waiting.items():
            alike[form_of(question)].append(number)
        asked, waiting = waiting, {}
        for numbers in alike.values():
            for those in (numbers[start : start + most] for start in range(0, len(numbers), most)):
                prompts, multimask, guidance = joined([asked[number] for number in those])
                decoded = model.decode(image, prompts, multimask=multimask, guidance=guidance)
                for number, answer in zip(those, decoded.apart(), strict=True):
                    go_on(number, answer)
    return [ends[number] for number in range(len(ways))]


def concepts_at_once(image: EncodedImage, concepts: Sequence[Concept]) -> int:
    """How many concepts of a photo go side by side: the maps of all stay in memory until the last of them is found."""
    if all(each.settings.map != "photo" for each in concepts):
        return TOGETHER
    height, width = image.frame.photo
    return max(1, min(TOGETHER, PHOTO_PIXELS // (height * width)))


def prompts_at_once(model: PromptableModel) -> int:
    """How many prompts a model's decoder takes in one pass."""
    if model.device.type != "cpu":
        return TOGETHER
    rows, columns = (side // 4 for side in model.low_resolution)
    return max(1, min(TOGETHER, CELLS_ON_CPU // (rows * columns)))


def _drawn(mask: np.ndarray, prior: Prior) -> Tensor:
    """A mask of the photo, (H, W) bool, as logits at the decoder's low resolution, (h, w): all that it touches."""
    size = prior.canvas.shape[0], prior.canvas.shape[1]
    touched = prior.frame.cover(torch.tensor(mask, device=prior.canvas.device), size) > 0
    return touched.float() * 2 - 1


def _known(mask: Tensor, earlier: list[Tensor]) -> bool:
    return any(float((mask & other).sum()) >= SAME * float((mask | other).sum()) for other in earlier)


# ------------------------------------------------------------------------------- the score: is it there at all?


def score_in(
    image: EncodedImage, concept: Concept, prior: Prior, mask: np.ndarray, presence: float | None = None
) -> float:
    """The score of a mask, 0..1: of a concept with fitted numbers by its signs, otherwise by the similarity.

    Without fitted numbers the decoder has a say, if it says whether an object can be seen there: what it does not see
    is not there, however alike the place is. The score then is the lower of both.

    Args:
        image: the photo.
        concept: what was looked for.
        prior: where it is thought to be.
        mask: what was found, (H, W) bool.
        presence: logit that an object can be seen there (`Step.presence`), or None.
    """
    if concept.fitted is None:
        alike = similarity_score(prior.similarity, concept.threshold, concept.own_similarity)
        return alike if presence is None else min(alike, probability(presence))
    return score_of(signs_of(image, concept, prior, mask), concept.fitted)


def probability(odds: float) -> float:
    """The logistic function: of log odds, 0..1."""
    return 1 / (1 + math.exp(-max(-MOST_ODDS, min(MOST_ODDS, odds))))


def score_of(signs: Mapping[str, float], fitted: Fitted) -> float:
    """How probable it is that the concept is what was found, 0..1.

    Args:
        signs: of `signs_of`; one that is missing speaks neither for nor against.
        fitted: the numbers of the concept's encoder.
    """
    odds = _log_odds(signs, fitted.presence, fitted.presence_offset)
    if not signs.keys().isdisjoint(fitted.presence_afar):
        afar = _log_odds(signs, fitted.presence_afar, fitted.presence_afar_offset)
        odds = float(np.logaddexp(odds, afar)) - math.log(2)
    return probability(odds + math.log(USUAL / (1 - USUAL)))


def _log_odds(signs: Mapping[str, float], numbers: Mapping[str, tuple[float, float]], offset: float) -> float:
    """`numbers`: of every sign its weight and its usual value."""
    return offset + sum(weight * (signs.get(name, usual) - usual) for name, (weight, usual) in numbers.items())


def signs_of(image: EncodedImage, concept: Concept, prior: Prior, mask: np.ndarray) -> dict[str, float]:
    """What speaks for and against the concept being what was found.

    Args:
        image: the photo.
        concept: what was looked for.
        prior: where it is thought to be.
        mask: what was found, (H, W) bool.

    Returns:
        `similarity` at the peak; and for a concept with cues: `likeness`, it as a share of the reference's own;
        `explained`, how well the object's cells find their like under the mask; `colour`, overlap of the colours of
        both; `identity`, cosine of both, each seen alone and as a whole (these two with the photo's pixels). How much
        `explained` tells depends on the object: a handful of cells find their like anywhere, and so do cells that are
        all the same. So `cells` is the log of the number kept, `explained_cells` the product of the two, and `unity`
        the mean cosine of the cells with their mean. `contrast` is how much higher the confidence map is under the mask
        than right beside it, log odds: what is only like the thing, a heap of its kind or a table of its colour, goes
        on beyond what was drawn. With several references the one that is explained best counts, the most similar
        colours and the nearest identity; what was learned from afar has signs of its own, `explained_afar` and so on.
    """
    signs = {"similarity": prior.similarity}
    if not concept.cues:
        return signs
    matching = image.other or image
    features = F.normalize(matching.features[0], dim=0)
    if image.pixels is not None:
        mask = fit_mask(mask, image.pixels)  # as small as they are, which is fine enough for cells and colours
    if mask.any():
        cells = matching.frame.cells_under(torch.from_numpy(mask)).to(features.device)
    else:
        cells = _peak_cells(matching, prior)
    colours = None if image.pixels is None else object_colours(image.pixels, mask)
    asked = concept.settings.identity and concept.fitted is not None and concept.fitted.compares_identities
    identity = identity_of(image.pixels, mask) if asked and image.pixels is not None else None
    contrast = {} if prior.alike is None else {"contrast": _contrast(prior, mask)}  # of log odds, not of a similarity
    for suffix, views in (("", concept.views), ("_afar", concept.views_from_afar)):
        kept = concept.cues[views]
        if not kept:
            continue
        explained, best = max(((_explained(features[:, cells], each), each) for each in kept), key=itemgetter(0))
        many = math.log(len(best.object_cells))
        unity = float(best.object_cells.mean(0).norm())
        seen = {"explained": explained, "cells": many, "explained_cells": explained * many, "unity": unity}
        seen |= contrast
        if colours is not None:
            seen["colour"] = max(float(np.sqrt(colours * each.colours.cpu().numpy()).sum()) for each in kept)
        if identity is not None:
            seen["identity"] = max(float(identity @ each.identity.cpu()) for each in kept)
        signs |= {name + suffix: value for name, value in seen.items()}
    signs["likeness"] = prior.similarity * NEAR / max(concept.threshold, 1e-3)
    return signs


def _explained(found: Tensor, kept: CueFeatures) -> float:
    """Mean over the object's cells of the highest cosine with a cell that was found, (D, n) unit features."""
    return float((kept.object_cells.to(found) @ found).amax(1).mean())


def _contrast(prior: Prior, mask: np.ndarray) -> float:
    """Mean of the confidence map under a mask, (h, w) bool, less that of the `BESIDE` cells around it, or 0 if it fills
    the photo."""
    values = prior.cells if prior.whole is None else prior.whole
    under = prior.frame.cells_under(torch.from_numpy(mask)) if mask.any() else (values == values.max()).cpu()
    wide = F.max_pool2d(under[None, None].float(), 2 * BESIDE + 1, stride=1, padding=BESIDE)[0, 0] > 0
    beside = (wide & ~under & prior.frame.inside()).to(values.device)
    return float(values[under.to(values.device)].mean() - values[beside].mean()) if bool(beside.any()) else 0.0


def _peak_cells(matching: EncodedImage, prior: Prior) -> Tensor:
    """The cells where the prior is highest, (rows, columns) bool of the grid of `matching`."""
    cells = prior.cells
    if matching.frame != prior.frame:
        cells = prior.frame.transfer(cells[None, None], matching.frame, matching.frame.grid)[0, 0]
    return cells == cells.max()


def similarity_score(similarity: float, threshold: float, own: float | None = None) -> float:
    """The score of an encoder that nothing was fitted for: 0.5 where the similarity is the concept's own threshold.

    A logistic function of where the similarity lies on the way from the threshold to the reference's `own`, which is
    `NEAR` of the way up if it was not recorded. It ranks; it is not calibrated.
    """
    way = max(threshold, 0.1) * (1 / NEAR - 1) if own is None else max(own - threshold, 1e-6)
    return probability(STEEPNESS * (similarity - threshold) / way)


# --------------------------------------------------------------------------- a closer look at what is small


def detail_side(canvas: Size) -> int:
    """Pixels of a photo's longest side of which a window has as many as a closer look on this canvas can use."""
    return math.ceil(max(*canvas, OUTLINE_SIDE) / WINDOW)


def look_closer(
    one: Instance,
    earlier: Sequence[Instance],
    model: PromptableModel,
    encode: Encode,
    image: EncodedImage,
    concept: Concept,
) -> Instance:
    """Look at an object again that was found, and return the better of the two answers.

    Args:
        one: what was found, with the way to it.
        earlier: what was found before it.
        model: the promptable model.
        encode: encodes a part of the photo, (h, w, 3) uint8 RGB, as the photo was.
        image: the photo, with its `detail`; without, everything stays as it is.
        concept: what is looked for.
    """
    wanted = concept.settings.closer_look
    if image.detail is None or concept.fitted is None or wanted == "off" or (wanted == "small" and one.area > SMALL):
        return one
    window = window_around(one.points()[0], image.detail.shape[:2], image.frame.photo, max(image.frame.canvas))
    if window is None:
        return one
    seen = encode(cut(image.detail, window, image.frame.photo))
    ((found,),) = find(model, seen.of_photo((window[3] - window[1], window[2] - window[0])), [concept])
    if found.score <= one.score or not 0 < found.mask.sum() <= SMALL * one.mask.size:
        return one
    mask = np.zeros(image.frame.photo, bool)
    mask[window[1] : window[3], window[0] : window[2]] = found.mask
    if _met(mask, earlier):  # the peak of what is beside it
        return one
    better = found.score, found.similarity, found.predicted_iou
    return Instance(mask, *better, one.prior, one.steps, CloserLook(window, found))


def window_around(place: np.ndarray, detail: Size, photo: Size, canvas: int) -> PixelBox | None:
    """The window around a place (x, y) of the photo, as (x0, y0, x1, y1) in its pixels, moved to lie within it.

    Args:
        place: in pixels of the photo.
        detail: size (h, w) of the copy of the photo that there is.
        photo: size (H, W) of the photo.
        canvas: side of the model's input; a window has no fewer pixels of the copy, lest it be enlarged.

    Returns:
        None where the copy has so few pixels that a window would show hardly more than the photo did.
    """
    longest = max(detail)
    side = max(WINDOW * longest, canvas)
    if side > WORTHWHILE * longest:
        return None
    return window_at(place, side * max(photo) / longest, photo)


def _share_in_common(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum()) / max(1, min(int(one.sum()), int(other.sum())))
