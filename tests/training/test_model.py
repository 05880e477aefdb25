"""The network that is trained: where its weights come from, and what can learn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.fakes import SMALL_TINY

from persam.models.tiny.architecture import SHARED_MATRIX, TinySam
from training.model import _TRIAL_NAMES, Average, as_sam, as_trainable_sam, encode_views, from_trial, initial_network


@pytest.mark.parametrize("named_twice", [True, False])
def test_names_of_the_trial_are_mapped(tmp_path: Path, named_twice: bool) -> None:
    model = TinySam()
    old = {}
    for name, value in model.state_dict().items():
        prefix, full = next((short, full) for short, full in _TRIAL_NAMES.items() if name.startswith(full))
        if named_twice or name != SHARED_MATRIX:
            old[prefix + name[len(full) :]] = value.clone()
    mapped = from_trial(old)
    assert set(mapped) >= set(model.state_dict()) - {SHARED_MATRIX}
    save_file(old, tmp_path / "trial.safetensors")
    loaded = initial_network(tmp_path / "trial.safetensors")
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    with pytest.raises(ValueError, match="not a weight of the trial"):
        from_trial({"head.weight": torch.zeros(1)})


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


def test_views_are_encoded_as_photos_are() -> None:
    model = as_sam(TinySam(SMALL_TINY))
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    views = encode_views(model, images)
    for image, features in zip(images, views.features, strict=True):
        alone = model.encode(image.permute(1, 2, 0).numpy())
        torch.testing.assert_close(features[None], alone.features, atol=1e-5, rtol=1e-4)
        assert views.frame == alone.frame
