"""What differs between the families in training: what a network is asked for, how it is called, what LoRA adapts.

All of it is what diffusers' DreamBooth scripts do, with two exceptions to their defaults: FLUX is told a guidance of 1,
as in the commands of their guide, not 3.5; and T5 reads as many tokens as when the pipeline generates, not 77.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from persam.dreambooth.pipelines import diffusers, family_of, network_of, quiet
from persam.errors import PersamError

Words = dict[str, torch.Tensor]  # a prompt as the keyword arguments with which a pipeline takes it encoded

_ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
_JOINT = [f"attn.{name}" for name in (*_ATTENTION, "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")]
_FEED_FORWARD = [f"{block}.{name}" for block in ("ff", "ff_context") for name in ("net.0.proj", "net.2")]

#: Layers that LoRA adapts, by family, as in diffusers' scripts.
LORA_LAYERS = {
    "sd15": _ATTENTION,
    "sd21": _ATTENTION,
    "sdxl": _ATTENTION,
    "sd3": _JOINT,
    "flux": [*_JOINT, *_FEED_FORWARD],
}
LORA_LAYERS_OF_WORDS = ["q_proj", "k_proj", "v_proj", "out_proj"]
WEIGHT_DECAY = {"sd15": 1e-2, "sd21": 1e-2, "sdxl": 1e-4, "sd3": 1e-4, "flux": 1e-4}
_OF_WORDS = {"lr": 5e-6, "weight_decay": 1e-3}
#: Text encoders that are trained have a rate and a decay of their own there; with other families the network's.
RATE_OF_WORDS = {"sdxl": _OF_WORDS, "sd3": _OF_WORDS, "flux": _OF_WORDS}
#: FLUX.1 dev was distilled with a guidance that it is told; trained as if without.
FLUX_GUIDANCE = 1.0


@dataclass(frozen=True, eq=False)
class Noised:
    """What a network is shown and what it should find.

    Attributes:
        latents: (1, C, h, w) with noise.
        timestep: (1,), in the numbers that the network is told.
        target: (1, C, h, w), what it should find: the noise, a velocity, or for Stable Diffusion 3 the clean latents.
        sigma: (1, 1, 1, 1), the share of noise in flow matching.
    """

    latents: torch.Tensor
    timestep: torch.Tensor
    target: torch.Tensor
    sigma: torch.Tensor | None = None


class Objective:
    """What a family's network is asked for in training.

    Args:
        pipeline: whose scheduler says how much noise a time step has.

    Raises:
        PersamError: it predicts something that nobody trains on, or was trained in another way, EDM's.
    """

    def __init__(self, pipeline: Any) -> None:
        self.family = family_of(pipeline).key
        scheduler = type(pipeline.scheduler).__name__
        if "EDM" in scheduler or getattr(pipeline.vae.config, "latents_mean", None) is not None:
            raise PersamError(
                f"This model was trained with EDM's noise or normalised latents (its scheduler is {scheduler}), which "
                "persam does not train; name another."
            )
        kind = diffusers()
        config = pipeline.scheduler.config
        self.flows = self.family in ("sd3", "flux")
        self.scheduler = (kind.FlowMatchEulerDiscreteScheduler if self.flows else kind.DDPMScheduler).from_config(
            config
        )
        predicts = "flow" if self.flows else self.scheduler.config.prediction_type
        if predicts not in ("epsilon", "v_prediction", "flow"):
            raise PersamError(f"A model that predicts {predicts!r} cannot be trained; name another.")
        self.predicts = predicts

    def draw_time(self, generator: torch.Generator) -> torch.Tensor:
        """Draw how much noise: the number of a time step, (1,).

        Evenly; for Stable Diffusion 3 with logit-normal density, more in the middle (arXiv 2403.03206, section 3.1).
        """
        steps = self.scheduler.config.num_train_timesteps
        if not self.flows:
            return torch.randint(0, steps, (1,), generator=generator)
        from diffusers.training_utils import compute_density_for_timestep_sampling

        scheme = "logit_normal" if self.family == "sd3" else "none"
        share = compute_density_for_timestep_sampling(
            scheme, 1, logit_mean=0.0, logit_std=1.0, device="cpu", generator=generator
        )
        return (share * steps).long().clamp(max=steps - 1)

    def noised(self, clean: torch.Tensor, noise: torch.Tensor, time: torch.Tensor) -> Noised:
        """Add noise to latents, (1, C, h, w) float32, and say what is to be found in them.

        Args:
            clean: latents of a photo.
            noise: of the same shape, from a normal distribution.
            time: as `draw_time` gives it.
        """
        if self.flows:
            timestep = self.scheduler.timesteps[time].to(clean.device)
            sigma = self.scheduler.sigmas[time].to(clean)[:, None, None, None]
            target = clean if self.family == "sd3" else noise - clean
            return Noised((1 - sigma) * clean + sigma * noise, timestep, target, sigma)
        timestep = time.to(clean.device)
        noisy = self.scheduler.add_noise(clean, noise, timestep)
        asks_velocity = self.predicts == "v_prediction"
        target = self.scheduler.get_velocity(clean, noise, timestep) if asks_velocity else noise
        return Noised(noisy, timestep, target)

    def predict(self, network: Any, noised: Noised, words: Words, size_ids: Sequence[int]) -> torch.Tensor:
        """Ask the network.

        Args:
            network: the pipeline's UNet or transformer.
            noised: what it is shown.
            words: the caption, from `encode_words`.
            size_ids: what SDXL is told of a photo: height and width, top and left of the crop, and the crop's size.

        Returns:
            (1, C, h, w) float32.
        """
        latents = noised.latents.to(next(network.parameters()).dtype)
        return ask(self.family, network, latents, noised.timestep, words, size_ids).float()

    def error(self, prediction: torch.Tensor, noised: Noised) -> torch.Tensor:
        """The squared error of each latent, (1, C, h, w).

        Stable Diffusion 3 predicts a velocity v, and is rated by the clean latents that follow from it, x - sigma v, as
        by default in diffusers' script.
        """
        if self.family == "sd3" and noised.sigma is not None:
            prediction = noised.latents - noised.sigma * prediction
        return (prediction - noised.target) ** 2


def _ask_sd(network: Any, latents: torch.Tensor, time: torch.Tensor, words: Words, ids: Sequence[int]) -> Any:
    return network(latents, time, words["prompt_embeds"], return_dict=False)[0]


def _ask_sdxl(network: Any, latents: torch.Tensor, time: torch.Tensor, words: Words, ids: Sequence[int]) -> Any:
    sizes = torch.tensor([list(ids)], dtype=latents.dtype, device=latents.device)
    more = {"text_embeds": words["pooled_prompt_embeds"], "time_ids": sizes}
    return network(latents, time, words["prompt_embeds"], added_cond_kwargs=more, return_dict=False)[0]


def _ask_sd3(network: Any, latents: torch.Tensor, time: torch.Tensor, words: Words, ids: Sequence[int]) -> Any:
    return network(
        hidden_states=latents,
        timestep=time,
        encoder_hidden_states=words["prompt_embeds"],
        pooled_projections=words["pooled_prompt_embeds"],
        return_dict=False,
    )[0]


def _ask_flux(network: Any, latents: torch.Tensor, time: torch.Tensor, words: Words, ids: Sequence[int]) -> Any:
    """FLUX takes squares of 2 x 2 latents as tokens; they are put in place again."""
    pipeline = diffusers().FluxPipeline
    batch, channels, height, width = latents.shape
    place, form = latents.device, latents.dtype
    guidance = torch.full((batch,), FLUX_GUIDANCE, device=place) if network.config.guidance_embeds else None
    tokens = network(
        hidden_states=pipeline._pack_latents(latents, batch, channels, height, width),
        timestep=time / 1000,  # it counts in thousands itself
        guidance=guidance,
        pooled_projections=words["pooled_prompt_embeds"],
        encoder_hidden_states=words["prompt_embeds"],
        txt_ids=torch.zeros(words["prompt_embeds"].shape[1], 3, device=place, dtype=form),
        img_ids=pipeline._prepare_latent_image_ids(batch, height // 2, width // 2, place, form),
        return_dict=False,
    )[0]
    return pipeline._unpack_latents(tokens, height, width, 1)


_ASK = {"sd15": _ask_sd, "sd21": _ask_sd, "sdxl": _ask_sdxl, "sd3": _ask_sd3, "flux": _ask_flux}


def ask(
    family: str, network: Any, latents: torch.Tensor, time: torch.Tensor, words: Words, ids: Sequence[int]
) -> torch.Tensor:
    """Call a family's network, with what `Objective.predict` is about."""
    found: torch.Tensor = _ASK[family](network, latents, time, words, ids)
    return found


