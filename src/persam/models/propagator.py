"""Propagators: networks that remember an object of a clip, and draw it in later frames; by name through transformers.

SAM 2, EdgeTAM and the tracker of SAM 3 are one construction there, and so one class here: a memory of the frame in
which a mask showed the object, and of the last few frames.  Frames come one by one.  transformers keeps all that it
ever made of a clip; what the network does not look at any more is dropped here, so that a camera may run for days.

Every object has a memory of its own, and the encoding of the frame is shared.  In one of transformers' sessions with
several objects a new mask of one changes how the others are remembered in that frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from persam.errors import PersamError
from persam.models.base import no_numbers
from persam.models.fingerprint import check_numbers, fingerprint_of
from persam.models.hub import hub_call, load_network
from persam.models.loading import choose_device, choose_dtype
from persam.models.pixels import HALF, IMAGENET, as_channels, pixels_of, stretched

# Classes of transformers, without their ending, and the pixels that they want where no file says so, by model type.
_KINDS = {
    "sam2_video": ("Sam2Video", IMAGENET),
    "edgetam_video": ("EdgeTamVideo", IMAGENET),
    "sam3_tracker_video": ("Sam3TrackerVideo", HALF),
    "sam3_video": ("Sam3TrackerVideo", HALF),  # all of SAM 3; its tracker is taken out of it
}
_OTHERWISE = "follow without a propagator"
_ONE = 1  # name of the only object of a session


@dataclass(frozen=True, eq=False)
class Carried:
    """Where an object is in a frame, by what is remembered of it.

    Attributes:
        odds: log odds of every place, (h, w) float32, over all of the frame; the mask is where they exceed 0.
        presence: log odds that the object can be seen at all.
    """

    odds: np.ndarray
    presence: float


class Propagation(Protocol):
    """What is remembered of one clip's objects, which are told apart by numbers. Its size has a bound."""

    def show(self, pixels: np.ndarray) -> None:
        """The next frame, (H, W, 3) uint8 RGB, of which the other calls speak."""
        ...

    def carry(self, number: int) -> Carried:
        """Where an object is that a mask showed in an earlier frame; asked once a frame, before any `prompt`.

        Raises:
            PersamError: it cannot be told, as numbers came out that are none.
        """
        ...

    def prompt(self, number: int, mask: np.ndarray, *, given: bool = False) -> None:
        """An object is here, (H, W) bool, not empty. All that was remembered of it is forgotten, but for masks that
        somebody had `given` (instead of having been found)."""
        ...


@runtime_checkable
class Propagator(Protocol):
    """A network that carries objects through clips."""

    name: str

    def begin(self) -> Propagation:
        """A new clip, of which nothing is known."""
        ...


class TransformersPropagator:
    """SAM 2, EdgeTAM or SAM 3's tracker of transformers, frozen.

    Args:
        network: `Sam2VideoModel`, `EdgeTamVideoModel` or `Sam3TrackerVideoModel`.
        session: transformers' class of what such a network remembers.
        name: how people call it.
        device: where it computes.
        dtype: number format in which it does.
        mean: of the pixels, three numbers of 0..1.
        std: their deviation.

    Raises:
        PersamError: a weight is NaN or infinite.
    """

    def __init__(
        self,
        network: Any,
        session: Any,
        *,
        name: str,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        mean: Sequence[float] = IMAGENET[0],
        std: Sequence[float] = IMAGENET[1],
    ) -> None:
        self.name, self.device, self.dtype = name, device, dtype
        check_numbers(network, name)
        self.network = network.eval().requires_grad_(False).to(device, dtype)
        self.side = int(network.config.image_size)
        self.session = session
        self._mean, self._std = as_channels(mean, device), as_channels(std, device)

    def begin(self) -> Propagation:
        """A new clip."""
        return _Sessions(self)

    @cached_property
    def fingerprint(self) -> str:
        """Of its weights in their number format, see `persam.models.fingerprint`."""
        return fingerprint_of(self.network)

    def prepare(self, pixels: np.ndarray) -> Tensor:
        """What the network takes of a frame, (H, W, 3) uint8: stretched to its square, and normalised, (1, 3, S, S)."""
        return stretched(pixels, self.side, self._mean, self._std).to(self.dtype)

    def prepare_mask(self, mask: np.ndarray) -> Tensor:
        """What it takes of a mask, (H, W) bool: (1, 1, S, S) of 0 and 1, with at least one 1 if the mask has any."""
        shares = F.interpolate(
            torch.from_numpy(mask)[None, None].to(self.device, torch.float32),
            (self.side, self.side),
            mode="bilinear",
            antialias=True,
        )
        return (shares >= min(0.5, float(shares.max()) or 1.0)).to(self.dtype)


