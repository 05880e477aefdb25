"""Passes of the decoder on a GPU, recorded once and started with one call.

A pass is some two hundred small computations, and starting them one by one takes longer than computing them.  A CUDA
graph is a recording of them all.  It works on tensors of its own: what is given is copied into them, what is made is
copied out.  A recording is of one form of pass: the same inputs of the same shapes.
"""

from __future__ import annotations

import logging
import math
import threading
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from persam.errors import PersamWarning, first_line
from persam.models.base import Decoded, EncodedImage, Guidance, Prompts

Pass = Callable[[EncodedImage, Prompts, bool, Guidance | None], Decoded]
#: Runs a pass on a device, records it, and returns what does the same again, into the tensors that it also returns.
Recorder = Callable[[Callable[[], Decoded], torch.device], tuple[Callable[[], object], Decoded]]
_Given = dict[str, Any]  # all that a pass is given by name: tensors, and what else there is

_AT_PASS = 3  # of a form: what comes seldom is not worth a recording, which takes the time and memory of several passes
_LATER = 10  # times as many passes before a form is recorded again that was forgotten
_RECORDINGS = 16  # that are kept, those used last
_LARGEST = 8  # prompts of a pass; more keep a GPU busy by themselves, and a recording would hold much memory
_NEAR = 1e-3  # relative or of a logit: other kernels may be chosen, which sum in another order

_capturing = threading.Lock()  # PyTorch records one graph at a time


def by_cuda_graph(work: Callable[[], Decoded], device: torch.device) -> tuple[Callable[[], object], Decoded]:
    """Record with a CUDA graph; see PyTorch's notes on CUDA semantics, "CUDA Graphs"."""
    with _capturing, torch.cuda.device(device):
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        with torch.cuda.stream(here):  # comes back to it, which a recording that fails does not
            aside.wait_stream(here)
            with torch.cuda.stream(aside):
                for _ in range(3):  # libraries choose kernels and take memory at first, which cannot be recorded
                    work()
            here.wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            # What other threads do with the GPU meanwhile is no mistake of theirs.
            with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
                made = work()
    return graph.replay, made


@dataclass
class _PassForm:
    """Passes to which the same is given, in the same shapes: how many there were, and at which one it is recorded."""

    passes: int = 0
    due: int | None = _AT_PASS  # None: never
    recording: _Recording | None = None


