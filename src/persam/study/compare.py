"""Run a study: the model is shown each annotator's mask of one photo and looks for the object in the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from persam.concept import Concept
from persam.errors import PersamError, UsageError
from persam.instance import mask_rle
from persam.metrics import iou
from persam.models.encode_once import encode_once
from persam.persam import PerSAM
from persam.reference import Reference
from persam.study.agreement import Coincidences, majority, pairwise_iou, staple
from persam.study.checks import Problem, usable_masks, usable_times
from persam.study.layout import GOLD, Study, StudyCategory
from persam.study.results import GOLD_TRUTH, MAJORITY, OWN, STAPLE, RatedPhoto, StudyAnswer, StudyResult
from persam.study.times import MaskTime

METHODS = ("persam", "persam-f")
FIRST = "first"


def run(
    study: Study,
    persam: PerSAM,
    *,
    method: str = "persam",
    reference: str = FIRST,
    progress: Callable[[], object] = lambda: None,
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
    going = StudyRun(study, persam, method=method, reference=reference)
    for _ in going.steps(progress):
        pass
    return going.result()


class StudyRun:
    """A run of a study that can be done a photo at a time, for a model that others want in between.

    Takes and raises what `run` does.
    """

    def __init__(self, study: Study, persam: PerSAM, *, method: str = "persam", reference: str = FIRST) -> None:
        if method not in METHODS:
            raise UsageError(f'There is no method "{method}"; use {" or ".join(METHODS)}.')
        self.study, self.persam, self.method = study, persam, method
        self.references = {category.name: _reference_of(category, reference) for category in study.categories}
        encoder = None if persam.encoder is None else encode_once(persam.encoder)
        self.model = PerSAM(encode_once(persam.model), encoder=encoder, settings=persam.settings)
        self.answers: list[StudyAnswer] = []
        self.rated: list[RatedPhoto] = []
        self.left_out: list[Problem] = []
        self.times: list[MaskTime] = []

    def steps(self, progress: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Compare everything; yields after every photo that can be read."""
        for category in self.study.categories:
            yield from self._add(category, self.references[category.name], progress)

    def result(self) -> StudyResult:
        """What was measured, after the last step."""
        if not any(photo.areas for photo in self.rated):
            raise PersamError(f"There is no mask in {self.study.folder} that can be used; see `persam study check`.")
        names = {category: photo.stem for category, photo in self.references.items() if photo is not None}
        found = tuple(self.answers), tuple(self.rated), tuple(self.left_out), tuple(self.times)
        return StudyResult(self.study, _describe(self.persam, self.method), names, *found)

    def _add(self, category: StudyCategory, shown: Path | None, progress: Callable[[], object]) -> Iterator[None]:
        """Rate all photos of a category and ask for all but the one that is shown."""
        concepts: dict[str, Concept] = {}
        # The one that is shown comes first, because the others wait for what is learned from it.
        for photo, pixels, masks in usable_masks(self.study, category, self.left_out, progress, first=shown):
            truths = self._rate(category, photo, masks, is_reference=photo == shown)
            if photo == shown:
                concepts = self._learn(category, photo, pixels, masks)
            else:
                people = {who: (concepts[who], masks[who]) for who in concepts if who in masks}
                self._ask(category, photo, pixels, people, truths)
            yield
        masked = {(photo.photo, who) for photo in self.rated if photo.category == category.name for who in photo.areas}
        times = usable_times(self.study, category, self.left_out)
        self.times += [time for time in times if (time.photo, time.annotator) in masked]

    def _rate(
        self, category: StudyCategory, photo: Path, masks: dict[str, np.ndarray], *, is_reference: bool
    ) -> dict[str, np.ndarray]:
        """Compare the people, and return what masks are measured against: ``majority``, ``staple`` and ``gold``."""
        gold = masks.pop(GOLD, None)
        estimate = staple(masks) if len(masks) > 1 else None
        consensus = {} if estimate is None else {MAJORITY: majority(list(masks.values())), STAPLE: estimate.mask}
        truths = consensus if gold is None else consensus | {GOLD_TRUTH: gold}
        rated = RatedPhoto(
            category.name,
            photo.stem,
            is_reference,
            areas={who: int(mask.sum()) for who, mask in masks.items()},
            pairs=pairwise_iou(masks),
            coincidences=Coincidences.of(masks.values()),
            consensus_areas={name: int(mask.sum()) for name, mask in truths.items()},
            consensus={name: mask_rle(mask) for name, mask in consensus.items()},
            sensitivity={} if estimate is None else estimate.sensitivity,
            specificity={} if estimate is None else estimate.specificity,
            gold_ious={} if gold is None else {who: iou(mask, gold) for who, mask in masks.items()},
        )
        self.rated.append(rated)
        return truths

    def _learn(
        self, category: StudyCategory, photo: Path, pixels: np.ndarray, people: Iterable[str]
    ) -> dict[str, Concept]:
        concepts = {}
        for who in people:
            try:
                reference = Reference.read(photo, category.mask_file(who, photo))
                # The same array for all, by which the model knows that it has encoded this photo.
                concept = self.model.learn(replace(reference, image=pixels), name=category.name)
                concepts[who] = self.model.tune(concept) if self.method == "persam-f" else concept
            except UsageError:  # the model cannot be run like this at all, whoever drew the mask
                raise
            except PersamError as error:
                self.left_out.append(Problem("unusable", category.name, who, photo.stem, str(error)))
        return concepts

    def _ask(
        self,
        category: StudyCategory,
        photo: Path,
        pixels: np.ndarray,
        people: dict[str, tuple[Concept, np.ndarray]],
        truths: dict[str, np.ndarray],
    ) -> None:
        """Find the object with each person's concept, and measure that against this person's own mask."""
        if not people:
            return
        results = self.model.segment(self.model.encode(pixels), [concept for concept, _ in people.values()])
        for (who, (_, own)), found in zip(people.items(), results, strict=True):
            ious = {name: iou(found.assumed_mask, mask) for name, mask in ({OWN: own} | truths).items()}
            rle = mask_rle(found.assumed_mask)
            self.answers.append(StudyAnswer(category.name, photo.stem, who, ious, rle, found.score, found.present))


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
