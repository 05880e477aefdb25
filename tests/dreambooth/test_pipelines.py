from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.dreambooth.tiny_pipelines import FAMILIES, RESOLUTION

from persam.dreambooth.pipelines import (
    enough_memory,
    family_named,
    family_of,
    load_pipeline,
    network_of,
)
from persam.errors import PersamError, UsageError

Tiny = Callable[[str], Path]


@pytest.mark.parametrize("key", FAMILIES)
def test_each_family_is_known_loads_and_makes_a_picture(key: str, tiny: Tiny, capfd: pytest.CaptureFixture) -> None:
    assert family_named(tiny(key)).key == key
    capfd.readouterr()  # what making it said
    pipeline = load_pipeline(tiny(key), device="cpu", dtype="float32")
    assert family_of(pipeline).key == key
    assert next(network_of(pipeline).parameters()).dtype == torch.float32
    made = pipeline("a photo of t@y mug", height=RESOLUTION, width=RESOLUTION, num_inference_steps=2, output_type="np")
    assert made.images.shape == (1, RESOLUTION, RESOLUTION, 3)
    assert capfd.readouterr() == ("", "")


def test_its_words_are_read_as_clip_reads_them(tiny: Tiny) -> None:
    tokenizer = load_pipeline(tiny("sd15"), device="cpu", dtype="float32").tokenizer
    assert tokenizer.convert_ids_to_tokens(tokenizer("a photo of t@y mug").input_ids) == [
        *("<|startoftext|>", "a</w>", "photo</w>", "of</w>"),
        *("t</w>", "@</w>", "y</w>", "mug</w>", "<|endoftext|>"),
    ]


def test_numbers_are_of_the_form_that_was_asked_for(tiny: Tiny) -> None:
    pipeline = load_pipeline(tiny("sd15"), device="cpu", dtype="bf16")
    assert {module.dtype for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder)} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("", UsageError, "No model was named"),
        ("nobody/no-such-model", PersamError, "not on this machine, and the hub cannot be reached"),
        ("empty", UsageError, "holds no pipeline of diffusers .model_index.json is missing"),
        ("weights.safetensors", UsageError, "is a single file"),
    ],
)
def test_what_is_no_pipeline_is_said(
    name: str, kind: type[PersamError], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("weights.safetensors").write_bytes(b"x")
    with pytest.raises(kind, match=said):
        load_pipeline(name)


def test_another_family_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "QwenImagePipeline"}))
    with pytest.raises(PersamError, match="is a QwenImagePipeline, of a family that persam cannot train"):
        load_pipeline(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "missing tensor", "no weights", "no JSON"])
def test_a_damaged_pipeline_is_one_sentence(damage: str, tiny: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "pipeline"
    shutil.copytree(tiny("sd15"), folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif damage == "missing tensor":
        tensors = load_file(weights)
        del tensors["conv_in.weight"]
        save_file(tensors, weights, {"format": "pt"})
    elif damage == "no weights":
        weights.unlink()
    else:
        (folder / "model_index.json").write_text("{")
    with pytest.raises(PersamError) as error:
        load_pipeline(folder, device="cpu", dtype="float32")
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_too_little_memory_is_one_sentence_and_other_errors_stay() -> None:
    with pytest.raises(PersamError, match="It does not fit .CUDA out of memory"), enough_memory("It does not fit", "x"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore")
    with pytest.raises(RuntimeError, match="shapes"), enough_memory("It does not fit", "x"):
        raise RuntimeError("shapes")
