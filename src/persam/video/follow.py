"""Mode persam on clips: what the concept says of a frame, restrained by where the object was and how it moved.

Every object has log odds for every pixel of a small picture of the frame.  From frame to frame they are carried along
by the optical flow; then a window around that place is looked at as a photo of its own, closer than all of the frame
could be, and all of the frame is searched without regard to what was before.  Where both agree, their mean counts, and
where they do not, the one that looks more like the object: so it does not drift, and is found again after an occlusion
or a cut.  What is less sure than the threshold is out of sight.  At the end every mask is drawn again from close by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from persam.concept import Concept
from persam.geometry import fit_mask, shrink
from persam.method.find import probability, side_by_side
from persam.method.learn import learn_reference
from persam.method.prior import Prior, prior_from, prior_of
from persam.method.redraw import frame_redrawn
from persam.method.segment import agreement, cascade, colour_odds, enlarged, last_good, prompts_at
from persam.models.base import EncodedImage
from persam.persam import PerSAM
from persam.video.evidence import MOST_ODDS, cell_odds, clipped, edges_of
from persam.video.likeness import likeness_of
from persam.video.memory import ClipMemory
from persam.video.motion import Motion
from persam.video.points import NO_POINTS, CarriedPoints, PointTracker, with_points
from persam.video.start import StartObject
from persam.video.state import Resumable
from persam.video.windows import CLOSER, WHOLE, Window, window_around

# Chosen with the bundled model on the first second of four clips of DAVIS.
RESTRAINT = 2.0  # standard deviations by which the confidence falls far from where the object is expected
NEAR, FAR = 0.1, 0.6  # distances, as shares of the object's size, between which it falls
OVERLAP = 0.3  # what the IoU with the expected mask counts beside the predicted IoU when a mask is chosen
CARRIED, SEEN = 0.5, 0.6  # what log odds that were carried along count, and those of what is seen now
EDGES = 1.0  # log odds that edges add
HARM = 0.05  # IoU that edges may cost on the first frame, which the decoder knows better than any other
SIDE = 512  # pixels of the longest side of the picture in which objects are carried along
FEWEST = 40  # small pixels of an object that can be followed

STAYS = 2.0  # log odds that an object that was seen is seen in the next frame, over those of one in an album
DOUBT = 0.5  # log odds below its usual ones from which on a frame is not remembered
AGREE = 0.3  # IoU of what is seen from near and from afar, below which they contradict each other
JUMP = 0.25  # log odds by which it must look more like itself elsewhere than where it is expected
STEADY = 0.8  # IoU with what was expected of a frame that is remembered
REMEMBER_FRAMES = 5  # frames between two that are


@dataclass(frozen=True)
class _Sight:
    """What was found of one object in a frame.

    Attributes:
        odds: log odds of every small pixel, (h, w).
        mask: what they draw, (h, w) bool.
        likeness: log odds that it is the object, as in an album.
        steady: IoU of what the decoder gave with what was expected; 0 if it was looked for anywhere.
        image: the frame.
    """

    odds: np.ndarray
    mask: np.ndarray
    likeness: float
    steady: float
    image: EncodedImage


@dataclass(frozen=True)
class _WindowView:
    """What was seen through a window: log odds of the pixels of its own small picture, (h, w)."""

    window: Window
    odds: np.ndarray


class FollowedObjects(Resumable):
    """The objects of a clip. Their number and order never change, whoever is out of sight.

    Args:
        persam: the model.
        frame: the one from which they are followed, (H, W, 3) uint8 RGB.
        objects: which ones, with their concepts; those with a mask are followed from where it is, the others are looked
            for.
        threshold: score from which on an object is present.
        points: what carries points of the objects along, or None.
    """

    _FIXED = frozenset({"threshold"})  # any attribute that is not named here is kept, see `Resumable`

    def __init__(
        self,
        persam: PerSAM,
        frame: np.ndarray,
        objects: Sequence[StartObject],
        *,
        threshold: float,
        points: PointTracker | None = None,
    ) -> None:
        self.threshold = threshold
        self.number = 0
        self.small: np.ndarray | None = None  # the last frame that was looked at
        self.objects = [_FollowedObject(persam, one.known) for one in objects]
        self.carried = None if points is None else CarriedPoints(points, len(objects))
        if any(one.mask is not None for one in objects):
            with torch.inference_mode():
                self._place(_Frame(persam, frame), objects)

    def _place(self, frame: _Frame, objects: Sequence[StartObject]) -> None:
        self.small = frame.small
        for followed, one in zip(self.objects, objects, strict=True):
            if one.mask is not None:
                followed.place(frame, fit_mask(one.mask, frame.small))
        nowhere = np.zeros(frame.pixels.shape[:2], bool)
        self._renew_points(frame, [nowhere if one.mask is None else one.mask for one in objects])

    @torch.inference_mode()
    def follow(self, pixels: np.ndarray) -> tuple[np.ndarray, list[float]]:
        """The next frame (the first one itself, if all are looked for): its labels, and every object's score."""
        frame = _Frame(self.objects[0].persam, pixels)
        motion = Motion(self.small, frame.small) if self.small is not None else None
        self.number += self.small is not None
        self.small = frame.small
        expected = [one.expected(motion) for one in self.objects]
        if self.carried is not None:
            for one, points in zip(self.objects, self.carried.follow(pixels), strict=True):
                one.points = points
        sights = [
            one.look(frame, own, _union(expected[:place] + expected[place + 1 :], frame.small.shape[:2]))
            for place, (one, own) in enumerate(zip(self.objects, expected, strict=True))
        ]
        labels = np.zeros(pixels.shape[:2], np.uint8)
        for number, (one, sight, mask) in enumerate(zip(self.objects, sights, _apart(sights), strict=True), start=1):
            if one.settle(sight, mask, self.threshold):
                large = enlarged(mask, (pixels.shape[0], pixels.shape[1]))
                labels[large & (labels == 0)] = number
                if self.number % REMEMBER_FRAMES == 0:
                    one.remember(self.number, sight, labels == number)
        self._renew_points(frame, [labels == number for number in range(1, len(self.objects) + 1)])
        return self._drawn_again(frame, labels), [one.score for one in self.objects]

    def _drawn_again(self, frame: _Frame, labels: np.ndarray) -> np.ndarray:
        """The labels with every mask drawn once more from close by, as in photos; what others have stays theirs.

        They are the answer. What is carried on and remembered are the masks as they were: what went astray once more
        would otherwise lead the next frame astray, too.
        """
        again = labels.copy()
        for number, one in enumerate(self.objects, start=1):
            mask = labels == number
            if mask.any():
                drawn = one.drawn_again(frame, mask) & ((again == 0) | mask)
                if drawn.any():
                    again[mask] = 0
                    again[drawn] = number
        return again

    def _renew_points(self, frame: _Frame, masks: list[np.ndarray]) -> None:
        if self.carried is not None:
            self.carried.renew(frame.pixels, masks, lambda which: self.objects[which].similarity(frame))


