"""A small world to try personalisation in: drawn things before backgrounds, and a text-to-image model that draws them.

The model is a Stable Diffusion in all but size: diffusers' own pipeline, UNet, autoencoder and CLIP text encoder, 0.6
million weights, trained here from nothing in a few minutes on a CPU. It draws balls, boxes and kites, each of two
colours in stripes, before a background of any colour, or of the colour that the prompt names.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from persam.dreambooth.pipelines import diffusers, quiet
from persam.errors import UsageError, write_error
from persam.files import write_text
from persam.ledger import HIDDEN

SIDE = 24  # pixels
KINDS = ("ball", "box", "kite")
COLOURS = {
    "red": (205, 55, 50),
    "green": (60, 160, 70),
    "blue": (50, 85, 200),
    "yellow": (225, 200, 70),
    "grey": (130, 130, 130),
}
_READY = "small_world.json"  # with what the model was made with; by it a folder is known for one of ours
_NAMED = 0.5  # of the captions name the background's colour
_NO_WORDS = 0.1  # of them are empty, for guidance
_TOKENS = 12  # of a prompt: the longest here has eight


@dataclass(frozen=True)
class DrawnScene:
    """A drawn picture.

    Attributes:
        pixels: (SIDE, SIDE, 3) uint8.
        mask: (SIDE, SIDE) bool, the thing.
        caption: ``a photo of ball on red``.
    """

    pixels: np.ndarray
    mask: np.ndarray
    caption: str


def draw(
    kind: str, colours: np.ndarray, background: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a thing somewhere before a background, lit from anywhere.

    Args:
        kind: one of KINDS.
        colours: (2, 3) of its stripes, 0 to 255.
        background: (3,).
        rng: for place, size and light.

    Returns:
        Pixels (SIDE, SIDE, 3) uint8 and mask (SIDE, SIDE) bool.
    """
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    radius = rng.uniform(0.22, 0.32) * SIDE
    middle = rng.uniform(radius + 1, SIDE - radius - 1, 2)
    down, right = rows - middle[0], columns - middle[1]
    inside = {
        "ball": np.hypot(down, right) < radius,
        "box": np.maximum(abs(down), abs(right)) < 0.85 * radius,
        "kite": abs(down) + abs(right) < 1.2 * radius,
    }[kind]
    stripe = np.floor(1.5 * down / radius).astype(int) % 2
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 + 0.12 * (np.cos(angle) * (rows / SIDE - 0.5) + np.sin(angle) * (columns / SIDE - 0.5))
    pixels = np.where(inside[..., None], colours[stripe], background) * light[..., None]
    return np.clip(pixels + rng.normal(0, 3, pixels.shape), 0, 255).round().astype(np.uint8), inside


def scene(rng: np.random.Generator, kind: str | None = None) -> DrawnScene:
    """Any thing, or one of a kind, in any colours before any background."""
    kind = kind or str(rng.choice(KINDS))
    colours = rng.uniform(20, 235, (2, 3))
    caption = f"a photo of {kind}"
    if rng.random() < _NAMED:
        name = str(rng.choice(list(COLOURS)))
        caption, background = f"{caption} on {name}", np.array(COLOURS[name]) + rng.normal(0, 8, 3)
    else:
        background = rng.uniform(20, 235, 3)
    pixels, mask = draw(kind, colours, background, rng)
    return DrawnScene(pixels, mask, caption)


@dataclass(frozen=True)
class SmallTraining:
    """How the model is trained.

    Attributes:
        steps: of UNet and text encoder.
        batch: scenes a step.
        seed: of all that is random.
    """

    steps: int = 1500
    batch: int = 16
    seed: int = 0


def small_model(folder: Path, how: SmallTraining, progress: Callable[[], object] | None = None) -> Path:
    """Train the model and save it, or take what an earlier call with the same settings left.

    Args:
        folder: for the pipeline, as diffusers saves it.
        how: it is trained.
        progress: called after every step.

    Returns:
        The folder.

    Raises:
        UsageError: it holds something else.
        PersamError: it cannot be written.
    """
    check_home(folder)
    settings = json.dumps(asdict(how))
    if (folder / _READY).is_file() and (folder / _READY).read_text(encoding="utf-8") == settings:
        for _ in range(how.steps if progress is not None else 0):
            progress()  # type: ignore[misc]
        return folder
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(how.seed)
        pipeline = _pipeline()
        tell = progress or (lambda: None)
        _train(pipeline, how, tell)
        _save(pipeline, folder, settings)
    return folder


