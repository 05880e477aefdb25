"""Propagators of transformers: the same masks as its own sessions, a memory with a bound, and what loading says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file
from tests.fakes import random_network
from tests.video.memories import SIDE_3, random_tracker, saved_tracker, tracker_config, whole_sam3
from torch import Tensor

from persam.errors import PersamError
from persam.models.pixels import pixels_of
from persam.models.propagator import (
    Carried,
    Propagation,
    Propagator,
    TransformersPropagator,
    load_propagator,
)

KINDS = ("sam2_video", "sam2.0_video", "edgetam_video", "sam3_tracker_video")
CPU = torch.device("cpu")


def propagator_of(kind: str, network: Any = None, **options: Any) -> TransformersPropagator:
    network = random_tracker(kind) if network is None else network
    family = type(network).__name__.removesuffix("Model")
    return TransformersPropagator(
        network, getattr(transformers, f"{family}InferenceSession"), name=kind, device=CPU, **options
    )


@pytest.fixture(params=KINDS)
def propagator(request: pytest.FixtureRequest) -> TransformersPropagator:
    return propagator_of(request.param)


def frame_of(number: int, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 255, (*size, 3), np.uint8)


def mask_of(left: int, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[15:45, left : left + 25] = True
    return mask


def carried(memory: Propagation, frames: range, *numbers: int) -> Iterator[tuple[Carried, ...]]:
    for frame in frames:
        memory.show(frame_of(frame))
        yield tuple(memory.carry(number) for number in numbers)


def assert_same(one: Carried, odds: Tensor, presence: Tensor) -> None:
    torch.testing.assert_close(torch.from_numpy(one.odds), odds.float(), atol=1e-4, rtol=1e-4)
    assert one.presence == pytest.approx(float(presence), abs=1e-4)


def own_session(propagator: TransformersPropagator, masks: list[np.ndarray], video: Tensor | None = None) -> Any:
    """A session as transformers' documentation has it: all objects in one, their masks in frame 0."""
    session = propagator.session(video=video, inference_device=CPU, dtype=propagator.dtype)
    for number, mask in enumerate(masks, start=1):
        session.add_mask_inputs(session.obj_id_to_idx(number), 0, propagator.prepare_mask(mask))
    session.obj_with_new_inputs = list(range(1, len(masks) + 1))
    return session


@pytest.mark.parametrize("objects", [1, 2])
def test_the_masks_are_those_of_transformers_session_frame_by_frame(
    propagator: TransformersPropagator, objects: int
) -> None:
    masks = [mask_of(left) for left in (5, 45)[:objects]]
    session, memory = own_session(propagator, masks), propagator.begin()
    network = propagator.network
    network(session, frame=propagator.prepare(frame_of(0)), frame_idx=0)
    memory.show(frame_of(0))
    for number, mask in enumerate(masks, start=1):
        memory.prompt(number, mask, given=True)
    for frame in range(1, 9):  # more frames than memories and pointers
        own = network(session, frame=propagator.prepare(frame_of(frame)), frame_idx=frame)
        memory.show(frame_of(frame))
        for place in range(objects):
            assert_same(memory.carry(place + 1), own.pred_masks[place, 0], own.object_score_logits.flatten()[place])


def test_the_masks_are_those_of_transformers_propagation_through_a_whole_video(
    propagator: TransformersPropagator,
) -> None:
    video = torch.cat([propagator.prepare(frame_of(frame)) for frame in range(8)])
    session, memory = own_session(propagator, [mask_of(5)], video), propagator.begin()
    own = list(propagator.network.propagate_in_video_iterator(session, start_frame_idx=0))
    memory.show(frame_of(0))
    memory.prompt(1, mask_of(5))
    for (mine,), theirs in zip(carried(memory, range(1, 8), 1), own[1:], strict=True):
        assert_same(mine, theirs.pred_masks[0, 0], theirs.object_score_logits)


def test_what_is_remembered_makes_a_difference(propagator: TransformersPropagator) -> None:
    """Or else the tests above would compare nothing."""
    answers = []
    for left in (5, 45):
        memory = propagator.begin()
        memory.show(frame_of(0))
        memory.prompt(1, mask_of(left))
        answers.append([one.odds for (one,) in carried(memory, range(1, 4), 1)])
    assert np.abs(answers[0][2] - answers[1][2]).max() > 1e-3


