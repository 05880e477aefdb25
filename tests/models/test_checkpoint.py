"""Original checkpoints: read safely, sizes from the tensors, and one sentence for what is none."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from persam import PerSAM
from persam.errors import PersamError
from persam.models.checkpoint import config_from, load_original, read_checkpoint, to_transformers

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = sorted(GOLDEN.glob("*/sam_tiny.pth"))


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return torch.load(CASES[0], weights_only=True)


def saved(tmp_path: Path, value: object, name: str = "model.pth") -> Path:
    torch.save(value, tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.parent.name)
class TestGolden:
    def test_every_tensor_arrives(self, path):
        state = torch.load(path, weights_only=True)
        network = load_original(path, decoder_heads=4)
        ours, renamed = network.state_dict(), to_transformers(state)
        assert set(ours) == set(renamed)
        for name, tensor in renamed.items():
            torch.testing.assert_close(ours[name], tensor)
        kept = {name for name in state if not name.startswith(("pixel_", "mask_threshold"))}
        assert len(renamed) == len(kept) + 1  # the Gaussian matrix has two names in transformers

    def test_features(self, path):
        persam = PerSAM.from_pretrained(path, device="cpu", dtype="float32", decoder_heads=4)
        expected = np.load(path.parent / "expected.npz")
        features = persam.encode(path.parent / "test.png").features.numpy()
        assert np.abs(features - expected["test_features"]).max() < 1e-4 * np.abs(features).max()

    def test_sizes(self, path):
        config = config_from(torch.load(path, weights_only=True), decoder_heads=4)
        side = Image.open(path.parent / "test.png").size
        assert config.vision_config.image_size == 128
        assert config.vision_config.image_size // config.vision_config.patch_size == (
            config.prompt_encoder_config.image_embedding_size
        )
        assert config.mask_decoder_config.num_attention_heads == 4
        assert min(side) > 0


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"model": state},
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"model": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {name: tensor.half() for name, tensor in state.items()},
    ],
    ids=["model", "state_dict", "DataParallel", "both", "half"],
)
def test_wrappings(tmp_path, state, wrap):
    read = read_checkpoint(saved(tmp_path, wrap(state)))
    assert set(read) == set(state)
    for name, tensor in state.items():
        torch.testing.assert_close(read[name].to(tensor.dtype), tensor, atol=2e-3, rtol=2e-3)


def test_other_sizes(tmp_path, state):
    """A model without windows, and one with a deeper decoder, are read from the shapes alone."""
    changed = dict(state)
    blocks = {name.split(".")[2] for name in state if name.startswith("image_encoder.blocks.")}
    grid = state["image_encoder.pos_embed"].shape[1]
    for number in blocks:
        for axis in "hw":
            key = f"image_encoder.blocks.{number}.attn.rel_pos_{axis}"
            changed[key] = torch.zeros(2 * grid - 1, state[key].shape[1])
    config = config_from(changed, 4)
    assert sorted(config.vision_config.global_attn_indexes) == sorted(int(number) for number in blocks)
    assert load_original(saved(tmp_path, changed), 4) is not None


class Bomb:
    """What a malicious checkpoint holds."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("how", ["torch", "legacy", "pickle", "inside"])
def test_code_in_a_checkpoint_is_never_run(tmp_path, state, how):
    struck, file = tmp_path / "struck", tmp_path / "model.pth"
    if how == "torch":
        torch.save(Bomb(struck), file)
    elif how == "legacy":
        torch.save(Bomb(struck), file, _use_new_zipfile_serialization=False)
    elif how == "inside":
        torch.save(dict(state) | {"extra": Bomb(struck)}, file)
    else:
        file.write_bytes(pickle.dumps(Bomb(struck)))
    with pytest.raises(PersamError, match=r"model\.pth is no PyTorch checkpoint that holds only weights"):
        PerSAM.from_pretrained(file, device="cpu")
    assert not struck.exists()
    pickle.loads(pickle.dumps(Bomb(struck)))  # it would have worked
    assert struck.exists()


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: {"model": model}], ids=["bare", "in a dict"])
def test_a_whole_pickled_model_is_never_loaded(tmp_path, wrap):
    """As SlimSAM's own checkpoints are."""
    with pytest.raises(PersamError, match="holds a whole pickled model") as caught:
        PerSAM.from_pretrained(saved(tmp_path, wrap(torch.nn.Linear(2, 2)), "SlimSAM-50.pth"), device="cpu")
    assert "Zigeng/SlimSAM-uniform-50" in str(caught.value)


