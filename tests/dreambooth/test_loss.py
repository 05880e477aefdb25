"""The masked loss: what it is beside diffusers' own, and what of a photo has a gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, EDMEulerScheduler, FlowMatchEulerDiscreteScheduler, FluxPipeline
from tests.dreambooth.tiny_pipelines import FAMILIES, LATENT
from torch.nn import functional as F

from persam.dreambooth.families import Objective, encode_words
from persam.dreambooth.loss import latent_weights, weighted_mean
from persam.dreambooth.pipelines import load_pipeline, network_of
from persam.errors import PersamError

Tiny = Callable[[str], Path]
IDS = (32, 32, 0, 0, 32, 32)


def test_a_latent_counts_what_the_subject_covers_of_it() -> None:
    mask = np.zeros((32, 32), bool)
    mask[4:10, 8:16] = True  # of the latents of 4 x 4: one row whole, of the next half
    weights = latent_weights(mask, (8, 8))
    expected = torch.zeros(8, 8)
    expected[1, 2:4], expected[2, 2:4] = 1, 0.5
    assert torch.equal(weights[0, 0], expected)
    assert torch.allclose(latent_weights(mask, (8, 8), 0.2)[0, 0], 0.2 + 0.8 * expected)


def test_it_is_a_mean_over_the_subject() -> None:
    error = torch.rand(1, 4, 8, 8)
    weights = torch.zeros(1, 1, 8, 8)
    weights[..., 2:4, 2:4] = 1
    assert torch.isclose(weighted_mean(error, weights), error[..., 2:4, 2:4].mean())
    assert torch.equal(weighted_mean(error, torch.ones(1, 1, 8, 8)), error.mean())
    assert torch.equal(weighted_mean(error), error.mean())


@pytest.fixture(scope="module")
def loaded(tiny: Tiny) -> Callable[[str], Any]:
    """A function that gives the pipeline of a family, loaded once."""
    return cache(lambda family: load_pipeline(tiny(family), device="cpu", dtype="float32"))


@pytest.fixture
def asked(request: pytest.FixtureRequest, loaded: Callable[[str], Any]) -> dict[str, Any]:
    """A pipeline, latents, noise, words and time of a family."""
    pipeline = loaded(request.param)
    generator = torch.Generator().manual_seed(3)
    clean, noise = (torch.randn(1, 4, LATENT, LATENT, generator=generator) for _ in range(2))
    words = {name: each.detach() for name, each in encode_words(pipeline, "a photo of t@y mug", guided=False).items()}
    return {
        "family": request.param,
        "pipeline": pipeline,
        "clean": clean,
        "noise": noise,
        "words": words,
        "time": torch.tensor([437]),
    }


@pytest.mark.parametrize("asked", FAMILIES, indirect=True)
def test_with_a_mask_of_ones_it_is_the_loss_of_diffusers_scripts(asked: dict[str, Any]) -> None:
    objective = Objective(asked["pipeline"])
    noised = objective.noised(asked["clean"], asked["noise"], asked["time"])
    network = network_of(asked["pipeline"])
    with torch.no_grad():
        found = objective.error(objective.predict(network, noised, asked["words"], IDS), noised)
        loss = weighted_mean(found, latent_weights(np.ones((32, 32), bool), (LATENT, LATENT)))
        expected = {"sd3": loss_of_sd3, "flux": loss_of_flux}.get(asked["family"], loss_of_sd)(**asked)
    assert loss.item() == expected.item()


def loss_of_sd(
    family: str, pipeline: Any, clean: torch.Tensor, noise: torch.Tensor, words: dict[str, Any], time: torch.Tensor
) -> torch.Tensor:
    """As train_dreambooth.py and train_dreambooth_lora_sdxl.py compute it."""
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    more = {}
    if family == "sdxl":
        ids = torch.tensor([list(IDS)], dtype=torch.float32)
        more = {"added_cond_kwargs": {"time_ids": ids, "text_embeds": words["pooled_prompt_embeds"]}}
    noisy = scheduler.add_noise(clean, noise, time)
    found = pipeline.unet(noisy, time, words["prompt_embeds"], **more).sample
    assert (scheduler.config.prediction_type == "v_prediction") == (family == "sd21")
    target = scheduler.get_velocity(clean, noise, time) if family == "sd21" else noise
    return F.mse_loss(found, target, reduction="mean")


def loss_of_sd3(
    pipeline: Any, clean: torch.Tensor, noise: torch.Tensor, words: dict[str, Any], time: torch.Tensor, **_: Any
) -> torch.Tensor:
    """As train_dreambooth_sd3.py computes it, whose outputs are preconditioned by default."""
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    sigma = scheduler.sigmas[time].view(1, 1, 1, 1)
    noisy = (1.0 - sigma) * clean + sigma * noise
    found = pipeline.transformer(
        hidden_states=noisy,
        timestep=scheduler.timesteps[time],
        encoder_hidden_states=words["prompt_embeds"],
        pooled_projections=words["pooled_prompt_embeds"],
    ).sample
    preconditioned = found * (-sigma) + noisy
    return torch.mean((preconditioned - clean) ** 2)


def loss_of_flux(
    pipeline: Any, clean: torch.Tensor, noise: torch.Tensor, words: dict[str, Any], time: torch.Tensor, **_: Any
) -> torch.Tensor:
    """As train_dreambooth_flux.py computes it, with a guidance of 1."""
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    sigma = scheduler.sigmas[time].view(1, 1, 1, 1)
    noisy = (1.0 - sigma) * clean + sigma * noise
    found = pipeline.transformer(
        hidden_states=FluxPipeline._pack_latents(noisy, 1, 4, LATENT, LATENT),
        timestep=scheduler.timesteps[time] / 1000,
        guidance=torch.tensor([1.0]),
        pooled_projections=words["pooled_prompt_embeds"],
        encoder_hidden_states=words["prompt_embeds"],
        txt_ids=torch.zeros(words["prompt_embeds"].shape[1], 3),
        img_ids=FluxPipeline._prepare_latent_image_ids(1, LATENT // 2, LATENT // 2, clean.device, clean.dtype),
    ).sample
    unpacked = FluxPipeline._unpack_latents(found, LATENT * 8, LATENT * 8, 8)
    return torch.mean((unpacked - (noise - clean)) ** 2)


@pytest.mark.parametrize("asked", FAMILIES, indirect=True)
@pytest.mark.parametrize("floor", [0.0, 0.25])
def test_what_a_network_predicts_of_the_background_has_no_gradient(asked: dict[str, Any], floor: float) -> None:
    mask = np.zeros((32, 32), bool)
    mask[8:24, 16:28] = True  # on the grid of the latents, which are 4 x 4 pixels here
    inside = torch.zeros(LATENT, LATENT, dtype=torch.bool)
    inside[2:6, 4:7] = True
    objective, network = Objective(asked["pipeline"]), network_of(asked["pipeline"])
    outputs: list[torch.Tensor] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        output[0].retain_grad()
        outputs.append(output[0])

    hook = network.register_forward_hook(keep)
    noised = objective.noised(asked["clean"], asked["noise"], asked["time"])
    error = objective.error(objective.predict(network, noised, asked["words"], IDS), noised)
    weighted_mean(error, latent_weights(mask, (LATENT, LATENT), floor)).backward()
    hook.remove()
    gradient = outputs[0].grad
    assert gradient is not None
    if asked["family"] == "flux":  # whose tokens are squares of 2 x 2 latents
        gradient = FluxPipeline._unpack_latents(gradient, LATENT, LATENT, 1)
    assert gradient.shape == (1, 4, LATENT, LATENT)
    assert torch.all(gradient[..., inside] != 0)
    assert torch.all((gradient[..., ~inside] != 0) == (floor > 0))


@pytest.mark.parametrize("how", ["scheduler", "latents"])
def test_edm_is_refused(how: str, tiny: Tiny) -> None:
    pipeline = load_pipeline(tiny("sdxl"), device="cpu", dtype="float32")
    if how == "scheduler":
        pipeline.scheduler = EDMEulerScheduler(sigma_data=0.5)
    else:
        pipeline.vae.register_to_config(latents_mean=[0.0] * 4, latents_std=[1.0] * 4)
    with pytest.raises(PersamError, match="trained with EDM's noise or normalised latents .* name another"):
        Objective(pipeline)


def test_time_is_drawn_as_the_family_is_trained(loaded: Callable[[str], Any]) -> None:
    def drawn(family: str) -> torch.Tensor:
        objective = Objective(loaded(family))
        generator = torch.Generator().manual_seed(0)
        return torch.cat([objective.draw_time(generator) for _ in range(1500)]) / 1000

    quarters = torch.tensor([0.25, 0.5, 0.75])
    for family in ("sd15", "flux"):  # evenly
        assert torch.allclose(torch.quantile(drawn(family), quarters), quarters, atol=0.04)
    normal = torch.distributions.Normal(0, 1)  # SD 3: the logit is normal
    expected = torch.sigmoid(normal.icdf(torch.tensor([0.1, 0.5, 0.9])))
    assert torch.allclose(torch.quantile(drawn("sd3"), torch.tensor([0.1, 0.5, 0.9])), expected, atol=0.04)
