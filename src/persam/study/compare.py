"""Run a study: the model is shown each annotator's mask of one photo and looks for the object in the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from persam.concept import Concept
from persam.errors import PersamError, UsageError
from persam.images import read_image
from persam.metrics.functional.overlap import iou
from persam.models.encode_once import encode_once
from persam.persam import PerSAM
from persam.reference import Reference
from persam.segmentation import Segmentation, mask_rle
from persam.study.agreement import Coincidences, majority, pairwise_iou, staple
from persam.study.checks import Problem, read_study_mask, too_few_photos
from persam.study.layout import GOLD, Study, StudyCategory
from persam.study.results import GOLD_TRUTH, MAJORITY, OWN, STAPLE, RatedPhoto, StudyAnswer, StudyResult

METHODS = ("persam", "persam-f")
FIRST = "first"


def run(
    study: Study,
    persam: PerSAM,
    *,
    method: str = "persam",
    reference: str = FIRST,
    progress: Callable[[], object] | None = None,
) -> StudyResult:
    """Compare the model with every annotator, and the annotators with each other.

    In each category and for each annotator, the reference is that annotator's own mask of the reference photo; the
    model's masks of all other photos are measured against that annotator's own masks of them. A photo is encoded once
    for all annotators. What is missing or cannot be used is left out and named in the result.

    Args:
        study: what `read` found.
        persam: the model, in the mode that is wanted.
        method: ``persam``, or ``persam-f`` with tuned scale weights.
        reference: the photo that the model is shown: ``first`` by name, or the name of a photo in every category.
        progress: called after every photo.

    Raises:
        UsageError: no such method, the model does not have the mode, or a category has no photo of the reference's
            name.
        PersamError: no mask of the study can be compared with anything, or SimpleITK is missing.
    """
    if method not in METHODS:
        raise UsageError(f'There is no method "{method}"; use {" or ".join(METHODS)}.')
    references = {category.name: _reference_of(category, reference) for category in study.categories}
    encoder = None if persam.encoder is None else encode_once(persam.encoder)
    model = PerSAM(encode_once(persam.model), encoder=encoder, settings=persam.settings)
    answers: list[StudyAnswer] = []
    rated: list[RatedPhoto] = []
    left_out: list[Problem] = []
    for category in study.categories:
        shown = references[category.name]
        concepts: dict[str, Concept] = {}
        if len(category.photos) < 2:
            left_out.append(too_few_photos(category))
        for photo, pixels in _photos(category, shown, left_out, progress):
            masks, gold = _masks(study, category, photo, (pixels.shape[0], pixels.shape[1]), left_out)
            truths = Truths.of(masks, gold)
            rated.append(_rate(category, photo, masks, truths, is_reference=photo == shown))
            if photo == shown:
                concepts = _learn(model, method, category, photo, pixels, masks, left_out)
            else:
                answers += _answers(model, category, photo, pixels, concepts, masks, truths)
    if not any(photo.areas for photo in rated):
        raise PersamError(f"There is no mask in {study.folder} that can be used; see `persam study check`.")
    names = {category: photo.stem for category, photo in references.items() if photo is not None}
    return StudyResult(study, _describe(persam, method), names, tuple(answers), tuple(rated), tuple(left_out))


@dataclass(frozen=True, eq=False)
class Truths:
    """What a photo's masks are measured against, beside each other.

    Attributes:
        masks: the ``majority``, ``staple`` and ``gold`` masks that there are, (H, W) bool.
        sensitivity, specificity: STAPLE's, by annotator.
    """

    masks: dict[str, np.ndarray]
    sensitivity: dict[str, float]
    specificity: dict[str, float]

    @classmethod
    def of(cls, masks: dict[str, np.ndarray], gold: np.ndarray | None) -> Truths:
        """A consensus of two or more people's masks, and the true mask if there is one."""
        truths = {} if gold is None else {GOLD_TRUTH: gold}
        if len(masks) < 2:
            return cls(truths, {}, {})
        estimate = staple(masks)
        consensus = {MAJORITY: majority(list(masks.values())), STAPLE: estimate.mask}
        return cls(consensus | truths, estimate.sensitivity, estimate.specificity)


