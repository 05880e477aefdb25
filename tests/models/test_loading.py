"""From a name to a model: the hub's form in a local folder, and one sentence for every wrong name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.cli.conftest import run
from tests.conftest import draw_scene
from tests.fakes import random_network, random_sam, sam_config
from transformers import SamModel
from transformers.utils import logging

from persam import Concept, PerSAM, Settings
from persam.errors import PersamError, UsageError
from persam.models.base import Prompts
from persam.models.hub import hub_call
from persam.models.loading import choose_device, choose_dtype, dtypes_of, load_encoder, load_model
from persam.models.sam import Sam

__all__ = ["run"]

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random SAM as the hub keeps models."""
    logging.disable_progress_bar()
    path = tmp_path_factory.mktemp("hub") / "sam-tiny-random"
    random_network().save_pretrained(path)
    return path


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(folder, tmp_path / "model"))


def saved_pruned(folder: Path) -> SamModel:
    """A network in SlimSAM's form, as it lies in a folder; see `TestFolder.test_a_pruned_sam`."""
    config = sam_config()
    config.vision_config.hidden_size, config.vision_config.mlp_dim = 14, 58
    torch.manual_seed(0)
    network = SamModel(config).eval()
    with torch.no_grad():
        for name, parameter in network.mask_decoder.named_parameters():
            if "norm" not in name:
                parameter.normal_(0, 0.1 if parameter.ndim < 2 else parameter[0].numel() ** -0.5)
    network.save_pretrained(folder)
    written = json.loads((folder / "config.json").read_text())
    for part in ("vision_config", "prompt_encoder_config", "mask_decoder_config"):
        written[part]["model_type"] = ""
    (folder / "config.json").write_text(json.dumps(written))
    return network