def test_a_new_mask_begins_anew(propagator: TransformersPropagator) -> None:
    memory, fresh = propagator.begin(), propagator.begin()
    memory.show(frame_of(0))
    memory.prompt(1, mask_of(5))
    list(carried(memory, range(1, 5), 1))  # it was asked in the same frame, too
    fresh.show(frame_of(4))
    for each in (memory, fresh):
        each.prompt(1, mask_of(45))
    for (one,), (other,) in zip(carried(memory, range(5, 9), 1), carried(fresh, range(5, 9), 1), strict=True):
        torch.testing.assert_close(torch.from_numpy(one.odds), torch.from_numpy(other.odds))
        assert one.presence == pytest.approx(other.presence)


def test_a_mask_that_was_given_stays_remembered(propagator: TransformersPropagator) -> None:
    answers = []
    for given in (False, True):
        memory = propagator.begin()
        memory.show(frame_of(0))
        memory.prompt(1, mask_of(5), given=given)
        list(carried(memory, range(1, 3), 1))
        memory.prompt(1, mask_of(45))
        answers.append([one.odds for (one,) in carried(memory, range(3, 5), 1)])
    assert np.abs(answers[0][1] - answers[1][1]).max() > 1e-3


def test_another_goes_on_from_what_is_remembered(propagator: TransformersPropagator) -> None:
    one, other = propagator.begin(), propagator.begin()
    one.show(frame_of(0))
    one.prompt(1, mask_of(5), given=True)
    one.prompt(2, mask_of(45), given=True)
    for frame in range(1, 12):
        one.show(frame_of(frame))
        now = [one.carry(number) for number in (1, 2)]
        if frame == 6:
            one.prompt(2, mask_of(30))
        if frame >= 7:
            other.show(frame_of(frame))
            for mine, theirs in zip(now, (other.carry(1), other.carry(2)), strict=True):
                np.testing.assert_array_equal(mine.odds, theirs.odds)
                assert mine.presence == theirs.presence
        if frame in (6, 9):  # of the one that goes on unchanged, whatever comes of the other
            other = propagator.begin()
            other.restore(one.state())  # type: ignore[attr-defined]


def test_the_order_of_objects_makes_no_difference(propagator: TransformersPropagator) -> None:
    answers = []
    for first, second in ((1, 2), (2, 1)):
        memory = propagator.begin()
        memory.show(frame_of(0))
        for number in (first, second):
            memory.prompt(number, mask_of({first: 5, second: 45}[number]))
        found = list(carried(memory, range(1, 3), first, second))
        memory.prompt(second, mask_of(30))  # of no concern to the first one
        answers.append([*found, *carried(memory, range(3, 5), first, second)])
    for one, other in zip(*answers, strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left.odds, right.odds)


def test_a_frame_is_encoded_once_for_all(propagator: TransformersPropagator) -> None:
    encoded = []
    propagator.network.vision_encoder.register_forward_hook(lambda *_: encoded.append(1))
    memory = propagator.begin()
    memory.show(frame_of(0))
    memory.prompt(1, mask_of(5))
    memory.prompt(2, mask_of(45))
    list(carried(memory, range(1, 4), 1, 2))
    memory.prompt(2, mask_of(30))
    assert len(encoded) == 4


def numbers_in(thing: Any) -> int:
    """How many numbers are kept, in tensors and in dictionaries."""
    if isinstance(thing, Tensor):
        return thing.numel()
    if isinstance(thing, dict):
        return len(thing) + sum(map(numbers_in, thing.values()))
    if isinstance(thing, (list, tuple, set)):
        return len(thing) + sum(map(numbers_in, thing))
    parts = getattr(thing, "__dict__", {}) if type(thing).__module__.startswith("transformers") else {}
    return numbers_in(dict(parts))


