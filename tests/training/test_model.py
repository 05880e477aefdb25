"""The network that is trained: where its weights come from, and what can learn."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from tests.fakes import SMALL_TINY

from persam.models.base import Prompts
from persam.models.tiny.architecture import TinyConfig, TinySam
from training.model import (
    Average,
    as_sam,
    as_trainable_sam,
    attention_on,
    deepened,
    encode_views,
    initial_network,
    save_checkpoint,
)


def test_a_run_begins_with_weights_with_the_average_in_a_checkpoint_or_with_nothing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, average = TinySam(SMALL_TINY), Average(TinySam(SMALL_TINY))
    average.model.save(tmp_path / "saved.safetensors", {"photos_seen": 3})
    model.history = {"photos_seen": 3}
    optimiser = torch.optim.AdamW(model.parameters())
    save_checkpoint(tmp_path / "checkpoint.pt", model, average, optimiser, {"steps": 1})
    for name in ("saved.safetensors", "checkpoint.pt"):
        network = initial_network(tmp_path / name)
        assert network.history == {"photos_seen": 3}
        for key, value in average.model.state_dict().items():
            torch.testing.assert_close(network.state_dict()[key], value, atol=1e-3, rtol=1e-3)
    assert initial_network(None).config == TinyConfig()


def test_a_deeper_network_begins_where_the_other_was_and_its_new_blocks_learn() -> None:
    torch.manual_seed(0)
    network = TinySam(SMALL_TINY).eval()
    network.history = {"photos_seen": 3}
    more = tuple(blocks + 1 for blocks in SMALL_TINY.depths)
    deeper = deepened(network, more).eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    both = as_trainable_sam(network), as_trainable_sam(deeper)
    for train in (False, True):
        one, other = (encode_views(model, images).features for model in both if model.network.train(train))
        torch.testing.assert_close(other, one)
    assert (deeper.config.depths, deeper.history) == (more, {"photos_seen": 3})
    new = set(dict(deeper.named_parameters())) - set(dict(network.named_parameters()))
    optimiser = torch.optim.Adam(deeper.parameters())
    before = {name: deeper.get_parameter(name).detach().clone() for name in new}
    for _ in range(2):  # the first step moves what multiplies with zero, the second all of it
        optimiser.zero_grad()
        encode_views(both[1], images).features.square().mean().backward()
        optimiser.step()
    assert new
    assert [name for name in new if torch.equal(deeper.get_parameter(name), before[name])] == []


@pytest.mark.parametrize("depths", [(1, 1, 1), (0, 9, 9, 9)])
def test_no_block_is_taken_away(depths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="blocks can be added"):
        deepened(TinySam(SMALL_TINY), depths)


def test_the_average_follows_the_weights() -> None:
    model = TinySam(SMALL_TINY)
    average = Average(model, decay=0.5)
    before = model.prompt_encoder.no_mask_embed.weight.detach().clone()
    model.prompt_encoder.no_mask_embed.weight.data += 1
    average.update(model)  # warm-up: the decay is 2 / 11
    torch.testing.assert_close(average.model.prompt_encoder.no_mask_embed.weight, before + 9 / 11)
    for _ in range(60):
        average.update(model)
    torch.testing.assert_close(average.model.prompt_encoder.no_mask_embed.weight, before + 1)


def test_only_the_positions_stay_as_they_are_when_it_learns() -> None:
    network = TinySam(SMALL_TINY).eval()
    assert not any(parameter.requires_grad for parameter in as_sam(TinySam(SMALL_TINY)).network.parameters())
    model = as_trainable_sam(network)
    assert network.training
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert frozen == {"shared_image_embedding.positional_embedding"}
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert encode_views(model, images).features.requires_grad


def test_the_layouts_that_training_asks_for_change_no_number() -> None:
    torch.manual_seed(0)
    network = TinySam(SMALL_TINY)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    prompts = Prompts(torch.rand(2, 3, 2) * 64, torch.ones(2, 3), logits=torch.randn(2, 1, 32, 32))
    results = []
    for prepare in (as_sam, as_trainable_sam):
        model = prepare(network)
        network.eval().requires_grad_(True)
        network.zero_grad()
        with attention_on(model.device) if prepare is as_trainable_sam else nullcontext():
            decoded = model.decode(encode_views(model, images), prompts, multimask=True)
        decoded.logits.square().mean().backward()
        gradients = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
        results.append((decoded.logits.detach(), gradients))
    (plain, before), (aligned, after) = results
    torch.testing.assert_close(aligned, plain, atol=1e-5, rtol=1e-4)
    assert before.keys() == after.keys()
    for name, gradient in before.items():
        torch.testing.assert_close(after[name], gradient, atol=1e-5, rtol=1e-3)


def test_views_are_encoded_as_photos_are() -> None:
    model = as_sam(TinySam(SMALL_TINY))
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    views = encode_views(model, images)
    for image, features in zip(images, views.features, strict=True):
        alone = model.encode(image.permute(1, 2, 0).numpy())
        torch.testing.assert_close(features[None], alone.features, atol=1e-5, rtol=1e-4)
        assert views.frame == alone.frame
