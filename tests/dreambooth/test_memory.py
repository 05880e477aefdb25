"""How much memory a training is said to need."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.dreambooth.tiny_pipelines import FAMILIES, RESOLUTION

from persam.dreambooth import memory
from persam.dreambooth.families import ask
from persam.dreambooth.memory import anatomy_of, check_memory, check_resolution, need
from persam.dreambooth.options import TrainOptions
from persam.dreambooth.pipelines import load_pipeline, network_of, quiet
from persam.dreambooth.training import train
from persam.errors import PersamError, UsageError

Tiny = Callable[[str], Path]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_step_keeps_is_what_it_keeps_on_a_cpu(family: str, tiny: Tiny) -> None:
    options = TrainOptions(method="full", resolution=64)
    anatomy = anatomy_of(tiny(family))
    assert anatomy.resolution == (512 if family == "flux" else RESOLUTION)
    with quiet():
        _, told = memory._walk(anatomy, options, torch.float32, 16)

    network = network_of(load_pipeline(tiny(family), device="cpu", dtype="float32")).train()
    assert sum(each.numel() for each in network.parameters()) == sum(
        each.numel() for each in anatomy.network.parameters()
    )
    seen = {each.untyped_storage().data_ptr() for each in network.parameters()}
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in seen:
            seen.add(tensor.untyped_storage().data_ptr())
            kept.append(tensor)
        return tensor

    latents, words = memory._inputs(family, network, 16, torch.float32)
    words = {name: torch.zeros(tensor.shape) for name, tensor in words.items()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        ask(family, network, torch.zeros(latents.shape), torch.ones(1), words, (16,) * 6)
    assert told == pytest.approx(sum(tensor.untyped_storage().nbytes() for tensor in kept), rel=0.1)


def test_it_is_more_or_less_with_the_options(tiny: Tiny) -> None:
    anatomy = anatomy_of(tiny("sd3"))

    def told(**options: Any) -> float:
        return need(anatomy, TrainOptions(**options), torch.float32, on_cpu=False).training

    lora = told()
    assert told(gradient_checkpointing=True) < lora < told(resolution=64) < told(resolution=128)
    assert lora < told(method="full", eight_bit=True) < told(method="full")
    assert need(anatomy, TrainOptions(), torch.bfloat16, on_cpu=False).training < lora
    assert told() == lora  # the network is as it was


def test_of_the_published_size_it_knows_what_is_known(tmp_path: Path) -> None:
    """Stable Diffusion 1.5's UNet has 859.5 million weights; 16 bytes each are 13.8 GB, before anything is computed."""
    parts = {
        "unet": {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
        "vae": {"block_out_channels": [128, 256, 512, 512], "latent_channels": 4,
                "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4},
    }  # fmt: skip
    index = {"_class_name": "StableDiffusionPipeline"}
    for (part, config), kind in zip(parts.items(), ("UNet2DConditionModel", "AutoencoderKL"), strict=True):
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text(json.dumps(config))
        index[part] = ["diffusers", kind]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    anatomy = anatomy_of(tmp_path)
    assert sum(each.numel() for each in anatomy.network.parameters()) == 859_520_964
    published = TrainOptions(method="full")
    assert 13.8e9 < need(anatomy, published, torch.float32, on_cpu=False).training < 32e9
    thrifty = TrainOptions(gradient_checkpointing=True)
    assert 1.7e9 < need(anatomy, thrifty, torch.bfloat16, on_cpu=False).training < 6e9


def test_too_little_memory_is_said_with_what_would_do(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    options = TrainOptions(method="full")
    anatomy = anatomy_of(tiny("sd3"))
    cpu, form = torch.device("cpu"), torch.float32

    def bytes_of(**change: Any) -> float:
        return need(anatomy, replace(options, **change), form, on_cpu=True).training

    for free, said in (
        (bytes_of(gradient_checkpointing=True), "with --gradient-checkpointing it needs about"),
        (bytes_of(method="lora"), "with --method lora it needs about"),
        (1000, "name a smaller model, such as"),
    ):
        monkeypatch.setattr(memory, "free_memory", lambda _, free=free: free)
        with pytest.raises(PersamError, match=r"To train .* \(full\) needs about .* and cpu has .* free; ") as error:
            check_memory("model", anatomy, options, cpu, form)
        assert said in str(error.value)
    monkeypatch.setattr(memory, "free_memory", lambda _: bytes_of())
    check_memory("model", anatomy, options, cpu, form)


def test_a_training_asks_before_it_loads(
    tiny: Tiny, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda _: 1000)
    monkeypatch.setattr("persam.dreambooth.training.load_pipeline", None)
    with pytest.raises(PersamError, match="needs about"):
        train(prepared, tmp_path / "run", tiny("sd15"), device="cpu", resolution=32)


def test_a_square_beyond_the_table_of_positions_is_refused(tiny: Tiny) -> None:
    """The tiny Stable Diffusion 3 knows 16 places on a side, of 2 x 2 latents of 4 x 4 pixels."""
    anatomy = anatomy_of(tiny("sd3"))
    check_resolution(anatomy, 128)
    with pytest.raises(UsageError, match="resolution 136 is too large for this model: take at most 128"):
        check_resolution(anatomy, 136)


def test_free_memory_of_this_machine_is_known() -> None:
    assert 1e8 < memory.free_memory(torch.device("cpu")) < 1e14