class RecordedPasses:
    """Runs passes: the first ones of a form as they are, further ones from a recording.

    A recording is compared with the pass itself before it is used; where it is not the same, passes of that form are
    never recorded. Where one cannot be made or played, none is from then on, which is told once, and passes run as they
    are: what goes wrong with recordings costs nobody a mask. Where there is no room for one, all go.

    Args:
        recorder: how.
    """

    def __init__(self, recorder: Recorder = by_cuda_graph) -> None:
        self._recorder = recorder
        self._lock = threading.Lock()  # a recording has one place for what is given
        self._forms: defaultdict[Any, _PassForm] = defaultdict(_PassForm)
        self._kept: OrderedDict[Any, _PassForm] = OrderedDict()  # those with a recording, the one used last at the end
        self._has_failed = False

    def __call__(
        self, decode: Pass, encoding: EncodedImage, prompts: Prompts, multimask: bool, guidance: Guidance | None
    ) -> Decoded:
        """What a pass gives, without gradients.

        Args:
            decode: the pass; it must depend on nothing but these, and on no number on the way.
            encoding: of the photo or photos.
            prompts: on the device.
            multimask: three masks for each.
            guidance: of the pass.
        """
        if self._has_failed or any(each is not None and len(each) > _LARGEST for each in vars(prompts).values()):
            return decode(encoding, prompts, multimask, guidance)
        given = _laid_out(encoding, prompts, multimask, guidance)
        key = tuple(map(_key_of, given.items()))
        with self._lock:
            form = self._forms[key]
            if form.recording is not None:
                self._kept.move_to_end(key)
                try:
                    return form.recording.play(given)
                except torch.OutOfMemoryError:
                    raise
                except Exception as error:  # whatever it is, the pass itself needs no recording
                    self._give_up(error)
            made = decode(encoding, prompts, multimask, guidance)
            form.passes += 1
            if not self._has_failed and form.due is not None and form.passes >= form.due:
                form.passes, form.due = 0, _LATER * form.due
                self._keep(key, form, lambda: self._record(decode, encoding, given, made))
            return made

    def _keep(self, key: Any, form: _PassForm, record: Callable[[], _Recording | None]) -> None:
        try:
            form.recording = record()
        except torch.OutOfMemoryError:
            self._forget()
            return
        except Exception as error:  # each library, and each driver, has its own kinds
            self._give_up(error)
            return
        if form.recording is None:
            form.due = None
            return
        self._kept[key] = form
        if len(self._kept) > _RECORDINGS:
            self._kept.popitem(last=False)[1].recording = None

    def _forget(self) -> None:
        while self._kept:
            self._kept.popitem()[1].recording = None

    def _give_up(self, error: Exception) -> None:
        self._has_failed = True
        self._forget()
        warnings.warn(
            f"Passes of the decoder cannot be recorded here ({type(error).__name__}: {first_line(error)}); they run as "
            "they are, a little slower, and find the same.",
            PersamWarning,
            stacklevel=2,
        )

    def _record(self, decode: Pass, encoding: EncodedImage, given: _Given, made: Decoded) -> _Recording | None:
        """A recording of the pass that made this; None: it does not do the same."""
        # Not tensors of inference mode: those could be written into there alone. What it is recorded with is not what
        # it is compared with, or one that plays the same for ever would pass.
        with torch.inference_mode(False), torch.no_grad():
            own = {name: torch.zeros_like(each) if isinstance(each, Tensor) else each for name, each in given.items()}
            asked = _as_asked(own, encoding)
            recording = _Recording(own, *self._recorder(lambda: decode(*asked), encoding.features.device))
            for each in _tensors(recording.made):
                if each is not None:
                    each.fill_(math.nan)
            again = recording.play(given)
        pairs = zip(_tensors(made), _tensors(again), strict=True)
        if not all(one is other or torch.allclose(one, other, _NEAR, _NEAR) for one, other in pairs):
            log = logging.getLogger("persam")
            log.info("A recorded pass of the decoder is not the same as the pass; it is not used.")
            return None
        return recording


@dataclass(frozen=True)
class _Recording:
    """Of passes of one form, with tensors of its own."""

    given: _Given
    again: Callable[[], object]
    made: Decoded

    def play(self, given: _Given) -> Decoded:
        """What the pass makes of this."""
        for name, own in self.given.items():
            if isinstance(own, Tensor):
                own.copy_(given[name])
        self.again()
        logits, scores, presence = _tensors(self.made)
        return Decoded(logits.clone(), scores.clone(), None if presence is None else presence.clone())


def _laid_out(encoding: EncodedImage, prompts: Prompts, multimask: bool, guidance: Guidance | None) -> _Given:
    extras = {f"extra {name}": each for name, each in encoding.extras.items()}
    steering = vars(guidance or Guidance())
    return {"features": encoding.features, **extras, **vars(prompts), "multimask": multimask, **steering}


def _as_asked(given: _Given, encoding: EncodedImage) -> tuple[EncodedImage, Prompts, bool, Guidance | None]:
    """What was laid out, as a pass takes it; without the photo's pixels."""
    extras = {name: given[f"extra {name}"] for name in encoding.extras}
    prompts = Prompts(**{each.name: given[each.name] for each in fields(Prompts)})
    guidance = Guidance(**{each.name: given[each.name] for each in fields(Guidance)})
    return EncodedImage(given["features"], encoding.frame, extras), prompts, given["multimask"], guidance


def _tensors(decoded: Decoded) -> tuple[Any, ...]:
    return decoded.logits, decoded.scores, decoded.presence


def _key_of(item: tuple[str, Any]) -> tuple[Any, ...]:
    name, each = item
    return (name, each.shape, each.dtype, each.device) if isinstance(each, Tensor) else (name, each)
