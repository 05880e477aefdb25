"""Passes of the decoder on a GPU, recorded once and started with one call.

A pass is some two hundred small computations, and starting them one by one takes longer than computing them.  A CUDA
graph is a recording of them all.  It works on tensors of its own: what is given is copied into them, what is made is
copied out.  A recording is of one form of pass: the same inputs of the same shapes.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from persam.models.base import Decoded, EncodedImage, Guidance, Prompts

Pass = Callable[[EncodedImage, Prompts, bool, Guidance | None], Decoded]
#: Runs a pass, records it, and returns what does the same again, into the tensors that are returned with it.
Recorder = Callable[[Callable[[], Decoded]], tuple[Callable[[], object], Decoded]]
_Given = dict[str, Any]  # all that a pass is given by name: tensors, and what else there is

_AT_PASS = 3  # of a form: what comes seldom is not worth the memory of a recording
_RECORDINGS = 16  # that are kept, those used last
_NEAR = 1e-3  # relative or of a logit: other kernels may be chosen, which sum in another order


def by_cuda_graph(work: Callable[[], Decoded]) -> tuple[Callable[[], object], Decoded]:
    """Record with a CUDA graph; see PyTorch's notes on CUDA semantics, "CUDA Graphs"."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):  # libraries choose kernels and take memory at the first calls, which cannot be recorded
            work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = work()
    return graph.replay, made


class RecordedPasses:
    """Runs passes: the first ones of a form as they are, further ones from a recording.

    A recording is compared with the pass itself before it is used; where it cannot be made, or is not the same, passes
    of that form are never recorded.

    Args:
        recorder: how.
    """

    def __init__(self, recorder: Recorder = by_cuda_graph) -> None:
        self._recorder = recorder
        self._lock = threading.Lock()  # a recording has one place for what is given
        self._forms: OrderedDict[Any, int | _Recording | None] = OrderedDict()  # so many passes yet; None: never

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
        given = _laid_out(encoding, prompts, multimask, guidance)
        form = tuple(map(_form_of, given.items()))
        with self._lock:
            state = self._forms.get(form, 0)
            if isinstance(state, _Recording):
                self._forms.move_to_end(form)
                return state.play(given)
            made = decode(encoding, prompts, multimask, guidance)
            if state is not None:
                self._forms[form] = self._record(decode, encoding, given, made) if state + 1 >= _AT_PASS else state + 1
                self._forms.move_to_end(form)
                while len(self._forms) > _RECORDINGS:
                    self._forms.popitem(last=False)
            return made

    def _record(self, decode: Pass, encoding: EncodedImage, given: _Given, made: Decoded) -> _Recording | None:
        """A recording of the pass that made this; None: it cannot be recorded."""
        log = logging.getLogger("persam")
        try:
            # Not tensors of inference mode: those could be written into there alone.
            with torch.inference_mode(False), torch.no_grad():
                own = {name: each.clone() if isinstance(each, Tensor) else each for name, each in given.items()}
                asked = _as_asked(own, encoding)
                recording = _Recording(own, *self._recorder(lambda: decode(*asked)))
                again = recording.play(given)
        except RuntimeError as error:
            log.info("A pass of the decoder cannot be recorded: %s", error)
            return None
        pairs = zip(_tensors(made), _tensors(again), strict=True)
        if not all(one is other or torch.allclose(one, other, _NEAR, _NEAR) for one, other in pairs):
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


def _form_of(item: tuple[str, Any]) -> tuple[Any, ...]:
    name, each = item
    return (name, each.shape, each.dtype, each.device) if isinstance(each, Tensor) else (name, each)