def _photos(
    category: StudyCategory, shown: Path | None, left_out: list[Problem], progress: Callable[[], object] | None
) -> Iterator[tuple[Path, np.ndarray]]:
    """The photos and their pixels, the reference first, because the others wait for what is learned from it."""
    for photo in sorted(category.photos, key=lambda photo: photo != shown):
        try:
            yield photo, read_image(photo)
        except PersamError as error:
            left_out.append(Problem("photo", category.name, "", photo.stem, str(error)))
        if progress is not None:
            progress()


def _reference_of(category: StudyCategory, name: str) -> Path | None:
    if name == FIRST:
        return category.photos[0] if category.photos else None
    photo = category.photo(name)
    if photo is None:
        raise UsageError(
            f"{category.name} has no photo {name!r} to be the reference; name one that is in every category, or take "
            f"--reference {FIRST}."
        )
    return photo


def _masks(
    study: Study, category: StudyCategory, photo: Path, shape: tuple[int, int], left_out: list[Problem]
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """The usable masks by annotator, and the true one."""
    masks = {}
    for who in [*study.annotators, *([GOLD] if category.has_gold else [])]:
        mask = read_study_mask(category, who, photo, shape)
        if isinstance(mask, Problem):
            left_out.append(mask)
        else:
            masks[who] = mask
    gold = masks.pop(GOLD, None) if category.has_gold else None
    return masks, gold


def _rate(
    category: StudyCategory, photo: Path, masks: dict[str, np.ndarray], truths: Truths, *, is_reference: bool
) -> RatedPhoto:
    gold = truths.masks.get(GOLD_TRUTH)
    return RatedPhoto(
        category.name,
        photo.stem,
        is_reference,
        areas={who: int(mask.sum()) for who, mask in masks.items()},
        pairs=pairwise_iou(masks),
        coincidences=Coincidences.of(masks.values()),
        consensus_areas={name: int(mask.sum()) for name, mask in truths.masks.items()},
        consensus={name: mask_rle(mask) for name, mask in truths.masks.items() if name != GOLD_TRUTH},
        sensitivity=truths.sensitivity,
        specificity=truths.specificity,
        gold_ious={} if gold is None else {who: iou(mask, gold) for who, mask in masks.items()},
    )


def _learn(
    model: PerSAM,
    method: str,
    category: StudyCategory,
    photo: Path,
    pixels: np.ndarray,
    masks: dict[str, np.ndarray],
    left_out: list[Problem],
) -> dict[str, Concept]:
    concepts = {}
    for who in masks:
        try:
            reference = Reference.read(photo, category.mask_file(who, photo))
            # The same array for all, by which the model knows that it has encoded this photo.
            concept = model.learn(replace(reference, image=pixels), name=category.name)
            concepts[who] = model.tune(concept) if method == "persam-f" else concept
        except UsageError:  # the model cannot be run like this at all, whoever drew the mask
            raise
        except PersamError as error:
            left_out.append(Problem("unusable", category.name, who, photo.stem, str(error)))
    return concepts


def _answers(
    model: PerSAM,
    category: StudyCategory,
    photo: Path,
    pixels: np.ndarray,
    concepts: dict[str, Concept],
    masks: dict[str, np.ndarray],
    truths: Truths,
) -> list[StudyAnswer]:
    people = [who for who in concepts if who in masks]
    if not people:
        return []
    found = model.segment(model.encode(pixels), [concepts[who] for who in people])

    def answer(who: str, segmentation: Segmentation) -> StudyAnswer:
        ious = {OWN: iou(segmentation.mask, masks[who])}
        ious.update({name: iou(segmentation.mask, mask) for name, mask in truths.masks.items()})
        mask = mask_rle(segmentation.mask)
        return StudyAnswer(category.name, photo.stem, who, ious, mask, segmentation.score, segmentation.present)

    return [answer(who, segmentation) for who, segmentation in zip(people, found, strict=True)]


def _describe(persam: PerSAM, method: str) -> dict[str, Any]:
    """What a reader must know to do the same again."""
    model, encoder = persam.model, persam.encoder
    return {
        "method": {"persam": "PerSAM", "persam-f": "PerSAM-F"}[method],
        "mode": persam.settings.mode,
        "model": model.name,
        "fingerprint": model.fingerprint,
        "encoder": None if encoder is None else encoder.name,
        "encoder_fingerprint": None if encoder is None else encoder.fingerprint,
        "settings": persam.settings.to_dict(),
    }
