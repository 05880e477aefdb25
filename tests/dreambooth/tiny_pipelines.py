"""Tiny random text-to-image pipelines of diffusers' own classes, saved in folders that load by name like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PNDMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

FAMILIES = ("sd15", "sd21", "sdxl", "sd3", "flux")
RESOLUTION = 32  # pixels; the networks' own
LATENT = 8  # the side of a photo's latents: the autoencoder makes a place of 4 x 4 pixels
WORDS = ("a", "photo", "of", "mug", "cat", "dog", "cup", "in", "on", "the", "beach", "jungle", "red", "blue", "disc")

_WIDTH = 32  # of every text encoder, but for SD 3's T5
_BETAS: dict[str, Any] = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def make_tiny(family: str, folder: Path, *, seed: int = 0, channels: tuple[int, int] = (16, 32)) -> Path:
    """Save a random pipeline of a family.

    Args:
        family: one of FAMILIES. ``sd21`` predicts v, ``flux`` takes a guidance, as the published ones do.
        folder: that will hold it.
        seed: of its weights.
        channels: of the two levels of its UNet; multiples of 8. The transformers are as they are.

    Returns:
        The folder.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        make = {"sdxl": _sdxl, "sd3": _sd3, "flux": _flux}.get(family)
        pipeline = make(channels) if make else _sd(family == "sd21", channels)
    pipeline.save_pretrained(folder)
    return folder


def _sd(second: bool, channels: tuple[int, int]) -> StableDiffusionPipeline:
    tokenizer = clip_tokenizer()
    return StableDiffusionPipeline(
        vae=tiny_vae(scaling_factor=0.18215),
        text_encoder=CLIPTextModel(_clip_config(tokenizer)),
        tokenizer=tokenizer,
        unet=_unet(channels, use_linear_projection=second, cross_attention_dim=_WIDTH),
        scheduler=DDIMScheduler(**_BETAS, steps_offset=1, clip_sample=False, prediction_type="v_prediction")
        if second
        else PNDMScheduler(**_BETAS, steps_offset=1, skip_prk_steps=True),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl(channels: tuple[int, int]) -> StableDiffusionXLPipeline:
    tokenizer = clip_tokenizer()
    ids, id_width = 6, 8  # SDXL is told the size of a photo and its crop, six numbers
    return StableDiffusionXLPipeline(
        vae=tiny_vae(scaling_factor=0.13025),
        text_encoder=CLIPTextModel(_clip_config(tokenizer)),
        text_encoder_2=CLIPTextModelWithProjection(_clip_config(tokenizer)),
        tokenizer=tokenizer,
        tokenizer_2=clip_tokenizer(),
        unet=_unet(
            channels,
            use_linear_projection=True,
            cross_attention_dim=2 * _WIDTH,
            transformer_layers_per_block=(1, 2),
            addition_embed_type="text_time",
            addition_time_embed_dim=id_width,
            projection_class_embeddings_input_dim=ids * id_width + _WIDTH,
        ),
        scheduler=EulerDiscreteScheduler(**_BETAS, steps_offset=1),
        add_watermarker=False,
    )


def _sd3(_: tuple[int, int]) -> StableDiffusion3Pipeline:
    tokenizer, words = clip_tokenizer(), t5_tokenizer()
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=LATENT,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=2 * _WIDTH,
            caption_projection_dim=32,
            pooled_projection_dim=2 * _WIDTH,
            pos_embed_max_size=16,
            qk_norm="rms_norm",
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=tiny_vae(scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=CLIPTextModelWithProjection(_clip_config(tokenizer)),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(_clip_config(tokenizer)),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=T5EncoderModel(_t5_config(words, 2 * _WIDTH)),
        tokenizer_3=words,
    )


def _flux(_: tuple[int, int]) -> FluxPipeline:
    tokenizer, words = clip_tokenizer(), t5_tokenizer()
    return FluxPipeline(
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,  # of a square of 2 x 2 latents
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=_WIDTH,
            pooled_projection_dim=_WIDTH,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=tiny_vae(scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=CLIPTextModel(_clip_config(tokenizer)),
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel(_t5_config(words, _WIDTH)),
        tokenizer_2=words,
    )


def tiny_vae(**more: Any) -> AutoencoderKL:
    """An autoencoder whose latents are places of 4 x 4 pixels; `more` as its configuration has it."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=RESOLUTION,
        **more,
    )


def _unet(channels: tuple[int, int], **more: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=LATENT,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
        norm_num_groups=8,
        **more,
    )


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer with the bytes and merges for WORDS: anything else comes apart into letters."""
    letters = sorted(ByteLevel.alphabet())
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = []
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            pair = (parts[0], parts[1])
            parts[:2] = ["".join(pair)]
            if pair not in merges:
                merges.append(pair)
                vocabulary.append(parts[0])
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    numbers = {token: number for number, token in enumerate(dict.fromkeys(vocabulary))}
    return CLIPTokenizer(vocab=numbers, merges=merges, model_max_length=77)


def t5_tokenizer() -> T5Tokenizer:
    """T5's tokenizer with WORDS and letters."""
    letters = [chr(code) for code in range(33, 127)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{word}", -2.0) for word in WORDS)]
    return T5Tokenizer(vocab=[*pieces, ("▁", -4.0), *((letter, -6.0) for letter in letters if letter != "a")])


def _clip_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=_WIDTH,
        intermediate_size=48,
        projection_dim=_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _t5_config(tokenizer: T5Tokenizer, width: int) -> T5Config:
    return T5Config(vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=48, num_layers=1, num_heads=4)
