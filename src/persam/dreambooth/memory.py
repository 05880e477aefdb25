"""What a pipeline is made of, and how much memory its training needs, told before anything large is loaded.

The networks are built without values, from their configurations, and a step is walked through with them: what it would
keep for the gradients is added up. That is a fair estimate, not a measurement: kernels need room of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from persam.dreambooth.families import Words, ask, lora_layers
from persam.dreambooth.options import TrainOptions
from persam.dreambooth.pipelines import FAMILIES, PipelineFamily, diffusers, family_named, quiet
from persam.errors import PersamError, UsageError
from persam.lazy import library
from persam.models.hub import hub_call

_SPARE = 1.15  # what kernels and fragments take beside
_GPU = 0.7e9  # bytes that a GPU's libraries take
_BYTES = {torch.float32: 4, torch.float16: 2, torch.bfloat16: 2}


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes of memory that a training needs where it computes, and of the computer's own while it loads."""

    training: float
    loading: float


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A pipeline without values.

    Attributes:
        family: of it.
        network: its UNet or transformer, on the device ``meta``.
        others: numbers of parameters of autoencoder and text encoders, by part.
        latent: pixels of a latent's side.
    """

    family: PipelineFamily
    network: Any
    others: dict[str, int]
    latent: int

    @property
    def resolution(self) -> int:
        """Side of a photo in training, pixels, unless one says otherwise."""
        return self.family.resolution or int(self.network.config.sample_size * self.latent)


def anatomy_of(name: str | Path) -> Anatomy:
    """Build a pipeline without values; of the hub's, only small files are downloaded.

    Raises:
        PersamError: its files are not to be had.
    """
    import transformers

    family = family_named(name)
    found: dict[str, Any] = {}
    with quiet(), torch.device("meta"):
        index = _call(name, diffusers().DiffusionPipeline.load_config)
        for part, entry in index.items():
            home, kind = map(str, entry if isinstance(entry, (list, tuple)) and len(entry) == 2 else ("", ""))
            if part in (family.network, "vae"):
                made = getattr(diffusers(), kind)
                found[part] = made.from_config(_call(name, made.load_config, subfolder=part))
            elif part.startswith("text_encoder") and home == "transformers":
                config = _call(name, transformers.AutoConfig.from_pretrained, subfolder=part)
                found[part] = getattr(transformers, kind)(config)
    network = found.pop(family.network).to("meta")
    latent = 2 ** (len(found["vae"].config.block_out_channels) - 1)
    return Anatomy(family, network, {part: _count(module) for part, module in found.items()}, latent)


def _call(name: str | Path, load: Callable[..., Any], **more: Any) -> Any:
    return hub_call(str(name), load, otherwise="name another", reader="diffusers", **more)


def _count(module: torch.nn.Module) -> int:
    return sum(tensor.numel() for tensor in module.parameters())


def need(anatomy: Anatomy, options: TrainOptions, dtype: torch.dtype, *, on_cpu: bool) -> MemoryNeed:
    """What a training needs.

    Args:
        anatomy: of the base, which is as it was afterwards.
        options: how it is trained.
        dtype: of the computation.
        on_cpu: there what is loaded and what is trained lies in one memory.
    """
    full = options.method == "full"
    loaded = 4 if full else _BYTES[dtype]
    network = _count(anatomy.network)
    loading = loaded * (network + sum(anatomy.others.values()))
    resolution = options.resolution or anatomy.resolution
    with quiet():
        adapted, kept = _walk(anatomy, options, dtype, max(1, resolution // anatomy.latent))
    trained = network if full else adapted
    state = 4 + (2 if options.eight_bit else 8)  # bytes of gradient and of Adam's two moments
    training = loaded * network + (0 if full else 4 * adapted) + state * trained + kept
    if full and dtype != torch.float32:
        training += _BYTES[dtype] * network  # autocast keeps a copy
    words = sum(count for part, count in anatomy.others.items() if part != "vae")
    if options.text_encoder:
        training += loaded * words + (state * words if full else 0)
    if not on_cpu:
        return MemoryNeed(_SPARE * max(training, loaded * words) + _GPU, loading)  # words are encoded first, and leave
    if full:
        training += loaded * sum(anatomy.others.values())  # they are saved with it
    return MemoryNeed(_SPARE * max(training, loading), loading)


def _walk(anatomy: Anatomy, options: TrainOptions, dtype: torch.dtype, side: int) -> tuple[int, float]:
    """Numbers that LoRA adds, and bytes that a step keeps for the gradients."""
    family, network = anatomy.family.key, anatomy.network
    network.train()
    network.requires_grad_(options.method == "full")
    if options.method == "lora":
        with torch.device("meta"):
            network.add_adapter(lora_layers(family, options.rank))
    try:
        adapted = sum(tensor.numel() for tensor in network.parameters() if tensor.requires_grad)
        network.to(dtype)
        keeper = _Keeper(network)
        latents, words = _inputs(family, network, side, dtype)
        if options.gradient_checkpointing:
            network.enable_gradient_checkpointing(gradient_checkpointing_func=keeper.block)
        with keeper.counting(), _AttentionOfMeta():
            ask(family, network, latents, torch.ones(1, device="meta"), words, (side,) * 6)
        return adapted, keeper.total + keeper.largest_block
    finally:
        if options.gradient_checkpointing:
            network.disable_gradient_checkpointing()
        if options.method == "lora":
            network.delete_adapters("default")


def _inputs(family: str, network: Any, side: int, dtype: torch.dtype) -> tuple[torch.Tensor, Words]:
    config = network.config
    channels = config.in_channels // 4 if family == "flux" else config.in_channels
    width = config.cross_attention_dim if "cross_attention_dim" in config else config.joint_attention_dim
    tokens = {"sd3": 77 + 256, "flux": 512}.get(family, 77)
    words = {"prompt_embeds": torch.empty(1, tokens, width, device="meta", dtype=dtype)}
    if family == "sdxl":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    else:
        pooled = config.pooled_projection_dim if "pooled_projection_dim" in config else 0
    if pooled:
        words["pooled_prompt_embeds"] = torch.empty(1, pooled, device="meta", dtype=dtype)
    return torch.empty(1, channels, side, side, device="meta", dtype=dtype), words


class _Keeper:
    """Adds up what a forward pass keeps for the gradients, each tensor once; parameters are there anyway."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.seen = {tensor.untyped_storage()._cdata for tensor in network.parameters()}
        self.held: list[torch.Tensor] = []  # so that no storage gets the address of one that is gone
        self.total = self.largest_block = 0

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        """Count a tensor."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self.seen:
            self.seen.add(storage._cdata)
            self.held.append(tensor)
            self.total += storage.nbytes()
        return tensor

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count while the block runs."""
        with torch.autograd.graph.saved_tensors_hooks(self.keep, lambda tensor: tensor):
            yield

    def block(self, module: Any, *inputs: Any) -> Any:
        """A block with checkpointing: its inputs stay; all else only while it is done again, one block at a time."""
        for each in inputs:
            if isinstance(each, torch.Tensor):
                self.keep(each)
        before = self.total
        found = module(*inputs)
        self.largest_block = max(self.largest_block, self.total - before)
        self.total = before
        return found


