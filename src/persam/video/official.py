"""Mode official on clips: the published scripts' procedure, which knows frame 0 and the frame before, and no more.

In every frame the most similar points, the middle of the object's last box and that box, ten pixels wider, go to the
decoder; the masks of the objects are merged by the largest logit.  What the scripts do wrong is put right, unless
`Faults` brings it back.  Where an object is out of sight they have no answer, and neither has this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from persam.concept import Concept
from persam.instance import mask_box
from persam.method.find import side_by_side
from persam.method.prior import Prior, prior_of
from persam.method.scale import shot_of, tune_as_published
from persam.method.segment import Step, cascade, decode_at_prior, last_good
from persam.method.settings import Settings
from persam.models.base import EncodedImage
from persam.persam import PerSAM
from persam.reference import Reference
from persam.video.points import NO_POINTS, CarriedPoints, PointTracker, with_points
from persam.video.state import Resumable

MARGIN = 10  # photo pixels by which a box is widened on every side
MASK_VALUE = 215  # by which the scripts multiply a mask of 0 and 1, see `method.learn.published_cells`
EPOCHS, RATE = 800, 4e-4  # of PerSAM-F
POINTS = 2  # most similar ones; of PerSAM-F one


PixelBox = tuple[int, int, int, int]


@dataclass(frozen=True)
class Faults:
    """What the published scripts do wrong and changes numbers; each can be brought back.

    Attributes:
        wrapped_areas: PerSAM's first mask is the largest of three by areas modulo 256.
        shifted_boxes: when an object is out of sight, the boxes of those after it move up by one, and it is lost.
        scaled_scores: PerSAM-F's predicted IoUs are multiplied by its first weight, which may be negative, before the
            best of the three masks is taken in place of an empty sum.
    """

    wrapped_areas: bool = False
    shifted_boxes: bool = False
    scaled_scores: bool = False

    @classmethod
    def published(cls) -> Faults:
        """All of them."""
        return cls(wrapped_areas=True, shifted_boxes=True, scaled_scores=True)


def published_settings(*, tuned: bool) -> Settings:
    """Mode official as the scripts for clips have it: another target than for photos, and positive points alone."""
    return Settings.of("official").but(
        target="max-mean",
        positive_points=1 if tuned else POINTS,
        negative_point=False,
        attention="off",
        semantic="off",
    )


class OfficialObjects(Resumable):
    """The objects of a clip, followed as published.

    Args:
        persam: the model; its own settings do not matter.
        frame: frame 0, (H, W, 3) uint8 RGB.
        masks: of the objects in it, each (H, W) bool.
        tune: PerSAM-F.
        faults: which of the published ones.
        points: what carries points of the objects along, which the scripts have not.

    Raises:
        PersamError: an object is too small for the published way to choose its cells.
        UsageError: the model has not SAM's preprocessing.
    """

    carried: CarriedPoints | None = None
    _FIXED = frozenset({"faults", "persam", "concepts"})  # any attribute that is not named here is kept

    def __init__(
        self,
        persam: PerSAM,
        frame: np.ndarray,
        masks: list[np.ndarray],
        *,
        tune: bool,
        faults: Faults | None = None,
        points: PointTracker | None = None,
    ) -> None:
        self.faults = faults or Faults()
        self.persam = PerSAM(persam.model, encoder=persam.encoder, settings=published_settings(tuned=tune))
        self.boxes: list[PixelBox] = [widened_box(mask) for mask in masks]
        self.concepts = [self._learned(frame, mask, tune, box) for mask, box in zip(masks, self.boxes, strict=True)]
        if points is not None:
            self.carried = CarriedPoints(points, len(masks))
            self._renew_points(frame, self.persam.encode(frame), masks)

    def _learned(self, frame: np.ndarray, mask: np.ndarray, tune: bool, box: PixelBox) -> Concept:
        values = np.repeat(mask[..., None].astype(np.uint8) * MASK_VALUE, 3, axis=2)
        concept = self.persam.learn(Reference(frame, mask=mask, mask_values=values))
        if not tune:
            return concept
        learned, model = concept.material[0], self.persam.model
        with torch.inference_mode():
            prior = self._prior(learned.image, concept, box, tuned=True)
            tuned = tune_as_published(
                [shot_of(model, learned, concept, full_size=True, prior=prior)], EPOCHS, rate=RATE
            )
        first, second, third = (float(weight) for weight in tuned.weights)
        return replace(concept, scale_weights=(first, second, third))

    @torch.inference_mode()
    def follow(self, frame: np.ndarray) -> tuple[np.ndarray, list[Step | None]]:
        """The next frame, (H, W, 3) uint8 RGB.

        Returns:
            Labels (H, W) uint8, 0 the background and k the k-th object; and every object's last decoder pass, None
            for one that a fault lost.
        """
        image = self.persam.encode(frame)
        carried = [NO_POINTS] * len(self.concepts) if self.carried is None else self.carried.follow(frame)
        # With boxes that have moved up there are fewer of them than objects.
        steps = [self._found(image, *each) for each in zip(self.concepts, self.boxes, carried, strict=False)]
        logits = [image.frame.to_photo_size(step.taken[None, None])[0, 0] for step in steps]
        nothing = np.zeros(frame.shape[:2], np.uint8)  # no box is left, so nothing is looked for
        labels = merged(logits).cpu().numpy() if logits else nothing
        masks = [labels == number for number in range(1, len(self.concepts) + 1)]
        if self.faults.shifted_boxes:
            self.boxes = [widened_box(mask) for mask in masks if mask.any()]
        else:
            self.boxes = [widened_box(mask) if mask.any() else box for mask, box in zip(masks, self.boxes, strict=True)]
        self._renew_points(frame, image, masks)
        return labels, [*steps, *[None] * (len(self.concepts) - len(steps))]

    @torch.inference_mode()
    def _renew_points(self, frame: np.ndarray, image: EncodedImage, masks: list[np.ndarray]) -> None:
        def similarity(which: int) -> np.ndarray:
            concept = self.concepts[which]
            prior = prior_of(image, concept, self.persam.model.low_resolution, tuned=concept.tuned)
            assert prior.photo is not None  # as the settings have it
            return prior.photo.cpu().numpy()

        if self.carried is not None:
            self.carried.renew(frame, masks, similarity)

    def _found(self, image: EncodedImage, concept: Concept, box: PixelBox, carried: np.ndarray) -> Step:
        weights = None if concept.scale_weights is None else torch.tensor(concept.scale_weights)
        prior = self._prior(image, concept, box, tuned=weights is not None)
        is_middle = np.arange(len(prior.points)) == len(prior.points) - 1  # says where it was, these where it is
        prior = with_points(prior, image.frame, carried, dropped=is_middle)
        first = self._first_step(image, prior, weights)
        (steps,) = side_by_side(self.persam.model, image, [cascade(prior, concept.settings, weights, first)])
        return last_good(steps)

    def _prior(self, image: EncodedImage, concept: Concept, box: PixelBox, *, tuned: bool) -> Prior:
        """The concept's points, and the last box with its middle."""
        prior = prior_of(image, concept, self.persam.model.low_resolution, tuned=tuned)
        x0, y0, x1, y1 = box
        middle = image.frame.to_canvas(np.array([[(x0 + x1) // 2, (y0 + y1) // 2]]))
        corners = image.frame.to_canvas(np.array([[x0, y0], [x1, y1]])).reshape(4)
        points, labels = np.concatenate([prior.points, middle]), np.append(prior.labels, 1)
        return replace(prior, points=points, labels=labels, box=corners)

    def _first_step(self, image: EncodedImage, prior: Prior, weights: Tensor | None) -> Step:
        decoded = decode_at_prior(self.persam.model, image, prior, multimask=True)
        logits, scores = decoded.logits[0], decoded.scores[0]
        masks = prior.frame.to_photo_size(logits[None])[0] > 0
        if weights is None:
            areas = masks.flatten(1).sum(1)
            best = int((areas % 256 if self.faults.wrapped_areas else areas).argmax())
        else:
            taken = torch.einsum("m,mhw->hw", weights.to(logits), logits)
            if bool(prior.frame.to_photo_mask(taken).any()):
                return Step("first pass, weighted scales", logits, scores, -1, taken, float(scores.max()), prior.box)
            best = int((scores * weights[0].to(scores) if self.faults.scaled_scores else scores).argmax())
        return Step("first pass", logits, scores, best, logits[best], float(scores[best]), prior.box)


def merged(logits: list[Tensor]) -> Tensor:
    """Objects' logits, each (H, W), as labels (H, W) uint8: the largest counts, and 0 where none is above 0."""
    return torch.stack([torch.zeros_like(logits[0]), *logits]).argmax(0).to(torch.uint8)


def widened_box(mask: np.ndarray) -> PixelBox:
    """The published box around a mask (H, W) bool, which is not empty: its outermost pixels, and `MARGIN` more."""
    height, width = mask.shape
    box = mask_box(mask)
    assert box is not None
    x0, y0, x1, y1 = box
    # x1 and y1 were the first pixels beside it, published are the last ones in it.
    return (
        max(0, x0 - MARGIN),
        max(0, y0 - MARGIN),
        min(width, x1 - 1 + MARGIN),
        min(height, y1 - 1 + MARGIN),
    )