def encode_words(pipeline: Any, prompt: str, *, guided: bool = True) -> Words:
    """Encode a prompt as the pipeline itself does, with gradients where its text encoders are trained.

    Args:
        pipeline: with its text encoders.
        prompt: the words.
        guided: also encode no words at all, as guidance needs it when a picture is generated.

    Returns:
        Keyword arguments for a call of the pipeline.
    """
    family = family_of(pipeline).key
    place = next(pipeline.text_encoder.parameters()).device
    with quiet():
        if family in ("sd15", "sd21"):
            found = pipeline.encode_prompt(prompt, place, 1, guided)
        elif family == "flux":
            found = pipeline.encode_prompt(prompt, None, device=place)[:2]
        else:
            more = {"prompt_3": None} if family == "sd3" else {}
            found = pipeline.encode_prompt(
                prompt=prompt, prompt_2=None, device=place, do_classifier_free_guidance=guided, **more
            )
    names = _ENCODED.get(family, ("prompt_embeds", "negative_prompt_embeds", *_POOLED))
    return {name: tensor for name, tensor in zip(names, found, strict=True) if tensor is not None}


_POOLED = ("pooled_prompt_embeds", "negative_pooled_prompt_embeds")
# What a pipeline's `encode_prompt` gives, in its order.
_ENCODED = {
    "sd15": ("prompt_embeds", "negative_prompt_embeds"),
    "sd21": ("prompt_embeds", "negative_prompt_embeds"),
    "flux": ("prompt_embeds", "pooled_prompt_embeds"),
}