class _AttentionOfMeta(TorchFunctionMode):
    """Attention without values as fused kernels do it: they keep no matrix of all pairs, as PyTorch would here."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.nn.functional.scaled_dot_product_attention:
            named = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
            return _Fused.apply(named["query"], named["key"], named["value"])
        return function(*args, **(kwargs or {}))


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        found = query.new_empty((*query.shape[:-1], value.shape[-1]))
        ctx.save_for_backward(query, key, value, found)
        return found


def free_memory(device: torch.device) -> float:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return float(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return float(library("psutil", "DreamBooth", "dreambooth").virtual_memory().available)


def check_resolution(anatomy: Anatomy, resolution: int) -> None:
    """See that a network takes squares of this size.

    Raises:
        UsageError: it does not.
    """
    config = anatomy.network.config
    levels = 2 ** (len(config.block_out_channels) - 1) if anatomy.family.network == "unet" else 2
    unit = anatomy.latent * levels
    if resolution < unit or resolution % unit:
        near = max(unit, round(resolution / unit) * unit)
        raise UsageError(
            f"The resolution {resolution} does not fit this model: take a multiple of {unit}, such as {near}."
        )
    places = config.get("pos_embed_max_size")  # Stable Diffusion 3 knows so many on a side
    if places and resolution > places * config.patch_size * anatomy.latent:
        largest = places * config.patch_size * anatomy.latent
        raise UsageError(f"The resolution {resolution} is too large for this model: take at most {largest}.")


def check_memory(
    name: str | Path, anatomy: Anatomy, options: TrainOptions, device: torch.device, dtype: torch.dtype
) -> MemoryNeed:
    """See before anything large is loaded that a training fits.

    Args:
        name: of the base, for the sentence.
        anatomy: of it.
        options: how it is trained.
        device: that computes.
        dtype: of the computation.

    Returns:
        What it needs.

    Raises:
        PersamError: it does not fit; says what would.
    """
    cpu = torch.device("cpu")
    there, here = free_memory(device), free_memory(cpu)
    needed = need(anatomy, options, dtype, on_cpu=device.type == "cpu")
    if needed.training <= there and needed.loading <= here:
        return needed
    much, free = (needed.training, there) if needed.training > there else (needed.loading, here)
    where = device.type if needed.training > there else "cpu"
    for change, words in _ways(options, anatomy):
        other = need(anatomy, change, dtype, on_cpu=device.type == "cpu")
        if other.training <= there and other.loading <= here:
            mend = f"{words} needs about {_size(other.training)}"
            break
    else:
        mend = f"name a smaller model, such as {FAMILIES['sd15'].example} with LoRA, or take another device"
    raise PersamError(
        f"To train {name} ({options.method}) needs about {_size(much)} of memory, and {where} has {_size(free)} free; "
        f"{mend}."
    )


def _ways(options: TrainOptions, anatomy: Anatomy) -> Iterator[tuple[TrainOptions, str]]:
    """Trainings of the same with less memory, the nearest first, and how one asks for them."""
    thrifty = replace(options, gradient_checkpointing=True)
    if not options.gradient_checkpointing:
        yield thrifty, "with --gradient-checkpointing it"
    if options.method == "full":
        yield replace(options, method="lora"), "with --method lora it"
        yield replace(thrifty, method="lora"), "with --method lora --gradient-checkpointing it"
    for resolution in (768, 512, 256):
        if resolution < (options.resolution or anatomy.resolution):
            change = replace(thrifty, method="lora", resolution=resolution)
            yield change, f"with --method lora --gradient-checkpointing --resolution {resolution} it"


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def remedies(options: TrainOptions) -> str:
    """What to do about too little memory, with these options; what keeps the steps that are done comes first."""
    ways = [
        *([] if options.gradient_checkpointing else ["switch on --gradient-checkpointing"]),
        *(["train LoRA (--method lora)"] if options.method == "full" else []),
        "take a lower --resolution",
        *([] if options.dtype in ("bf16", "bfloat16") else ["compute in --dtype bf16"]),
        *([] if options.eight_bit or options.method == "lora" else ["take Adam in 8 bits (--eight-bit)"]),
    ]
    anew = "all but the first" if not options.gradient_checkpointing else "each"
    return f"{', or '.join(ways)} ({anew} with --overwrite, where steps are kept already)"