# 200 frames take more than a second: what grows by a number a frame would not show in a few.
@pytest.mark.parametrize(("kind", "frames"), [(KINDS[0], 200), *((kind, 30) for kind in KINDS[1:])])
def test_the_memory_does_not_grow(kind: str, frames: int) -> None:
    propagator = propagator_of(kind)
    network = propagator.network
    seen = network.get_image_features(propagator.prepare(frame_of(0)))
    network.get_image_features = lambda *_, **__: seen  # takes half of the time, and is of no concern here
    memory: Any = propagator.begin()
    memory.show(frame_of(0))
    memory.prompt(1, mask_of(5), given=True)
    sizes = []
    for frame in range(1, frames):
        memory.show(frame_of(frame % 3))
        memory.carry(1)
        if frame % 7 == 0:
            memory.prompt(1, mask_of(frame % 40))
        sizes.append(numbers_in(memory._sessions) + numbers_in(memory._given) + numbers_in(memory._shared))
    assert max(sizes[7:]) == max(sizes[7:14])


def test_numbers_that_are_none_are_said() -> None:
    """As some weights give them in 16 bits."""
    propagator = propagator_of("sam2_video")
    memory = propagator.begin()
    memory.show(frame_of(0))
    memory.prompt(1, mask_of(5))
    propagator.network.no_memory_embedding.fill_(np.nan)
    propagator.network.memory_temporal_positional_encoding.fill_(np.nan)
    memory.show(frame_of(1))
    with pytest.raises(
        PersamError, match="sam2_video gives NaN or infinity for a frame of the clip; try --dtype float32"
    ):
        memory.carry(1)


@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_in_bfloat16(kind: str, tmp_path: Path) -> None:
    name = saved_tracker(kind, tmp_path)
    found = []
    for dtype in ("float32", "bfloat16"):
        propagator = load_propagator(name, device="cpu", dtype=dtype)
        assert {each.dtype for each in propagator.network.parameters()} == {getattr(torch, dtype)}
        memory = propagator.begin()
        memory.show(frame_of(0))
        memory.prompt(1, mask_of(5))
        found.append([one for (one,) in carried(memory, range(1, 4), 1)][-1])
    exact, short = found
    assert short.odds.dtype == np.float32
    assert np.abs(exact.odds - short.odds).max() < 0.05 * np.abs(exact.odds).max()
    assert short.presence == pytest.approx(exact.presence, rel=0.02)


# --------------------------------------------------------------------------------------------------------- preparing


@pytest.mark.parametrize("size", [(60, 80), (300, 200), (128, 128), (1, 1)])
def test_a_frame_is_stretched_and_normalised(size: tuple[int, int]) -> None:
    """As torchvision resizes tensors: bilinear, with antialias."""
    pixels = frame_of(0, size)
    propagator = propagator_of("sam2_video")
    found = propagator.prepare(pixels)[0]
    raw = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    raw = F.interpolate(raw, (128, 128), mode="bilinear", antialias=True)[0] / 255
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert float(((found * std + mean) - raw).abs().max()) <= 1.01 / 255


@pytest.mark.parametrize(("rows", "expected"), [(slice(0, 300), 0.5), (slice(7, 8), None)])
def test_a_mask_keeps_its_place_and_is_never_lost(rows: slice, expected: float | None) -> None:
    mask = np.zeros((600, 900), bool)
    mask[rows, 10 : 900 if expected else 11] = True
    found = propagator_of("sam2_video").prepare_mask(mask)
    assert found.shape == (1, 1, 128, 128)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    if expected:
        assert float(found.mean()) == pytest.approx(expected, abs=0.02)
    else:
        assert found.sum() == 1
        assert found[0, 0, 1, 1] == 1


# ----------------------------------------------------------------------------------------------------------- loading


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_tells_its_kind(kind: str, tmp_path: Path) -> None:
    loaded = load_propagator(saved_tracker(kind, tmp_path), device="cpu", dtype="float32")
    assert isinstance(loaded, Propagator)
    assert type(loaded.network) is type(random_tracker(kind))
    own = random_tracker(kind).state_dict()
    assert all(torch.equal(value, own[name]) for name, value in loaded.network.state_dict().items())
    mean = (0.5,) * 3 if kind.startswith("sam3") else (0.485, 0.456, 0.406)
    torch.testing.assert_close(loaded._mean.flatten(), torch.tensor(mean))