class _Sessions:
    """A session of transformers for every object, with one encoding of the frame for all."""

    def __init__(self, propagator: TransformersPropagator) -> None:
        self._propagator = propagator
        self._sessions: dict[int, Any] = {}
        self._given: dict[int, set[int]] = {}  # of every object, the frames in which its mask was given
        self._frame: Tensor | None = None
        self._number = -1
        self._shared = self._new_session().cache
        # No further back than this does the network look.
        config = propagator.network.config
        self._memories = config.num_maskmem - 1
        self._pointers = max(self._memories, config.max_object_pointers_in_encoder - 1)

    def show(self, pixels: np.ndarray) -> None:
        self._number += 1
        self._frame = self._propagator.prepare(pixels)

    def carry(self, number: int) -> Carried:
        found = self._run(self._sessions[number])
        odds = found.pred_masks.float().cpu().numpy()[0, 0]
        presence = float(found.object_score_logits.flatten()[0])
        if not (np.isfinite(odds).all() and np.isfinite(presence)):
            raise no_numbers(self._propagator.name, "a frame of the clip")
        return Carried(odds, presence)

    def prompt(self, number: int, mask: np.ndarray, *, given: bool = False) -> None:
        if number not in self._sessions:
            self._sessions[number] = self._new_session()
            self._sessions[number].cache = self._shared
            self._given[number] = set()
        session, kept = self._sessions[number], self._given[number]
        place = session.obj_id_to_idx(_ONE)
        shown = session.output_dict_per_obj[place]["cond_frame_outputs"]
        for earlier in [frame for frame in shown if frame not in kept or frame == self._number]:
            del shown[earlier]
        session.output_dict_per_obj[place]["non_cond_frame_outputs"].clear()
        session.add_mask_inputs(place, self._number, self._propagator.prepare_mask(mask))
        session.obj_with_new_inputs = [_ONE]
        if given:
            kept.add(self._number)
        self._run(session)

    def state(self) -> dict[str, Any]:
        """What is remembered, as plain values and tensors: all that the next frames depend on."""
        outputs = {
            number: _copied(session.output_dict_per_obj[session.obj_id_to_idx(_ONE)])
            for number, session in self._sessions.items()
        }
        given = {number: sorted(frames) for number, frames in self._given.items()}
        return {"number": self._number, "given": given, "outputs": outputs}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` of the same network."""
        self._number = state["number"]
        self._given = {number: set(frames) for number, frames in state["given"].items()}
        self._sessions = {}
        for number, outputs in state["outputs"].items():
            session = self._sessions[number] = self._new_session()
            session.cache = self._shared
            session.output_dict_per_obj[session.obj_id_to_idx(_ONE)] = _copied(outputs)

    def _new_session(self) -> Any:
        propagator = self._propagator
        return propagator.session(
            inference_device=propagator.device,
            inference_state_device=propagator.device,
            video_storage_device=propagator.device,
            dtype=propagator.dtype,
        )

    def _run(self, session: Any) -> Any:
        assert self._frame is not None
        found = self._propagator.network(session, frame=self._frame, frame_idx=self._number)
        self._drop(session)
        return found

    def _drop(self, session: Any) -> None:
        """What the network looks at in later frames stays: the last memories, more pointers, and where masks were."""
        session.processed_frames.clear()
        place = session.obj_id_to_idx(_ONE)
        session.mask_inputs_per_obj[place].clear()
        session.frames_tracked_per_obj[place].clear()  # in what was tracked, a mask would not count as a start
        outputs = session.output_dict_per_obj[place]
        tracked = outputs["non_cond_frame_outputs"]
        for frame in [frame for frame in tracked if frame <= self._number - self._pointers]:
            del tracked[frame]
        for frame, output in [*tracked.items(), *outputs["cond_frame_outputs"].items()]:
            for part in ("pred_masks", "high_res_masks", "object_score_logits"):
                output.pop(part, None)
            if frame in tracked and frame <= self._number - self._memories:
                output.pop("maskmem_features", None)
                output.pop("maskmem_pos_enc", None)


def _copied(outputs: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> dict[str, dict[int, dict[str, Any]]]:
    """What a session keeps of its frames, by kind and frame, whose dicts it goes on changing; no tensor is copied."""
    return {kind: {frame: dict(output) for frame, output in frames.items()} for kind, frames in outputs.items()}


def load_propagator(
    name: str | Path, *, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto"
) -> TransformersPropagator:
    """Load a propagator by hub id (`"facebook/sam2.1-hiera-tiny"`) or local folder; its configuration tells its kind.

    Args:
        name: as transformers has it: SAM 2 or EdgeTAM for videos, SAM 3, or its tracker.
        device: `auto`, `cpu`, `cuda` or `mps`.
        dtype: number format of all of it: `auto`, `float32`, `bfloat16`, `float16`.

    Raises:
        PersamError: not to be had, damaged, or of a kind that carries no masks.
        UsageError: an unknown device or dtype.
    """
    import transformers

    place = choose_device(device)
    numbers = choose_dtype(dtype, place)
    name = str(name)
    kind = hub_call(name, transformers.AutoConfig.from_pretrained, otherwise=_OTHERWISE).model_type
    if kind not in _KINDS:
        raise PersamError(
            f"{name} is a model of type {kind}, which carries no masks through a clip; name a SAM 2, EdgeTAM or "
            "SAM 3 for videos, such as facebook/sam2.1-hiera-tiny."
        )
    family, pixels = _KINDS[kind]
    network = load_network(name, getattr(transformers, f"{family}Model"), otherwise=_OTHERWISE)
    mean, std = pixels_of(name, pixels)
    session = getattr(transformers, f"{family}InferenceSession")
    return TransformersPropagator(network, session, name=name, device=place, dtype=numbers, mean=mean, std=std)