def check_home(folder: Path) -> None:
    """See that a folder is free for the model, or holds one of an earlier call.

    Raises:
        UsageError: it holds something else, which the model would replace.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _READY).is_file():
        raise UsageError(
            f"{folder} holds files that are not of the small model, which would be saved there; choose another "
            "--output, or move them away."
        )


def _save(pipeline: Any, folder: Path, settings: str) -> None:
    """Beside the folder, which it then replaces: of a save that was killed nothing is taken for a model."""
    draft = folder.parent / HIDDEN / folder.name
    try:
        shutil.rmtree(draft, ignore_errors=True)
        pipeline.save_pretrained(draft)
        write_text(draft / _READY, settings)
        if folder.is_dir():
            shutil.rmtree(folder)
        draft.replace(folder)
    except OSError as error:
        raise write_error(folder, error) from error


def _pipeline() -> Any:
    """A random one."""
    from transformers import CLIPTextConfig, CLIPTextModel

    kind, tokenizer = diffusers(), _tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return kind.StableDiffusionPipeline(
        vae=_autoencoder(),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=kind.UNet2DConditionModel(
            sample_size=SIDE // 2,
            in_channels=3,
            out_channels=3,
            block_out_channels=(24, 48),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=4,
            norm_num_groups=8,
            cross_attention_dim=64,
        ),
        # Of so few latents the mean of the start noise is as large as what is left of a picture in the last step of
        # Stable Diffusion's schedule: noise would decide the colours, and no prompt could. With nothing left of it
        # (arXiv 2305.08891) prompts decide.
        scheduler=kind.DDIMScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            steps_offset=1,
            clip_sample=False,
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _autoencoder() -> Any:
    """An autoencoder whose weights are set, not trained: a latent is the mean colour of 2 x 2 pixels.

    The network normalises its channels, by which mean colours would be lost. So each colour goes with its negative, and
    with a pair of large numbers that make the variance the same for every picture; and where it applies SiLU, it is
    undone: silu(z) - silu(-z) = z.
    """
    width, large = 8, 50.0  # red, green, blue and the large number, each with its negative
    found = diffusers().AutoencoderKL(
        block_out_channels=(width, width),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=3,
        norm_num_groups=1,
        sample_size=SIDE,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=2.25,  # to latents of variance 1
    )
    with torch.no_grad():
        for name, tensor in found.named_parameters():
            if "norm" not in name:
                tensor.zero_()  # all residual blocks do nothing then
        down, up = found.encoder.down_blocks[0].downsamplers[0].conv, found.decoder.up_blocks[0].upsamplers[0].conv
        for channel in range(width):
            down.weight[channel, channel, :2, :2] = 1 / 4
            up.weight[channel, channel, 1, 1] = 1
        for half in (found.encoder, found.decoder):
            half.conv_in.bias[6], half.conv_in.bias[7] = large, -large
            for colour in range(3):
                for sign, channel in ((1.0, 2 * colour), (-1.0, 2 * colour + 1)):
                    half.conv_in.weight[channel, colour, 1, 1] = sign
                    half.conv_out.weight[colour, channel, 1, 1] = sign * large / 2
        found.encoder.conv_out.bias[3:] = -30.0  # logarithm of the variance: latents are not drawn
    return found.eval().requires_grad_(False)


def _tokenizer() -> Any:
    """CLIP's, with the words of captions as one token each, and all else letter by letter."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    pieces, merges = [*letters, *(f"{letter}</w>" for letter in letters)], []
    for word in ("a", "photo", "of", "on", *KINDS, *COLOURS):
        left = word[0] if len(word) > 1 else f"{word}</w>"
        for place, letter in enumerate(word[1:], start=1):
            right = f"{letter}</w>" if place == len(word) - 1 else letter
            merges.append((left, right))
            left += right
            pieces.append(left)
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return CLIPTokenizer(vocab=vocabulary, merges=list(dict.fromkeys(merges)), model_max_length=_TOKENS)


def _batches(how: SmallTraining) -> Iterator[tuple[torch.Tensor, list[str]]]:
    """Batches of scenes as values (B, 3, SIDE, SIDE) in [-1, 1], and their captions."""
    rng = np.random.default_rng(how.seed)
    for _ in range(how.steps):
        scenes = [scene(rng) for _ in range(how.batch)]
        pixels = torch.from_numpy(np.stack([each.pixels for each in scenes])).permute(0, 3, 1, 2).float() / 127.5 - 1
        yield pixels, ["" if rng.random() < _NO_WORDS else each.caption for each in scenes]


def _train(pipeline: Any, how: SmallTraining, tell: Callable[[], object]) -> None:
    network, words = pipeline.unet.train(), pipeline.text_encoder.train()
    noise_of = diffusers().DDPMScheduler.from_config(pipeline.scheduler.config)
    optimizer = torch.optim.AdamW([*network.parameters(), *words.parameters()], 1e-3)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=how.steps)
    for pixels, captions in _batches(how):
        with torch.no_grad():
            latents = pipeline.vae.encode(pixels).latent_dist.sample() * pipeline.vae.config.scaling_factor
        tokens = pipeline.tokenizer(captions, padding="max_length", max_length=_TOKENS, return_tensors="pt").input_ids
        noise, times = torch.randn_like(latents), torch.randint(0, 1000, (len(latents),))
        found = network(noise_of.add_noise(latents, noise, times), times, words(tokens)[0]).sample
        F.mse_loss(found, noise_of.get_velocity(latents, noise, times)).backward()
        torch.nn.utils.clip_grad_norm_([*network.parameters(), *words.parameters()], 1.0)
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
        tell()
    network.eval()
    words.eval()