@pytest.mark.parametrize("prefix", ["tracker_model.tracker_model.", "tracker_model."])  # as saved now, and plain
def test_the_tracker_of_a_whole_sam_3_is_taken_out_of_it(tmp_path: Path, prefix: str) -> None:
    whole = whole_sam3()
    whole.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    saved = load_file(weights)
    save_file(
        {name.replace("tracker_model.tracker_model.", prefix): value for name, value in saved.items()},
        weights,
        {"format": "pt"},
    )
    loaded = load_propagator(tmp_path, device="cpu", dtype="float32")
    assert loaded.side == SIDE_3
    found = loaded.network.state_dict()
    for part, place in (
        (whole.tracker_model, ""),
        (whole.tracker_neck, "vision_encoder.neck."),
        (whole.detector_model.vision_encoder.backbone, "vision_encoder.backbone."),
    ):
        assert all(torch.equal(value, found[place + name]) for name, value in part.state_dict().items())


@pytest.mark.parametrize("file", ["preprocessor_config.json", "processor_config.json"])
def test_the_preprocessing_that_a_model_says_is_used(tmp_path: Path, file: str) -> None:
    name = saved_tracker("sam2_video", tmp_path)
    said = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    nested = {"image_processor": said} if file == "processor_config.json" else said
    (tmp_path / file).write_text(json.dumps(nested))
    loaded = load_propagator(name, device="cpu")
    torch.testing.assert_close(loaded._mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(loaded._std.flatten(), torch.tensor([0.4, 0.5, 0.6]))


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "not a valid JSON"), ('{"image_mean": [0.1]}', "image_mean and image_std are not three numbers")],
)
def test_a_damaged_preprocessing_is_said(tmp_path: Path, text: str, said: str) -> None:
    name = saved_tracker("sam2_video", tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(PersamError, match=said):
        load_propagator(name)


def test_a_name_that_is_not_here_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persam.models.hub._is_offline", lambda: True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said = "facebook/sam2.1-hiera-nowhere is not on this machine, .* or follow without a propagator.$"
    with pytest.raises(PersamError, match=said):
        load_propagator("facebook/sam2.1-hiera-nowhere")


def test_without_a_file_of_the_preprocessing_it_is_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a model in the hub's cache that transformers fetched without it."""
    monkeypatch.setattr("persam.models.hub._is_offline", lambda: True)
    usual = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert pixels_of("facebook/sam2.1-hiera-nowhere", usual) == usual


def test_a_model_of_another_kind(tmp_path: Path) -> None:
    random_network().save_pretrained(tmp_path)
    with pytest.raises(
        PersamError, match="is a model of type sam, which carries no masks through a clip; name a SAM 2"
    ):
        load_propagator(tmp_path)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(PersamError, match="is there, but holds no model that transformers can load"):
        load_propagator(tmp_path)


def test_weights_that_are_missing_or_no_numbers(tmp_path: Path) -> None:
    name = saved_tracker("sam2_video", tmp_path)
    weights = tmp_path / "model.safetensors"
    saved = load_file(weights)
    without = {key: value for key, value in saved.items() if key != "no_memory_embedding"}
    save_file(without, weights, {"format": "pt"})
    with pytest.raises(PersamError, match="lacks 1 of the model's tensors, such as no_memory_embedding"):
        load_propagator(name)
    save_file({**saved, "no_memory_embedding": saved["no_memory_embedding"] * np.nan}, weights, {"format": "pt"})
    with pytest.raises(PersamError, match="no_memory_embedding holds NaN or infinity"):
        load_propagator(name)


@pytest.mark.skipif(transformers.utils.is_timm_available(), reason="with timm it can be made")
def test_an_edgetam_whose_encoder_needs_timm(tmp_path: Path) -> None:
    config = tracker_config("edgetam_video")
    encoder = transformers.TimmWrapperConfig(architecture="resnet50")  # persam itself has the published one's
    vision = transformers.EdgeTamVisionConfig(backbone_config=encoder, fpn_hidden_size=128)
    transformers.EdgeTamVideoConfig(**{**config.to_dict(), "vision_config": vision.to_dict()}).save_pretrained(tmp_path)
    save_file({"nothing": torch.zeros(1)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        PersamError, match=r"needs a library that is not installed \(timm\); install it, or follow without a propagator"
    ):
        load_propagator(tmp_path)
