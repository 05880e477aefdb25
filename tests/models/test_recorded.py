"""Recorded passes of the decoder: the same numbers as the passes, whatever is given.

A CUDA graph needs a GPU; all around it is tried with a recorder that runs the pass again, into the tensors of the first
time and with what lies in the recording's own inputs, as a graph does.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import draw_scene
from tests.fakes import CPU
from tests.models.promptables import KINDS, saved_promptable

from persam import PerSAM, PersamWarning
from persam.models.base import Decoded, EncodedImage, Guidance, Prompts
from persam.models.loading import load_model
from persam.models.recorded import RecordedPasses, by_cuda_graph


class Repeating:
    """Records without a GPU; counts what it did."""

    def __init__(self) -> None:
        self.recorded = self.played = 0
        self.off = 0.0  # what a bad recording adds

    def __call__(self, work: Callable[[], Decoded], _: torch.device) -> tuple[Callable[[], object], Decoded]:
        self.recorded += 1
        made = work()

        def again() -> None:
            self.played += 1
            new = work()
            made.logits.copy_(new.logits + self.off)
            made.scores.copy_(new.scores)
            if made.presence is not None and new.presence is not None:
                made.presence.copy_(new.presence)

        return again, made


@pytest.fixture(params=["sam", *KINDS])
def model(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    return load_model(saved_promptable(request.param, tmp_path / "hub"), device="cpu", dtype="float32")


@pytest.fixture
def tiny() -> Any:
    return load_model("tiny", device="cpu")


def question(model: Any, number: int, where: str = "after", prompts: int = 1) -> tuple[Prompts, bool, Guidance]:
    """A question of one form for every number, with other points, another mask and another guidance."""
    drawn = torch.Generator().manual_seed(number)
    side = float(model.image_size)
    points = torch.rand(prompts, 2, 2, generator=drawn) * side
    corners = torch.rand(prompts, 2, generator=drawn) * side / 2
    masks = torch.randn(prompts, 1, *model.low_resolution, generator=drawn)
    cells = model.grid[0] * model.grid[1]
    attention = torch.randn(prompts, 1, 1, cells, generator=drawn).to(model.device)
    channels = model.network.mask_decoder.mask_tokens.weight.shape[1]
    semantic = torch.randn(prompts, 1, 1, channels, generator=drawn).to(model.device)
    given = Prompts(points, torch.ones(prompts, 2), torch.cat([corners, corners + side / 3], 1), masks)
    return given, True, Guidance(attention, where, semantic)  # type: ignore[arg-type]  # one of two words


def photo(number: int) -> np.ndarray:
    return draw_scene(60, 80, center=(30 + number, 30), radius=14, seed=number)[0]


def ask(model: Any, encoding: EncodedImage, asked: tuple[Prompts, bool, Guidance | None]) -> Decoded:
    prompts, multimask, guidance = asked
    decoded: Decoded = model.decode(encoding, prompts, multimask=multimask, guidance=guidance)
    return decoded


def same(one: Decoded, other: Decoded) -> None:
    assert torch.allclose(one.logits, other.logits, rtol=1e-4, atol=1e-4)
    assert torch.allclose(one.scores, other.scores, rtol=1e-4, atol=1e-4)
    assert (one.presence is None) == (other.presence is None)
    if one.presence is not None and other.presence is not None:
        assert torch.allclose(one.presence, other.presence, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_every_kind_of_model_gives_the_same_from_a_recording(model: Any, mode: Any) -> None:
    recorder = Repeating()
    with mode():
        encodings = [model.encode(photo(number)) for number in range(3)]
        plain = [ask(model, encodings[number % 3], question(model, number)) for number in range(6)]
        model._recorded = RecordedPasses(recorder)
        answers = [ask(model, encodings[number % 3], question(model, number)) for number in range(6)]
    for one, other in zip(answers, plain, strict=True):  # at the end: no answer is written over by the next
        same(one, other)
    assert recorder.recorded == 1  # at the third pass
    assert recorder.played == 1 + 3  # to compare, and from then on


def test_forms_have_recordings_of_their_own(tiny: Any) -> None:
    recorder = Repeating()
    with torch.inference_mode():
        encoding = tiny.encode(photo(0))
        forms: list[Callable[[int], tuple[Prompts, bool, Guidance | None]]] = [
            lambda number: question(tiny, number),
            lambda number: question(tiny, number, where="before"),
            lambda number: question(tiny, number, prompts=2),
            lambda number: (question(tiny, number)[0], False, None),
            lambda number: (replace(question(tiny, number)[0], logits=None, boxes=None), True, None),
        ]
        asked = [form(number) for number in range(5) for form in forms]
        plain = [ask(tiny, encoding, each) for each in asked]
        tiny._recorded = RecordedPasses(recorder)
        for each, expected in zip(asked, plain, strict=True):
            same(ask(tiny, encoding, each), expected)
    assert recorder.recorded == len(forms)


def test_a_recording_that_gives_something_else_is_not_used(tiny: Any) -> None:
    recorder = Repeating()
    recorder.off = 0.5
    with torch.inference_mode():
        encoding = tiny.encode(photo(0))
        plain = [ask(tiny, encoding, question(tiny, number)) for number in range(6)]
        tiny._recorded = RecordedPasses(recorder)
        for number, expected in enumerate(plain):
            same(ask(tiny, encoding, question(tiny, number)), expected)
    assert (recorder.recorded, recorder.played) == (1, 1)  # it is not tried again


def _keeps_still(work: Callable[[], Decoded], _: torch.device) -> tuple[Callable[[], object], Decoded]:
    """A recording of nothing, as one of another device would be: what was made stays."""
    return lambda: None, work()


def _plays_the_first(work: Callable[[], Decoded], _: torch.device) -> tuple[Callable[[], object], Decoded]:
    """A recording into which what was given is baked."""
    made = work()
    first = made.logits.clone(), made.scores.clone()
    return lambda: (made.logits.copy_(first[0]), made.scores.copy_(first[1])), made


@pytest.mark.parametrize("recorder", [_keeps_still, _plays_the_first])
def test_a_recording_that_does_not_hear_what_is_given_is_not_used(tiny: Any, recorder: Any) -> None:
    with torch.inference_mode():
        encoding = tiny.encode(photo(0))
        same_question = question(tiny, 0)  # with which one that is deaf looks right
        plain = [ask(tiny, encoding, question(tiny, number)) for number in range(2)]
        tiny._recorded = RecordedPasses(recorder)
        for _ in range(4):
            same(ask(tiny, encoding, same_question), plain[0])
        same(ask(tiny, encoding, question(tiny, 1)), plain[1])


def test_without_room_all_recordings_go(tiny: Any) -> None:
    recorder = Repeating()

    def record(work: Callable[[], Decoded], device: torch.device) -> Any:
        if recorder.recorded == 2:
            recorder.recorded += 1
            raise torch.OutOfMemoryError
        return recorder(work, device)

    tiny._recorded = recorded = RecordedPasses(record)
    with torch.inference_mode():
        encoding = tiny.encode(photo(0))
        for points in (1, 2, 3):
            prompts = Prompts(torch.full((1, points, 2), 9.0), torch.ones(1, points))
            for _ in range(4):
                assert ask(tiny, encoding, (prompts, True, None)).logits.isfinite().all()
            assert len(recorded._kept) == (points if points < 3 else 0)
        for _ in range(26):  # later, there may be room again
            ask(tiny, encoding, (prompts, True, None))
        assert not recorded._kept
        for _ in range(4):
            ask(tiny, encoding, (prompts, True, None))
        assert len(recorded._kept) == 1


def test_large_passes_run_as_they_are(tiny: Any) -> None:
    recorder = Repeating()
    tiny._recorded = RecordedPasses(recorder)
    with torch.inference_mode():
        encoding = tiny.encode(photo(0))
        for number in range(4):
            ask(tiny, encoding, question(tiny, number, prompts=9))
    assert not recorder.recorded


FAILURES = (RuntimeError, AssertionError, ValueError, TypeError, OSError)


@pytest.mark.parametrize("kind", FAILURES)
def test_what_cannot_be_recorded_runs_as_it_is(tiny: Any, kind: type[Exception]) -> None:
    """It is told once, and nothing is recorded any more, of whatever form."""
    tried = []

    def fails(work: Callable[[], Decoded], _: torch.device) -> Any:
        tried.append(work())
        raise kind("CUDA error: operation not permitted when stream is capturing\nand so on")

    with torch.inference_mode(), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        encoding = tiny.encode(photo(0))
        plain = [ask(tiny, encoding, question(tiny, 1, where=where)) for where in ("after", "before")]
        tiny._recorded = RecordedPasses(fails)
        for _ in range(6):
            for where, expected in zip(("after", "before"), plain, strict=True):
                same(ask(tiny, encoding, question(tiny, 1, where=where)), expected)
    assert len(tried) == 1
    (warning,) = told
    assert warning.category is PersamWarning
    assert f"cannot be recorded here ({kind.__name__}: CUDA error: operation not permitted" in str(warning.message)


@pytest.mark.parametrize("kind", FAILURES)
def test_a_recording_that_breaks_costs_no_photo(tiny: Any, kind: type[Exception]) -> None:
    recorder = Repeating()

    def breaks(work: Callable[[], Decoded], device: torch.device) -> tuple[Callable[[], object], Decoded]:
        again, made = recorder(work, device)

        def once() -> None:
            if recorder.played == 3:
                raise kind("the GPU is gone")
            again()

        return once, made

    with torch.inference_mode(), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        encoding = tiny.encode(photo(0))
        plain = [ask(tiny, encoding, question(tiny, number)) for number in range(12)]
        tiny._recorded = recorded = RecordedPasses(breaks)
        for number, expected in enumerate(plain):
            same(ask(tiny, encoding, question(tiny, number)), expected)
    assert (recorder.recorded, recorder.played) == (1, 3)  # one to compare
    assert not recorded._kept
    assert all(form.recording is None for form in recorded._forms.values())
    (warning,) = told
    assert f"{kind.__name__}: the GPU is gone" in str(warning.message)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, torch.OutOfMemoryError])
def test_who_stops_a_recording_or_has_no_room_for_its_answer_is_heard(tiny: Any, kind: type[BaseException]) -> None:
    """And the recording is used again afterwards."""
    recorder, stops = Repeating(), False

    def stopped(work: Callable[[], Decoded], device: torch.device) -> tuple[Callable[[], object], Decoded]:
        again, made = recorder(work, device)

        def now() -> None:
            if stops:
                raise kind
            again()

        return now, made

    tiny._recorded = RecordedPasses(stopped)
    with torch.inference_mode():
        encoding = tiny.encode(photo(0))
        plain, *_ = [ask(tiny, encoding, question(tiny, 0)) for _ in range(3)]
        stops = True
        with pytest.raises(kind):
            ask(tiny, encoding, question(tiny, 0))
        stops = False
        played = recorder.played
        same(ask(tiny, encoding, question(tiny, 0)), plain)
    assert recorder.played == played + 1


def test_a_failing_pass_is_the_askers_and_changes_nothing(tiny: Any) -> None:
    tiny._recorded = RecordedPasses(Repeating())
    with torch.inference_mode():
        encoding = tiny.encode(photo(0))
        prompts, multimask, guidance = question(tiny, 0)
        assert guidance.attention is not None
        wrong = replace(guidance, attention=guidance.attention[..., :-1])
        for _ in range(4):
            with pytest.raises(RuntimeError):
                ask(tiny, encoding, (prompts, multimask, wrong))
        assert ask(tiny, encoding, (prompts, multimask, guidance)).logits.isfinite().all()


def test_few_recordings_are_kept_and_none_is_made_again_and_again(tiny: Any) -> None:
    recorder = Repeating()
    tiny._recorded = recorded = RecordedPasses(recorder)
    with torch.inference_mode():
        encoding = tiny.encode(photo(0))
        for _ in range(8):
            for points in range(1, 18):  # each of which drives out the next
                prompts = Prompts(torch.full((1, points, 2), 9.0), torch.ones(1, points))
                ask(tiny, encoding, (prompts, True, None))
    assert recorder.recorded == 17
    assert len(recorded._kept) == 16
    assert sum(form.recording is not None for form in recorded._forms.values()) == 16


def test_who_wants_gradients_gets_them(tiny: Any) -> None:
    recorder = Repeating()
    tiny._recorded = RecordedPasses(recorder)
    encoding = tiny.encode(photo(0))
    for number in range(5):
        prompts, multimask, guidance = question(tiny, number)
        assert guidance.attention is not None
        attention = guidance.attention.requires_grad_()
        ask(tiny, encoding, (prompts, multimask, replace(guidance, attention=attention))).logits.sum().backward()
        assert attention.grad is not None
        assert attention.grad.abs().sum() > 0
    assert not recorder.recorded


def test_threads_do_not_mix_what_they_give(tiny: Any) -> None:
    tiny._recorded = RecordedPasses(Repeating())
    start = threading.Barrier(8)
    with torch.inference_mode():
        encoding = tiny.encode(photo(0))
        plain = [ask(load_model("tiny", device="cpu"), encoding, question(tiny, number)) for number in range(8)]

    def person(number: int) -> list[Decoded]:
        start.wait(100)
        with torch.inference_mode():
            return [ask(tiny, encoding, question(tiny, number)) for _ in range(6)]

    with ThreadPoolExecutor(8) as people:
        for number, answers in enumerate(people.map(person, range(8))):
            for answer in answers:
                same(answer, plain[number])


@pytest.mark.parametrize("mode", ["official", "persam"])
def test_photos_are_segmented_as_without(mode: Any) -> None:
    reference, mask = draw_scene(60, 80, center=(40, 30), radius=14, seed=1)
    plain, recording = (PerSAM.from_pretrained("tiny", device="cpu", mode=mode) for _ in range(2))
    recorder = Repeating()
    network: Any = recording.model
    network._recorded = RecordedPasses(recorder)
    concepts = [each.learn(reference, mask, name="disc") for each in (plain, recording)]
    for number in range(5):
        found, expected = (
            each.segment(photo(number), concept) for each, concept in zip((recording, plain), concepts, strict=True)
        )
        assert np.array_equal(found.mask, expected.mask)
        assert found.score == pytest.approx(expected.score, abs=1e-5)
    assert recorder.played > 5


def test_processors_without_graphs_record_nothing(tiny: Any) -> None:
    assert tiny.device == CPU
    assert tiny._recorded is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_a_cuda_graph_gives_the_same() -> None:
    model: Any = load_model("tiny", device="cuda")
    with torch.inference_mode():
        encoding = model.encode(photo(0))
        model._recorded = None
        plain = [ask(model, encoding, question(model, number)) for number in range(6)]
        model._recorded = recorded = RecordedPasses(by_cuda_graph)
        for number, expected in enumerate(plain):
            same(ask(model, encoding, question(model, number)), expected)
    assert len(recorded._kept) == 1