def text_encoders(pipeline: Any) -> dict[str, Any]:
    """The parts of a pipeline that read words, those that there are."""
    names = ("text_encoder", "text_encoder_2", "text_encoder_3")
    return {name: part for name in names if (part := getattr(pipeline, name, None)) is not None}


def trainable_text_encoders(pipeline: Any) -> dict[str, Any]:
    """Those of CLIP; T5 is never trained."""
    return {name: part for name, part in text_encoders(pipeline).items() if "T5" not in type(part).__name__}


def add_lora(pipeline: Any, rank: int, *, words: bool) -> None:
    """Give the network, and with `words` CLIP's text encoders, low-rank layers to train (arXiv 2106.09685), on which
    PyTorch's random numbers decide."""
    with quiet():
        network_of(pipeline).add_adapter(lora_layers(family_of(pipeline).key, rank))
        if words:
            for encoder in trainable_text_encoders(pipeline).values():
                encoder.add_adapter(lora_layers(None, rank))


def lora_layers(family: str | None, rank: int) -> Any:
    """Peft's description of the low-rank layers of a family's network; None: of a text encoder."""
    from peft import LoraConfig

    names = LORA_LAYERS_OF_WORDS if family is None else LORA_LAYERS[family]
    return LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=names)


def save_lora(pipeline: Any, folder: Path, file: str, *, words: bool) -> None:
    """Save the low-rank layers by the pipeline's own `save_lora_weights`, so that any pipeline of the family takes
    them by `load_lora_weights`."""
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    network = family_of(pipeline).network
    learned = get_peft_model_state_dict(network_of(pipeline))
    parts: Mapping[str, Any] = {network: convert_state_dict_to_diffusers(learned) if network == "unet" else learned}
    if words:
        parts = {
            **parts,
            **{
                name: convert_state_dict_to_diffusers(get_peft_model_state_dict(encoder))
                for name, encoder in trainable_text_encoders(pipeline).items()
            },
        }
    with quiet():
        type(pipeline).save_lora_weights(
            folder, weight_name=file, **{f"{name}_lora_layers": tensors for name, tensors in parts.items()}
        )