def without(state: dict, part: str) -> dict:
    return {name: tensor for name, tensor in state.items() if part not in name}


class TestSentences:
    def read(self, path: Path) -> str:
        with pytest.raises(PersamError) as caught:
            PerSAM.from_pretrained(path, device="cpu", decoder_heads=4)
        sentence = str(caught.value)
        assert "\n" not in sentence
        assert path.name in sentence
        assert caught.value.exit_code == 1
        return sentence

    def test_missing(self, tmp_path):
        assert "There is no checkpoint" in self.read(tmp_path / "gone.pth")

    def test_folder(self, tmp_path):
        (tmp_path / "folder.pth").mkdir()
        assert "is no PyTorch checkpoint" in self.read(tmp_path / "folder.pth")

    @pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 broken", b"\x80\x02garbage", bytes(5000)])
    def test_garbage(self, tmp_path, content):
        (tmp_path / "g.pth").write_bytes(content)
        assert "is no PyTorch checkpoint that holds only weights" in self.read(tmp_path / "g.pth")

    @pytest.mark.parametrize("share", [0.3, 0.99])
    def test_truncated(self, tmp_path, share):
        data = CASES[0].read_bytes()
        (tmp_path / "t.pth").write_bytes(data[: int(len(data) * share)])
        assert "is no PyTorch checkpoint that holds only weights" in self.read(tmp_path / "t.pth")

    @pytest.mark.parametrize(
        "value", [{"conv.weight": torch.zeros(3)}, torch.zeros(3), [1, 2], {"model": {}}, {"model": 3}, {}]
    )
    def test_foreign(self, tmp_path, value):
        assert "is a checkpoint, but not one of SAM" in self.read(saved(tmp_path, value))

    @pytest.mark.parametrize(
        "part",
        ["mask_decoder.iou_token", "image_encoder.neck.2", "image_encoder.blocks", "mask_decoder.transformer.layers",
         "image_encoder.patch_embed", "mask_decoder.iou_prediction_head", "prompt_encoder.mask_downscaling"],
    )  # fmt: skip
    def test_missing_tensors(self, tmp_path, state, part):
        sentence = self.read(saved(tmp_path, without(state, part)))
        assert "they do not fit together" in sentence
        assert sentence.endswith("is missing")

    def test_wrong_shape(self, tmp_path, state):
        changed = dict(state) | {"image_encoder.neck.2.weight": torch.zeros(3, 3)}
        assert "conv2.weight is (3, 3) where (32, 32, 3, 3) is wanted" in self.read(saved(tmp_path, changed))

    def test_a_tensor_too_much(self, tmp_path, state):
        changed = dict(state) | {"mask_decoder.hf_token.weight": torch.zeros(1, 32)}
        assert "nothing in a SAM is called mask_decoder.hf_token.weight" in self.read(saved(tmp_path, changed))

    def test_values_that_are_no_tensors(self, tmp_path, state):
        changed = dict(state) | {"image_encoder.pos_embed": 3}
        assert "not one of SAM" in self.read(saved(tmp_path, changed))

    def test_wrong_number_of_heads(self, tmp_path):
        with pytest.raises(PersamError, match="they do not fit together"):
            load_original(CASES[0], decoder_heads=7)


def test_read_checkpoint_gives_plain_tensors(state):
    read = read_checkpoint(CASES[0])
    assert set(read) == set(state)