def refused(name: object, kind: type[PersamError] = PersamError, **options: object) -> str:
    with pytest.raises(kind) as caught:
        load_model(str(name), **{"device": "cpu", "dtype": "float32"} | options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestFolder:
    def test_loads_what_was_saved(self, folder):
        model = load_model(str(folder), device="cpu", dtype="float32")
        assert isinstance(model, Sam)
        assert model.name == str(folder)
        assert model.fingerprint == random_sam().fingerprint
        image, _ = draw_scene()
        encodings = [each.encode(image) for each in (model, random_sam())]
        torch.testing.assert_close(encodings[0].features, encodings[1].features)
        prompts = Prompts(torch.tensor([[[20.0, 30.0]]]), torch.ones(1, 1))
        decoded = [
            each.decode(encoding, prompts, multimask=True)
            for each, encoding in zip((model, random_sam()), encodings, strict=True)
        ]
        torch.testing.assert_close(decoded[0].logits, decoded[1].logits)

    @pytest.mark.parametrize("mode", ["official", "paper", "persam"])
    def test_the_main_job(self, folder, mode):
        persam = PerSAM.from_pretrained(folder, mode=mode, device="cpu")
        photo, mask = draw_scene()
        concept = persam.tune(persam.learn(photo, mask, name="disc"))
        found = persam.segment(draw_scene(90, 200, seed=1)[0], concept)
        assert found.mask.shape == (90, 200)
        assert np.isfinite(found.score)

    def test_a_pruned_sam(self, tmp_path):
        """SlimSAM's form: narrower heads, an MLP of another ratio, and a config that leaves its parts' types empty."""
        network = saved_pruned(tmp_path / "slim")
        model = load_model(str(tmp_path / "slim"), device="cpu", dtype="float32")
        image, _ = draw_scene()
        with torch.inference_mode():
            features = model.encode(image).features
            theirs = network.vision_encoder(model.prepare(image, model.frame(image.shape[:2])))[0]
        torch.testing.assert_close(features, theirs)

    @pytest.mark.parametrize("mode", ["official", "paper", "persam"])
    def test_a_pruned_sam_from_photo_to_mask(self, run, tmp_path, photo_file, mask_file, mode):
        """Tuned on a photo and found in it: what the same network finds behind the protocol."""
        network = saved_pruned(tmp_path / "slim")
        how = ("--device", "cpu", "--dtype", "float32")
        for command in (
            ("learn", photo_file, mask_file, "-m", "slim", "-o", "disc", "--tune", "--mode", mode),
            ("segment", "disc.safetensors", photo_file, "--threshold", "0"),
        ):
            result = run(*command, *how)
            assert result.exit_code == 0, result.output
        (line,) = (tmp_path / "found/results.jsonl").read_text().splitlines()
        mask = np.asarray(Image.open(tmp_path / "found" / json.loads(line)["files"]["mask"])) > 0
        concept = Concept.load(tmp_path / "disc.safetensors")
        assert concept.tuned
        assert concept.mode == mode
        slim = PerSAM(Sam(network, name="slim", image_size=64, device=CPU), settings=Settings.of(mode))
        wanted = slim.tune(slim.learn(photo_file, mask_file))
        assert concept.scale_weights == pytest.approx(wanted.scale_weights, abs=1e-4)
        assert 0 < mask.mean() < 1
        np.testing.assert_array_equal(mask, slim.segment(photo_file, wanted, threshold=0).mask)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_checkpoint(self, tmp_path, dtype):
        random_network().to(dtype).save_pretrained(tmp_path / "half")
        persam = PerSAM.from_pretrained(tmp_path / "half", device="cpu", dtype="float32")
        photo, mask = draw_scene()
        assert persam.segment(photo, persam.learn(photo, mask)).mask.shape == photo.shape[:2]

    def test_original_pickle_weights_are_read_too(self, copy):
        """`pytorch_model.bin`, as older repositories have it, is read with weights only."""
        torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
        (copy / "model.safetensors").unlink()
        assert load_model(str(copy), device="cpu", dtype="float32").fingerprint == random_sam().fingerprint


@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
def test_number_formats_are_known_before(folder, dtype):
    """The bundled model has its own: on some machines only another encoder beside it is quicker in bf16."""
    for model in ("tiny", str(folder)):
        known = dtypes_of(model, device="cpu", dtype=dtype)
        assert known == (str(load_model(model, device="cpu", dtype=dtype).encoder_dtype).removeprefix("torch."),)
    assert dtypes_of("tiny", "dino", device="cpu", dtype="auto") == ("float32", *dtypes_of("dino", device="cpu"))
    with pytest.raises(UsageError, match="There is no dtype"):
        dtypes_of("tiny", device="cpu", dtype="int8")


class TestSpoiltFolder:
    def test_missing_tensors_are_not_made_up(self, copy):
        state = load_file(copy / "model.safetensors")
        kept = {name: tensor for name, tensor in state.items() if "neck" not in name}
        save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
        sentence = refused(copy)
        assert f"lacks {len(state) - len(kept)} of the model's tensors, such as vision_encoder.neck" in sentence

    def test_wrong_shapes(self, copy):
        state = load_file(copy / "model.safetensors")
        state["vision_encoder.neck.conv1.weight"] = torch.zeros(5, 24, 1, 1)
        save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
        assert "its weights have other shapes than its config.json says" in refused(copy)

    @pytest.mark.parametrize("size", [0, 5, 1000, -1])
    def test_truncated_weights(self, copy, size):
        data = (copy / "model.safetensors").read_bytes()
        (copy / "model.safetensors").write_bytes(data[:size])
        assert "holds no model that transformers can load" in refused(copy)

    def test_no_weights(self, copy):
        (copy / "model.safetensors").unlink()
        assert "holds no model that transformers can load" in refused(copy)

    @pytest.mark.parametrize("config", ["{oops", "[1]", "{}", '{"model_type": "nonesuch"}', ""])
    def test_damaged_config(self, copy, config):
        (copy / "config.json").write_text(config)
        assert "holds no model that transformers can load" in refused(copy)

    def test_no_config(self, copy):
        (copy / "config.json").unlink()
        assert "holds no model that transformers can load" in refused(copy)

    @pytest.mark.parametrize("kind", ["dinov2", "resnet", "bert"])
    def test_another_kind_of_model(self, copy, kind):
        (copy / "config.json").write_text(json.dumps({"model_type": kind}))
        assert f"is a model of type {kind}, which persam cannot use; name a SAM" in refused(copy)

    def test_a_sam_is_no_encoder(self, folder):
        with pytest.raises(PersamError, match="is of type sam, which persam cannot use for the confidence map"):
            load_encoder(str(folder), device="cpu")

    def test_empty_folder(self, tmp_path):
        assert "holds no model" in refused(tmp_path)


class TestNames:
    @pytest.mark.parametrize(
        "name", ["nobody/nothing", "a b c", "../gone/model", "a/b/c/d", "https://x.y/z", "", "sam"]
    )
    def test_neither_here_nor_on_the_hub(self, name):
        sentence = refused(name)
        assert f"The model {name} is not on this machine, and the hub cannot be reached" in sentence
        assert sentence.endswith('use the bundled model "tiny".')

    @pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
    def test_a_hub_that_may_not_be_asked(self, monkeypatch, variable):
        for each in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            monkeypatch.delenv(each, raising=False)
        monkeypatch.setenv(variable, "1")
        assert f"cannot be reached while {variable} is set; check the name, or unset the variable" in refused("sam")

    def test_a_file_that_is_no_model(self, tmp_path):
        (tmp_path / "notes.txt").write_text("dear diary")
        assert "holds no model" in refused(tmp_path / "notes.txt")

    def test_safetensors(self, tmp_path):
        assert "There is no model file" in refused(tmp_path / "gone.safetensors")
        (tmp_path / "x.safetensors").write_bytes(b"nonsense")
        assert "holds no model that persam trained" in refused(tmp_path / "x.safetensors")
        save_file({"a": torch.zeros(2)}, tmp_path / "y.safetensors")
        assert "holds no model that persam trained" in refused(tmp_path / "y.safetensors")

    def test_bundled_weights_as_a_file(self, tmp_path):
        bundled = load_model(device="cpu", dtype="float32")
        assert bundled.name == "tiny"
        bundled.network.save(tmp_path / "mine.safetensors")
        mine = load_model(tmp_path / "mine.safetensors", device="cpu", dtype="float32")
        assert mine.name == "mine"
        assert mine.fingerprint == bundled.fingerprint

    def test_a_name_that_the_hub_does_not_know(self, monkeypatch):
        monkeypatch.setattr("persam.models.hub._hub_answers", lambda: True)
        assert "The hub gives no model nobody/nothing; check the name" in refused("nobody/nothing")

    def test_what_is_in_the_cache_is_taken_without_asking_the_network(self, monkeypatch):
        monkeypatch.setattr("persam.models.hub._hub_answers", lambda: pytest.fail("asked"))
        assert hub_call("some/model", lambda name, **options: (name, options)) == (
            "some/model",
            {"local_files_only": True},
        )

    def test_other_errors_pass_through(self):
        def fail(name: str, **_: object) -> None:
            raise KeyError(name)

        with pytest.raises(KeyError):
            hub_call("x", fail)


class TestDevice:
    def test_auto(self):
        assert choose_device("auto").type in {"cpu", "cuda", "mps"}

    @pytest.mark.parametrize("given", ["cpu", CPU, "cpu:0"])
    def test_cpu(self, given):
        assert choose_device(given).type == "cpu"

    @pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "none"])
    def test_unknown(self, name):
        with pytest.raises(UsageError, match="There is no device"):
            choose_device(name)

    @pytest.mark.parametrize("name", ["meta", "xpu", "xla"])
    def test_unsupported(self, name):
        with pytest.raises(UsageError, match="is not supported; use auto, cpu, cuda or mps"):
            choose_device(name)

    @pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
    def test_not_on_this_machine(self, name, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        with pytest.raises(UsageError, match="PyTorch sees no (cuda|mps) device on this machine"):
            choose_device(name)
        assert choose_device("auto") == CPU


class TestDtype:
    @pytest.mark.parametrize(
        ("name", "dtype"),
        [("float32", torch.float32), ("fp32", torch.float32), ("bf16", torch.bfloat16), ("float16", torch.float16),
         (torch.bfloat16, torch.bfloat16)],
    )  # fmt: skip
    def test_names(self, name, dtype):
        assert choose_dtype(name, CPU) == dtype

    @pytest.mark.parametrize(("amx", "avx512"), [(True, False), (False, True), (False, False)])
    def test_auto_is_bf16_only_where_the_machine_computes_in_it(self, amx, avx512, monkeypatch):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
        assert choose_dtype("auto", CPU) == (torch.bfloat16 if amx or avx512 else torch.float32)
        assert choose_dtype("auto", torch.device("mps")) == torch.float32

    @pytest.mark.parametrize("capability", [(8, 0), (9, 0), (7, 5)])
    def test_auto_on_cuda(self, capability, monkeypatch):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
        expected = torch.bfloat16 if capability >= (8, 0) else torch.float32
        assert choose_dtype("auto", torch.device("cuda")) == expected

    @pytest.mark.parametrize("name", ["int8", "double", ""])
    def test_unknown(self, name):
        with pytest.raises(UsageError, match="There is no dtype"):
            choose_dtype(name, CPU)


@pytest.mark.hub
@pytest.mark.parametrize("name", ["facebook/sam-vit-base", "Zigeng/SlimSAM-uniform-50"])
def test_models_of_the_hub(name):
    """Run with `HF_HUB_OFFLINE=0 pytest -m hub`."""
    persam = PerSAM.from_pretrained(name, device="cpu", dtype="float32")
    photo, mask = draw_scene()
    other, truth = draw_scene(120, 180, center=(110, 60), radius=30, seed=1)
    found = persam.segment(other, persam.tune(persam.learn(photo, mask)))
    assert (found.mask & truth).sum() / (found.mask | truth).sum() > 0.9
    assert found.present
