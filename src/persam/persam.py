"""PerSAM: learn an object, tune it, find it. It only conducts; the work is done in `models/` and `method/`."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from persam.concept import Concept, ReferenceRecord
from persam.errors import PersamError, UsageError
from persam.images import ImageSource, read_image
from persam.method.confidence import ConfidenceMaps, confidence_cells
from persam.method.features import TargetFeatures, covered_cells, published_cells, target_features
from persam.method.guide import guidance_for
from persam.method.instances import Found, Target, find_instances, locate
from persam.method.presence import threshold_from
from persam.method.scale import Shot, tune_as_published, tune_directly
from persam.method.settings import Settings
from persam.models.base import Encoding, FeatureEncoder, PromptableModel, Prompts
from persam.models.loading import BUNDLED, load_encoder, load_model
from persam.reference import Reference
from persam.segmentation import Instance, Segmentation

THUMBNAIL_SIDE = 96
SCRIBBLE_POINTS = 8


@dataclass(frozen=True)
class EncodedImage:
    """A photo, encoded once for every concept, instance and refinement.

    Attributes:
        prompting: encoding of the promptable model.
        matching: encoding that the confidence map is made of; the same one unless there is another encoder.
        source: name of the photo, or None.
    """

    prompting: Encoding
    matching: Encoding
    source: str | None = None


@dataclass(frozen=True)
class TuningMaterial:
    """A reference as `PerSAM.tune` needs it: its encoding and its mask (H, W) bool."""

    image: EncodedImage
    mask: Tensor


class PerSAM:
    """Personalised segmentation with a promptable model.

    Args:
        model: the promptable model; see `PerSAM.from_pretrained` for names.
        encoder: another encoder for the confidence map, or None for the model's own features.
        settings: the form of the method that concepts are learned with.
    """

    def __init__(
        self, model: PromptableModel, *, encoder: FeatureEncoder | None = None, settings: Settings | None = None
    ) -> None:
        self.model = model
        self.encoder = encoder
        self.settings = settings or Settings.of("persam")

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = BUNDLED,
        *,
        mode: str = "persam",
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        encoder: str | None = None,
        settings: Settings | None = None,
        decoder_heads: int = 8,
    ) -> PerSAM:
        """Load a model by name. Without arguments: the bundled one, offline.

        Args:
            name: ``"tiny"``, a hub id such as ``"facebook/sam-vit-huge"``, a local folder, or an original checkpoint
                such as ``"sam_vit_h_4b8939.pth"``.
            mode: ``persam``, ``official`` or ``paper``.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            dtype: number format of the image encoder: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
            encoder: name of another encoder for the confidence map, such as ``"facebook/dinov2-base"``.
            settings: single switches; takes the place of `mode`.
            decoder_heads: attention heads in the decoder of an original checkpoint.

        Raises:
            PersamError: the model is not to be had or damaged.
            UsageError: an unknown mode, device or dtype.
        """
        chosen = settings or Settings.of(mode)
        model = load_model(name, device=device, dtype=dtype, decoder_heads=decoder_heads)
        other = None if encoder is None else load_encoder(encoder, device=device, dtype=dtype)
        return cls(model, encoder=other, settings=chosen)

    # ---------------------------------------------------------------- encode

    def encode(self, image: ImageSource | EncodedImage) -> EncodedImage:
        """Encode a photo once, to hand it to `segment` as often as wanted.

        Raises:
            PersamError: the photo cannot be read.
        """
        if isinstance(image, EncodedImage):
            return image
        return self._encode_pixels(read_image(image), _source_of(image))

    def _encode_pixels(self, pixels: np.ndarray, source: str | None) -> EncodedImage:
        prompting = self.model.encode(pixels)
        matching = prompting if self.encoder is None else self.encoder.encode(pixels)
        return EncodedImage(prompting, matching, source)

    # ----------------------------------------------------------------- learn

    @torch.inference_mode()
    def learn(
        self,
        image: ImageSource | Reference | Sequence[Reference],
        mask: ImageSource | None = None,
        *,
        box: Sequence[float] | None = None,
        points: Any = None,
        labels: Any = None,
        scribble: ImageSource | None = None,
        name: str = "object",
    ) -> Concept:
        """Learn an object, without training (PerSAM).

        Args:
            image: the reference photo, or one or several `Reference`.
            mask: its mask, in any form that people have; a transparent cut-out needs none.
            box: instead of a mask: (x0, y0, x1, y1) in photo pixels.
            points, labels: instead of a mask, or with a box: (N, 2) as (x, y), and (N,) of 1 (on it) and 0 (off it).
            scribble: instead of a mask: strokes over the object.
            name: what to call it.

        Raises:
            PersamError: photo or mask cannot be read or do not fit together.
            UsageError: no form of reference was given, or several that exclude each other.
        """
        if isinstance(image, Reference):
            references = [image]
        elif isinstance(image, (list, tuple)) and image and all(isinstance(r, Reference) for r in image):
            references = list(image)
        else:
            references = [
                Reference.read(image, mask, box=box, points=points, labels=labels, scribble=scribble)  # type: ignore[arg-type]
            ]
        learned = [self._learn_one(reference) for reference in references]
        targets = tuple(target for target, *_ in learned)
        matcher = self.encoder or self.model
        return Concept(
            name=name,
            settings=self.settings,
            model=self.model.fingerprint,
            model_name=self.model.name,
            encoder=matcher.fingerprint,
            encoder_name=matcher.name,
            targets=targets,
            references=tuple(record for _, record, _, _ in learned),
            threshold=sum(threshold for *_, threshold in learned) / len(learned),
            thumbnail=_thumbnail(references[0].image),
            material=tuple(material for _, _, material, _ in learned),
        )

    def _learn_one(self, reference: Reference) -> tuple[TargetFeatures, ReferenceRecord, TuningMaterial, float]:
        image = self._encode_pixels(reference.image, reference.source)
        mask = torch.as_tensor(self.mask_of(reference, image))
        device = image.prompting.features.device
        coverage = image.prompting.frame.cover(mask).to(device)
        matching_coverage = image.matching.frame.cover(mask).to(device)
        cells, matching_cells = covered_cells(coverage), covered_cells(matching_coverage)
        if self.settings.reference_cells == "published":
            cells = self._published_cells(reference, mask, image)
            matching_cells = cells if self.encoder is None else matching_cells
        # REBASE counts a patch as object from 8 % coverage on
        inside = image.matching.frame.inside(device=device)
        background = inside & (matching_coverage < 0.08) & ~matching_cells
        target = target_features(
            image.prompting.features[0], cells, image.matching.features[0], matching_cells, background, self.settings
        )
        threshold = threshold_from(
            confidence_cells(image.matching.features, [target]), matching_cells, background
        )
        record = ReferenceRecord(
            reference.source or "",
            reference.sha256,
            (mask.shape[0], mask.shape[1]),
            round(float(mask.float().mean()), 6),
            int(matching_cells.sum()),
        )
        return target, record, TuningMaterial(image, mask.to(device)), threshold

    def _published_cells(self, reference: Reference, mask: Tensor, image: EncodedImage) -> Tensor:
        """The published code's choice of cells, which depends on the mask file's red value (128 if there is no file)."""
        values = reference.mask_values
        if values is None or values.shape[:2] != tuple(mask.shape):
            values = np.repeat((mask.numpy()[..., None] * 128).astype(np.uint8), 3, axis=2)
        frame = image.prompting.frame
        prepare = getattr(self.model, "prepare", None)
        if prepare is None:
            raise UsageError(f"Mode official needs SAM's own preprocessing, which {self.model.name} does not have.")
        cells = published_cells(prepare(values, frame), frame.grid)
        if not bool(cells.any()):
            raise PersamError(
                "Mode official finds no object in this mask (the published code averages nothing and goes on with NaN): "
                "it normalises the mask like a picture, so values near 0 vanish. Store the mask with 255, or use mode "
                "persam."
            )
        return cells

    @torch.inference_mode()
    def mask_of(self, reference: Reference, image: EncodedImage | None = None) -> np.ndarray:
        """The mask of a reference, (H, W) bool; from a box, points or a scribble it is made by the model.

        Raises:
            PersamError: the model finds nothing under the prompt.
        """
        if reference.mask is not None:
            return reference.mask
        image = image or self._encode_pixels(reference.image, reference.source)
        frame = image.prompting.frame

        def tensor(values: Any, shape: tuple[int, ...]) -> Tensor:
            return torch.as_tensor(np.asarray(values), dtype=torch.float32, device=self.model.device).reshape(shape)

        points, labels = reference.points, reference.labels
        if points is None and reference.scribble is not None:
            points = reference.scribble_points(SCRIBBLE_POINTS)
        if points is not None and labels is None:
            labels = np.ones(len(points))
        prompts = Prompts(
            None if points is None else tensor(frame.to_canvas(np.asarray(points)), (1, -1, 2)),
            None if labels is None else tensor(labels, (1, -1)),
            None if reference.box is None else tensor(frame.to_canvas(np.reshape(reference.box, (2, 2))), (1, 4)),
        )
        first = self.model.decode(image.prompting, prompts, multimask=True)
        best = int(first.scores[0].argmax())
        refined = self.model.decode(
            image.prompting, replace(prompts, logits=first.logits[:, best : best + 1]), multimask=True
        )
        logits = refined.logits[0, int(refined.scores[0].argmax())]
        mask = (frame.to_photo_size(logits[None, None])[0, 0] > 0).cpu().numpy()
        if not mask.any():
            raise PersamError("The model finds no object at the given place; give a larger box, more points, or a mask.")
        return mask

    # ------------------------------------------------------------------ tune

    def tune(
        self, concept: Concept, *, solver: str = "direct", progress: Callable[[int], object] | None = None
    ) -> Concept:
        """Fit the scale weights on the concept's references (PerSAM-F), jointly if there are several.

        Args:
            concept: fresh from `learn`; a concept file does not hold what tuning needs.
            solver: ``direct`` finds the optimum at once; ``adamw`` is the published 1,000 epochs, at the photo's size.
            progress: called with the number of epochs done (``adamw``).

        Raises:
            PersamError: the concept was read from a file, or made with another model.
            UsageError: no such solver.
        """
        if solver not in {"direct", "adamw"}:
            raise UsageError(f'There is no solver "{solver}"; use direct or adamw.')
        if not concept.material:
            raise PersamError(
                f'The concept "{concept.name}" was read from a file, which does not hold its photos; learn and tune it '
                "in one go (`persam learn --tune`)."
            )
        self._check(concept)
        with torch.inference_mode():
            shots = [self._shot(material, concept, full_size=solver == "adamw") for material in concept.material]
        tuned = tune_as_published(shots, progress=progress) if solver == "adamw" else tune_directly(shots)
        first, second, third = (float(w) for w in tuned.weights)
        return replace(concept, scale_weights=(first, second, third))

    def _shot(self, material: TuningMaterial, concept: Concept, *, full_size: bool) -> Shot:
        """The decoder's three scales on a reference, from the prompts that a tuned concept uses."""
        image, frame = material.image, material.image.prompting.frame
        target = Target(concept.embedding, torch.zeros(3), concept.settings)
        maps = self._maps(image, concept, tuned=True)
        location = locate(maps, frame, target.prior)
        guidance = guidance_for(target.prior, maps, frame, target.embedding)
        prompts = Prompts(
            torch.as_tensor(location.points, dtype=torch.float32, device=self.model.device)[None],
            torch.as_tensor(location.labels, dtype=torch.float32, device=self.model.device)[None],
            logits=location.dense,
        )
        decoded = self.model.decode(image.prompting, prompts, multimask=True, guidance=guidance)
        if full_size:
            return Shot(frame.to_photo_size(decoded.logits)[0], material.mask.float())
        size = self.model.low_resolution
        used = frame.inside(size, material.mask.device)
        rows, columns = int(used.any(1).sum()), int(used.any(0).sum())
        coverage = frame.cover(material.mask, size).to(decoded.logits.device)
        return Shot(decoded.logits[0, :, :rows, :columns], coverage[:rows, :columns])

    # --------------------------------------------------------------- segment

    @overload
    def segment(
        self, image: ImageSource | EncodedImage, concept: Concept, **options: Any
    ) -> Segmentation: ...
    @overload
    def segment(
        self, image: ImageSource | EncodedImage, concept: Sequence[Concept], **options: Any
    ) -> list[Segmentation]: ...
    @overload
    def segment(
        self, image: Iterable[ImageSource | EncodedImage], concept: Concept, **options: Any
    ) -> Iterator[Segmentation]: ...
    @overload
    def segment(
        self, image: Iterable[ImageSource | EncodedImage], concept: Sequence[Concept], **options: Any
    ) -> Iterator[list[Segmentation]]: ...

    def segment(
        self,
        image: Any,
        concept: Any,
        *,
        max_instances: int = 1,
        threshold: float | None = None,
        explain: bool = False,
    ) -> Any:
        """Find a concept in a photo.

        Args:
            image: a path, a PIL image, an (H, W, 3) uint8 array or an encoded image; or an iterable of them.
            concept: one concept, or several: then a list of results for every photo, which is encoded once.
            max_instances: look for up to so many objects of the concept.
            threshold: confidence from which on the object counts as present; by default the concept's own.
            explain: keep the way to the mask in `Segmentation.trace`.

        Returns:
            A `Segmentation`, a list of them for several concepts, or an iterator of either for several photos.

        Raises:
            PersamError: a photo cannot be read, or a concept was made with another model.
            UsageError: `max_instances` below 1, or a threshold outside [-1, 1].
        """
        if max_instances < 1:
            raise UsageError(f"max_instances must be at least 1, not {max_instances}.")
        if threshold is not None and not -1 <= threshold <= 1:
            raise UsageError(f"The threshold is a similarity between -1 and 1, not {threshold}.")
        concepts = [concept] if isinstance(concept, Concept) else list(concept)
        for each in concepts:
            self._check(each)

        def one(photo: Any) -> Any:
            encoded = self.encode(photo)
            found = [self._segment_one(encoded, each, max_instances, threshold, explain) for each in concepts]
            return found[0] if isinstance(concept, Concept) else found

        if isinstance(image, (str, Path, Image.Image, np.ndarray, EncodedImage)):
            return one(image)
        return (one(photo) for photo in image)

    @torch.inference_mode()
    def _segment_one(
        self, image: EncodedImage, concept: Concept, most: int, threshold: float | None, explain: bool
    ) -> Segmentation:
        concept = concept.to(image.prompting.features.device)
        limit = concept.threshold if threshold is None else threshold
        weights = None if concept.scale_weights is None else torch.tensor(concept.scale_weights)
        target = Target(concept.embedding, weights, concept.settings)
        maps = self._maps(image, concept, tuned=concept.tuned)
        found = list(find_instances(self.model, image.prompting, maps, target, most, limit))
        instances = tuple(_instance(each) for each in found)
        frame, first = image.prompting.frame, found[0]
        return Segmentation(
            concept=concept.name,
            image=image.source,
            mask=np.logical_or.reduce([instance.mask for instance in instances]),
            score=min(1.0, max(0.0, first.confidence)),
            present=first.confidence >= limit and bool(instances[0].mask.any()),
            points=frame.to_photo(first.trace.points),
            labels=first.trace.labels,
            instances=instances,
            trace=first.trace if explain else None,
        )

    def _maps(self, image: EncodedImage, concept: Concept, tuned: bool) -> ConfidenceMaps:
        cells = confidence_cells(image.matching.features, concept.targets, tuned)
        return ConfidenceMaps.of(
            cells,
            image.matching.frame,
            image.prompting.frame,
            self.model.low_resolution,
            with_photo=concept.settings.map == "photo",
        )

    def _check(self, concept: Concept) -> None:
        matcher = self.encoder or self.model
        if concept.model != self.model.fingerprint:
            raise PersamError(
                f'The concept "{concept.name}" was made with the model {concept.model_name} ({concept.model}), this is '
                f"{self.model.name} ({self.model.fingerprint}); use that model or learn the concept again."
            )
        if concept.encoder != matcher.fingerprint:
            raise PersamError(
                f'The concept "{concept.name}" was made with the encoder {concept.encoder_name} ({concept.encoder}), '
                f"this is {matcher.name} ({matcher.fingerprint}); use that encoder or learn the concept again."
            )


def _instance(found: Found) -> Instance:
    mask = (found.trace.frame.to_photo_size(found.logits[None, None])[0, 0] > 0).cpu().numpy()
    return Instance(mask=mask, score=min(1.0, max(0.0, found.confidence)))


def _source_of(image: ImageSource) -> str | None:
    if isinstance(image, (str, Path)):
        return str(image)
    return getattr(image, "filename", None) or None


def _thumbnail(image: np.ndarray) -> bytes:
    small = Image.fromarray(image)
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    out = io.BytesIO()
    small.save(out, "PNG")
    return out.getvalue()