class _Frame:
    """A frame that is looked at: all of it, or through windows, each encoded when it is needed."""

    def __init__(self, persam: PerSAM, pixels: np.ndarray) -> None:
        self._persam, self.pixels = persam, pixels
        self.small = shrink(pixels, SIDE)
        self._whole: EncodedImage | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Of the small picture, (h, w)."""
        return self.small.shape[0], self.small.shape[1]

    def through(self, window: Window) -> EncodedImage:
        """What a window shows, encoded."""
        if window == WHOLE:
            self._whole = self._whole or self._persam.encode(self.pixels)
            return self._whole
        return self._persam.encode(np.ascontiguousarray(window.of(self.pixels)))


class _FollowedObject(Resumable):
    """One object: what is known of it, where it was last, and how like itself it usually looks."""

    _FIXED = frozenset({"persam", "weights"})  # likewise

    def __init__(self, persam: PerSAM, concept: Concept) -> None:
        self.persam, self.memory = persam, ClipMemory(concept)
        self.weights = None if concept.scale_weights is None else torch.tensor(concept.scale_weights)
        self.odds: np.ndarray | None = None  # None: out of sight
        self.usual: float | None = None
        self.score = 0.0
        self.edges = True
        self.points = NO_POINTS  # that were carried here, pixels of the frame

    def place(self, frame: _Frame, mask: np.ndarray) -> None:
        """It is here, (h, w) bool: where it is known, it shows whether its outline gains from the picture's edges."""
        self.odds = np.where(mask, MOST_ODDS, -MOST_ODDS).astype(np.float32)
        window = window_around(mask, frame.pixels)
        image, _, odds = self._decoded(frame, window, None, np.zeros(frame.size, bool))
        assert image.pixels is not None
        truth = cv2.resize(window.of(mask).astype(np.float32), odds.shape[::-1], interpolation=cv2.INTER_AREA) > 0.5
        cut = edges_of(image.pixels, odds > 0)
        self.edges = cut is not None and _shared(cut, truth) > _shared(odds > 0, truth) - HARM

    def expected(self, motion: Motion | None) -> np.ndarray | None:
        """Log odds of where it is thought to be now, (h, w); None if it may be anywhere."""
        if self.odds is None or motion is None:
            return None
        carried = motion.carry(self.odds, -MOST_ODDS)
        return carried if int((carried > 0).sum()) >= FEWEST else None

    def drawn_again(self, frame: _Frame, mask: np.ndarray) -> np.ndarray:
        """Its mask, (H, W) bool, from close by (`method/redraw.py`)."""
        known, tuned, canvas = self.memory.learned, self.weights is not None, max(frame.through(WHOLE).frame.canvas)
        return frame_redrawn(mask, frame.pixels, self.persam.model, self.persam.encode, canvas, known, tuned=tuned)

    def similarity(self, frame: _Frame) -> np.ndarray:
        """How alike every place of a frame is, (h, w) of any size."""
        image = frame.through(WHOLE)
        prior = prior_of(image, self.memory.concept, self.persam.model.low_resolution, tuned=self.weights is not None)
        return image.frame.to_photo_size(prior.canvas[None, None])[0, 0].cpu().numpy()

    def look(self, frame: _Frame, expected: np.ndarray | None, held: np.ndarray) -> _Sight:
        """Find it, near where it is expected and anywhere; `held` is where the others are, (h, w) bool.

        Seen from near and from afar, an object is seldom mistaken twice in the same way, and what is found without
        regard to the frames before does not drift. Where the two contradict each other, one of them counts.
        """
        image, prior, odds = self._decoded(frame, WHOLE, None, held)
        afar = cv2.resize(odds, frame.size[::-1], interpolation=cv2.INTER_LINEAR)
        if expected is None:
            return self._sight(frame, image, prior, _WindowView(WHOLE, odds), None)
        window = window_around(expected > 0, frame.pixels)
        near = self._from_near(frame, window, expected, held)
        there = window.of(afar)
        if _shared(window.into(near, frame.size, -MOST_ODDS) > 0, afar > 0) >= AGREE:
            near = (near + cv2.resize(there, near.shape[::-1], interpolation=cv2.INTER_LINEAR)) / 2
            return self._sight(frame, image, prior, _WindowView(window, near), expected)
        here = self._sight(frame, image, prior, _WindowView(window, near), expected)
        elsewhere = self._sight(frame, image, prior, _WindowView(WHOLE, odds), None)
        return elsewhere if elsewhere.likeness > here.likeness + JUMP else here

    def _doubts(self, sight: _Sight) -> bool:
        """Whether what was found looks less like itself than usual."""
        return self.usual is not None and sight.likeness < self.usual - DOUBT

    def settle(self, sight: _Sight, mask: np.ndarray, threshold: float) -> bool:
        """Take what was found, less what others have of it; returns whether the object is present."""
        self.score = probability(sight.likeness + (STAYS if self.odds is not None else 0.0)) if mask.any() else 0.0
        if self.score < threshold or not mask.any():
            self.odds = None
            return False
        self.odds = clipped(np.where(mask | (sight.odds <= 0), sight.odds, -MOST_ODDS)).astype(np.float32)
        self.usual = sight.likeness if self.usual is None else 0.9 * self.usual + 0.1 * sight.likeness
        return True

    def remember(self, number: int, sight: _Sight, mask: np.ndarray) -> None:
        """Learn from a frame, (H, W) bool, if it was as expected and looks like the object."""
        if sight.steady >= STEADY and not self._doubts(sight) and mask.any():
            shown = torch.tensor(mask, device=sight.image.features.device)
            settings = self.memory.learned.settings
            self.memory.add(number, learn_reference(self.persam.model, sight.image, shown, settings))

    # ------------------------------------------------------------------------------------ one way of looking

    def _restrained(self, image: EncodedImage, prior: Prior, expected: np.ndarray | None, held: np.ndarray) -> Prior:
        """The prior with less confidence far from where the object is expected, and where others are."""
        away = held.astype(np.float32)
        if expected is not None:
            here = expected > 0
            distance = cv2.distanceTransform((~here).astype(np.uint8), cv2.DIST_L2, 3) / math.sqrt(here.sum())
            away = np.maximum(away * ~here, np.clip((distance - NEAR) / (FAR - NEAR), 0, 1))
        if not away.any():
            return prior
        frame, size, device = (
            replace(image.frame, photo=held.shape),
            self.persam.model.low_resolution,
            prior.canvas.device,
        )
        spread = prior.canvas[frame.inside(size, device)].std()
        less = torch.tensor(away, dtype=torch.float32, device=device) * (RESTRAINT * spread)
        photo = prior.photo
        if photo is not None:
            height, width = photo.shape
            photo = photo - torch.from_numpy(cv2.resize(less.cpu().numpy(), (width, height))).to(photo.device)
        return prior_from(
            prior.cells - frame.cover(less),
            prior.canvas - frame.cover(less, size),
            photo,
            prior.frame,
            self.memory.concept.settings,
            self.memory.concept.targets,
            prior.alike,
        )

    def _from_near(self, frame: _Frame, window: Window, expected: np.ndarray, held: np.ndarray) -> np.ndarray:
        """Log odds of a window's small picture; where a closer look goes, the mean of both looks."""
        _, _, odds = self._decoded(frame, window, expected, held)
        close = window_around(expected > 0, frame.pixels, CLOSER)
        if close == window:
            return odds
        _, _, closer = self._decoded(frame, close, expected, held)
        into = [window.of(close.into(values, frame.size, 0.0)) for values in (closer, np.ones_like(closer))]
        there, share = (cv2.resize(each, odds.shape[::-1], interpolation=cv2.INTER_LINEAR) for each in into)
        return odds + (there - share * odds) / 2

    def _sight(
        self, frame: _Frame, image: EncodedImage, prior: Prior, view: _WindowView, expected: np.ndarray | None
    ) -> _Sight:
        """What a view shows, with what is expected (log odds of all of the small picture) and the picture's edges.

        `image` is all of the frame and `prior` its prior: by these it is judged, however close the view.
        """
        odds, steady = view.window.into(view.odds, frame.size, -MOST_ODDS), 0.0
        if expected is not None:
            steady = _shared(odds > 0, expected > 0)
            odds = (
                CARRIED * clipped(expected)
                + SEEN * odds
                + colour_odds(frame.small, self.memory.learned.cues, expected > 0)
            )
        cut = edges_of(frame.small, odds > 0) if self.edges else None
        if cut is not None:
            odds = odds + np.where(cut, EDGES, -EDGES)
        mask = odds > 0
        # As it was learned, before frames of the clip were remembered.
        likeness = likeness_of(self.persam.model, image, self.memory.learned, prior, mask)
        return _Sight(odds.astype(np.float32), mask, likeness, steady, image)

    def _decoded(
        self, frame: _Frame, window: Window, expected: np.ndarray | None, held: np.ndarray
    ) -> tuple[EncodedImage, Prior, np.ndarray]:
        """What decoder and cells make of a window: log odds of the pixels of its own small picture."""
        image = frame.through(window)
        assert image.pixels is not None
        concept, model = self.memory.concept, self.persam.model
        concept.check_vectors(image)
        size = image.pixels.shape[1::-1]
        if expected is not None:
            expected = cv2.resize(window.of(expected), size, interpolation=cv2.INTER_LINEAR)
            expected = expected if (expected > 0).any() else None  # less than a pixel of this picture
        held = cv2.resize(window.of(held).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        prior = prior_of(image, concept, model.low_resolution, tuned=self.weights is not None)
        prior = self._restrained(image, prior, expected, held)
        if expected is not None:
            carried = window.points_in(self.points, (frame.pixels.shape[0], frame.pixels.shape[1]))
            prior = with_points(prior, image.frame, carried, dropped=prior.labels == 1)
        (steps,) = side_by_side(model, image, [cascade(prior, concept.settings, self.weights)])
        taken = last_good(steps).taken
        if expected is not None:
            taken = self._nearest([(step.logits, step.scores) for step in steps], taken, image, prior, expected)
        logits = replace(image.frame, photo=image.pixels.shape[:2]).to_photo_size(taken[None, None])[0, 0]
        return image, prior, clipped(logits.cpu().numpy()) + cell_odds(image, self.memory.learned.cues, size)

    def _nearest(
        self,
        passes: list[tuple[Tensor, Tensor]],
        taken: Tensor,
        image: EncodedImage,
        prior: Prior,
        expected: np.ndarray,
    ) -> Tensor:
        """Of all masks, also those that the carried mask leads to, the one that is best where the object should be."""
        model, size = self.persam.model, self.persam.model.low_resolution
        frame = replace(image.frame, photo=expected.shape)
        odds = torch.tensor(expected, device=taken.device)
        share = frame.cover(odds.sigmoid(), size).clamp(0.002, 0.998)
        rows, columns = np.nonzero(expected > 0)
        corners = np.array([[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]])
        prompts = prompts_at(prior, frame.to_canvas(corners).reshape(4) - 0.5, share.logit()[None, None])
        carried = model.decode(image, prompts, multimask=True)
        masks = torch.cat([taken[None], *(logits for logits, _ in passes), carried.logits[0]])
        scores = torch.cat([passes[-1][1].max()[None], *(each for _, each in passes), carried.scores[0]])
        here = frame.cover((odds > 0).float(), size)
        covered = (masks > 0).float()
        both, either = torch.minimum(covered, here), torch.maximum(covered, here)
        overlap = both.flatten(1).sum(1) / either.flatten(1).sum(1).clamp(min=1e-6)
        weight = self.memory.concept.settings.final_agreement
        best = int((scores + weight * agreement(masks, prior) + OVERLAP * overlap).argmax())
        return masks[best]


def _shared(one: np.ndarray, other: np.ndarray) -> float:
    """IoU of two masks; unlike in `persam.metrics`, two empty ones share nothing, as nothing is seen in either."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def _union(expected: Sequence[np.ndarray | None], size: tuple[int, ...]) -> np.ndarray:
    """Where any of them is, (h, w) bool."""
    held = np.zeros(size, bool)
    for odds in expected:
        if odds is not None:
            held |= odds > 0
    return held


def _apart(sights: Sequence[_Sight]) -> list[np.ndarray]:
    """The objects' masks without overlap: a pixel belongs to the object that is surest of it."""
    odds = np.stack([np.where(sight.mask, sight.odds, -np.inf) for sight in sights])
    owner = odds.argmax(0)
    return [sight.mask & (owner == place) for place, sight in enumerate(sights)]
