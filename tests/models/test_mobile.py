"""MobileSAM: the published values, sizes read from tensors, the main job, and one sentence for what is none."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import draw_scene
from typer.testing import CliRunner

from persam import Concept, PerSAM
from persam.cli.main import app
from persam.errors import PersamError
from persam.models.base import Prompts
from persam.models.checkpoint import config_from, load_original, read_checkpoint, to_transformers
from persam.models.loading import load_model
from persam.models.mobile import DepthwiseConvs, TinyVit, TinyVitSizes, WindowAttention, fuse_norms
from persam.models.sam import Sam

Shapes = Iterator[tuple[str, tuple[int, ...]]]

GOLDEN = Path(__file__).parents[1] / "golden"
SHARED = Path(__file__).parents[3] / "shared" / "golden-mobile" / "landscape"
SMALL = TinyVitSizes(
    stem=4, hidden=12, widths=(8, 8, 12, 16), depths=(1, 2, 1, 1), heads=(2, 3, 4), windows=(5, 14, 7), mlps=(8, 12, 8),
    local=3, channels=32,
)  # fmt: skip
# What the published class takes: its last width is 320, its neck gives 256 channels.
PUBLISHED = TinyVitSizes(
    stem=4, hidden=32, widths=(8, 16, 24, 320), depths=(2, 1, 2, 1), heads=(1, 2, 4), windows=(7, 14, 7),
    mlps=(32, 48, 640), local=3, channels=256,
)  # fmt: skip


def conv_norm(name: str, given: int, width: int, kernel: int = 1) -> Shapes:
    yield f"{name}.c.weight", (width, given, kernel, kernel)
    yield from ((f"{name}.bn.{part}", (width,)) for part in ("weight", "bias", "running_mean", "running_var"))


def linear(name: str, given: int, width: int) -> Shapes:
    yield from ((f"{name}.weight", (width, given)), (f"{name}.bias", (width,)))


def norm(name: str, width: int) -> Shapes:
    yield from ((f"{name}.weight", (width,)), (f"{name}.bias", (width,)))


def depthwise(name: str, given: int, hidden: int, width: int) -> Shapes:
    yield from conv_norm(f"{name}.conv1", given, hidden)
    yield from conv_norm(f"{name}.conv2", 1, hidden, 3)
    yield from conv_norm(f"{name}.conv3", hidden, width)


def shapes_of(sizes: TinyVitSizes) -> Shapes:
    """All tensors of the image encoder of an original checkpoint."""
    widths = sizes.widths
    yield from conv_norm("patch_embed.seq.0", 3, sizes.stem, 3)
    yield from conv_norm("patch_embed.seq.2", sizes.stem, widths[0], 3)
    for stage, (width, depth) in enumerate(zip(widths, sizes.depths, strict=True)):
        for block in (f"layers.{stage}.blocks.{number}" for number in range(depth)):
            if stage == 0:
                yield from depthwise(block, width, sizes.hidden, width)
                continue
            yield f"{block}.attn.attention_biases", (sizes.heads[stage - 1], sizes.windows[stage - 1] ** 2)
            yield from norm(f"{block}.attn.norm", width)
            yield from linear(f"{block}.attn.qkv", width, 3 * width)
            yield from linear(f"{block}.attn.proj", width, width)
            yield from norm(f"{block}.mlp.norm", width)
            yield from linear(f"{block}.mlp.fc1", width, sizes.mlps[stage - 1])
            yield from linear(f"{block}.mlp.fc2", sizes.mlps[stage - 1], width)
            yield from conv_norm(f"{block}.local_conv", 1, width, sizes.local)
        if stage < 3:
            yield from depthwise(f"layers.{stage}.downsample", width, widths[stage + 1], widths[stage + 1])
    yield from norm("norm_head", widths[-1])  # the classifier's, which nothing uses
    yield from linear("head", widths[-1], 5)
    yield "neck.0.weight", (sizes.channels, widths[-1], 1, 1)
    yield from norm("neck.1", sizes.channels)
    yield "neck.2.weight", (sizes.channels, sizes.channels, 3, 3)
    yield from norm("neck.3", sizes.channels)


def random_encoder(sizes: TinyVitSizes, seed: int = 0) -> dict[str, torch.Tensor]:
    """Tensors from plain uniform numbers of one generator, so that they are the same wherever this runs."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, shape in shapes_of(sizes):
        values = rng.random(shape) * 2 - 1
        if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
            values = 1 + values / 2
        elif name.endswith("attention_biases"):
            values *= 3  # they decide what is seen
        elif len(shape) > 1:
            values *= math.sqrt(6 / math.prod(shape[1:]))
        state[f"image_encoder.{name}"] = torch.from_numpy(values).float()
    return state


def mobile_state() -> dict[str, torch.Tensor]:
    """A whole MobileSAM in the published naming: a small random TinyViT, and the rest of a small SAM."""
    rest = torch.load(GOLDEN / "landscape_to_square" / "sam_tiny.pth", weights_only=True)
    return random_encoder(SMALL) | {name: value for name, value in rest.items() if "image_encoder" not in name}


def encoder_of(sizes: TinyVitSizes) -> TinyVit:
    encoder = TinyVit(sizes).eval()
    state = to_transformers(fuse_norms(random_encoder(sizes)))
    encoder.load_state_dict({name.removeprefix("vision_encoder."): tensor for name, tensor in state.items()})
    return encoder


def canvas(rows: int = 704) -> torch.Tensor:
    """Coarse noise above, nothing below: (1, 3, 1024, 1024)."""
    noise = np.random.default_rng(1).random((3, rows // 32, 32)) * 4 - 2
    pixels = torch.zeros(1, 3, 1024, 1024)
    pixels[0, :, :rows] = torch.from_numpy(noise.repeat(32, 1).repeat(32, 2)).float()
    return pixels


def assert_close(actual: torch.Tensor, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    """Equal within `tolerance` of the largest expected value."""
    assert actual.shape == expected.shape
    assert np.abs(actual.numpy() - expected).max() <= tolerance * np.abs(expected).max()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mobile_sam.pt"
    torch.save(mobile_state(), path)
    return path


@pytest.fixture(scope="module")
def small(checkpoint: Path) -> Sam:
    return load_model(checkpoint, device="cpu", dtype="float32", decoder_heads=4)


class TestPublishedValues:
    def test_encoder(self):
        """With the attention biases in force (tests/golden/README.md)."""
        expected = np.load(GOLDEN / "mobile_sam" / "expected.npz")
        with torch.inference_mode():
            features = encoder_of(PUBLISHED)(canvas())
        assert_close(features[:, :, 7::16, 7::16], expected["features_every_16th_cell"])
        assert_close(features.mean((0, 2, 3)), expected["features_mean"])
        assert_close(features.std((0, 2, 3), correction=0), expected["features_std"])

    @pytest.mark.skipif(not SHARED.is_dir(), reason="golden-mobile/ is not beside the repository")
    def test_from_a_photo_to_its_masks(self):
        """All of the published MobileSAM, but as its `build_sam_vit_t` leaves it: with attention biases of zero."""
        persam = PerSAM.from_pretrained(SHARED / "mobile_sam_small.pt", device="cpu", dtype="float32")
        model, expected = persam.model, np.load(SHARED / "expected.npz")
        for block in (block for stage in model.network.vision_encoder.layers[1:] for block in stage.blocks):
            assert block.attn.attention_biases.count_nonzero()
            block.attn.attention_biases.zero_()
        image = np.asarray(Image.open(SHARED / "image.png").convert("RGB"))
        frame = model.frame(image.shape[:2])
        assert (*frame.content, *frame.photo) == (*expected["input_size"], *expected["original_size"])
        assert_close(model.prepare(image, frame)[..., ::32, ::32], expected["input_every_32nd_pixel"])
        points = torch.from_numpy(frame.to_canvas(expected["points_xy"]))[None].float()
        corners = torch.from_numpy(frame.to_canvas(expected["box_xyxy"].reshape(2, 2))).float()
        with torch.inference_mode():
            encoding = model.encode(image)
            assert_close(encoding.features[..., ::4, ::4], expected["features_every_4th_cell"])
            assert_close(encoding.features.mean((0, 2, 3)), expected["features_mean"])
            assert_close(encoding.features.std((0, 2, 3)), expected["features_std"])
            for kind, prompts in {
                "points": Prompts(points, torch.from_numpy(expected["labels"])[None]),
                "box": Prompts(boxes=corners.reshape(1, 4)),
            }.items():
                for count, multimask in (("multi", True), ("single", False)):
                    decoded = model.decode(encoding, prompts, multimask=multimask)
                    assert_close(decoded.logits[0, :, ::4, ::4], expected[f"{kind}_{count}_logits_every_4th"])
                    np.testing.assert_allclose(decoded.scores[0], expected[f"{kind}_{count}_scores"], atol=1e-4)
                    if multimask:
                        masks = (frame.to_photo_size(decoded.logits)[0] > 0).numpy()
                        wanted = expected[f"{kind}_masks"]
                        assert (masks & wanted).sum() >= 0.999 * (masks | wanted).sum()

    def test_biases_are_by_rows_and_columns_apart(self):
        """Attention in one window against its definition, cell by cell."""
        torch.manual_seed(0)
        attention = WindowAttention(6, 2, 3)
        for parameter in attention.parameters():
            torch.nn.init.normal_(parameter)
        cells = torch.randn(1, 3, 3, 6)
        flat = attention.norm(cells).reshape(9, 6)
        heads = []
        for head, parts in enumerate(attention.qkv(flat).split(9, dim=1)):
            query, key, value = parts.split(3, dim=1)
            logits = query @ key.T / math.sqrt(3)
            for one in range(9):
                for other in range(9):
                    rows, columns = abs(one // 3 - other // 3), abs(one % 3 - other % 3)
                    logits[one, other] += attention.attention_biases[head, 3 * rows + columns]
            heads.append(logits.softmax(1) @ value)
        expected = attention.proj(torch.cat(heads, 1)).reshape(cells.shape)
        torch.testing.assert_close(attention(cells), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("height", [8, 10, 12, 14])
def test_strips_are_not_seen(monkeypatch, stride, height):
    convs, cells = DepthwiseConvs(3, 8, 5, stride), torch.randn(2, 3, height, 6)
    monkeypatch.setattr("persam.models.mobile.STRIP", 4)
    strips = convs(cells)
    monkeypatch.setattr("persam.models.mobile.STRIP", 100)
    torch.testing.assert_close(strips, convs(cells))
    assert strips.shape == (2, 5, height // stride, 6 // stride)


class TestSizes:
    @pytest.mark.parametrize("sizes", [SMALL, PUBLISHED], ids=["small", "published"])
    def test_from_the_tensors_alone(self, sizes):
        assert TinyVitSizes.of(random_encoder(sizes)) == sizes

    def test_of_mobile_sam(self):
        real = TinyVitSizes(
            stem=32, hidden=256, widths=(64, 128, 160, 320), depths=(2, 2, 6, 2), heads=(4, 5, 10),
            windows=(7, 14, 7), mlps=(512, 640, 1280), local=3, channels=256,
        )  # fmt: skip
        with torch.device("meta"):
            parameters = sum(parameter.numel() for parameter in TinyVit(real).parameters())
        assert 5.7e6 < parameters < 6.2e6  # "5M" of TinyViT without its classifier, and SAM's neck
        shapes = {f"image_encoder.{name}": torch.empty(shape, device="meta") for name, shape in shapes_of(real)}
        assert TinyVitSizes.of(shapes) == real

    def test_the_rest_is_a_sam_of_1024_pixels(self, checkpoint, small):
        config = config_from(read_checkpoint(checkpoint), 4)
        assert config.vision_config.image_size == config.prompt_encoder_config.image_size == 1024
        assert config.prompt_encoder_config.image_embedding_size == 64
        assert (small.grid, small.low_resolution, small.name) == ((64, 64), (256, 256), "mobile_sam")

    @pytest.mark.parametrize("size", [(40, 60), (60, 40), (1, 1), (3, 300)])
    def test_photos_of_any_form(self, small, size):
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        with torch.inference_mode():
            encoding = small.encode(image)
        assert encoding.features.shape == (1, 32, 64, 64)
        assert encoding.frame.photo == size


def test_fused_norms_compute_the_same():
    conv, batch = torch.nn.Conv2d(3, 5, 3, bias=False), torch.nn.BatchNorm2d(5).eval()
    state = {"image_encoder.x.c.weight": conv.weight}
    for name, tensor in batch.state_dict().items():
        if tensor.ndim:
            tensor.copy_(torch.rand(5) + 0.5)
        state[f"image_encoder.x.bn.{name}"] = tensor
    fused = fuse_norms(state)
    assert set(fused) == {"image_encoder.x.weight", "image_encoder.x.bias"}
    pixels = torch.randn(2, 3, 8, 8)
    ours = torch.nn.functional.conv2d(pixels, fused["image_encoder.x.weight"], fused["image_encoder.x.bias"])
    torch.testing.assert_close(ours, batch(conv(pixels)), atol=1e-5, rtol=1e-5)


class TestNumberFormats:
    def test_half_precision_checkpoint(self, tmp_path, small):
        torch.save({name: value.half() for name, value in mobile_state().items()}, tmp_path / "half.pt")
        half = load_model(tmp_path / "half.pt", device="cpu", dtype="float32", decoder_heads=4)
        assert {parameter.dtype for parameter in half.network.parameters()} == {torch.float32}
        assert half.fingerprint != small.fingerprint  # other weights, though near

    def test_bf16_encoder(self, checkpoint, small):
        model = load_model(checkpoint, device="cpu", dtype="bfloat16", decoder_heads=4)
        assert model.fingerprint == small.fingerprint
        assert {parameter.dtype for parameter in model.network.vision_encoder.parameters()} == {torch.bfloat16}
        with torch.inference_mode():
            ours, full = (each.encode(draw_scene()[0]).features for each in (model, small))
        assert ours.dtype == torch.float32
        cosine = torch.nn.functional.cosine_similarity(ours, full, dim=1)
        assert float(cosine.mean()) > 0.99


class TestTheMainJob:
    @pytest.mark.parametrize("mode", ["official", "persam"])
    def test_from_python(self, checkpoint, mode):
        persam = PerSAM.from_pretrained(checkpoint, mode=mode, device="cpu", decoder_heads=4)
        concept = persam.tune(persam.learn(*draw_scene(), name="disc"))
        found = persam.segment(draw_scene(90, 200, seed=1)[0], concept)
        assert found.mask.shape == (90, 200)
        assert np.isfinite(found.score)

    def test_from_the_command_line(self, checkpoint, photo_file, mask_file, tmp_path, monkeypatch):
        """The concept knows the file by its name, also beside it."""
        monkeypatch.chdir(checkpoint.parent)
        commands = (
            ("learn", photo_file, mask_file, "-m", "mobile_sam.pt", "-o", tmp_path / "disc"),
            ("segment", tmp_path / "disc.safetensors", photo_file, "-o", tmp_path / "found"),
        )
        for arguments in commands:
            result = CliRunner().invoke(app, [str(each) for each in (*arguments, "--device", "cpu")])
            assert result.exit_code == 0, result.output
        assert Concept.load(tmp_path / "disc.safetensors").model_name == "mobile_sam"
        (line,) = (tmp_path / "found" / "results.jsonl").read_text().splitlines()
        assert json.loads(line)["score"] >= 0


class TestSentences:
    def refused(self, tmp_path: Path, state: object, name: str = "mobile_sam.pt") -> str:
        torch.save(state, tmp_path / name)
        with pytest.raises(PersamError) as caught:
            load_model(tmp_path / name, device="cpu", dtype="float32", decoder_heads=4)
        sentence = str(caught.value)
        assert "\n" not in sentence
        assert str(tmp_path / name) in sentence or "mobile_sam" in sentence
        return sentence

    def test_a_tiny_vit_for_classification(self, tmp_path):
        state = {name.removeprefix("image_encoder."): value for name, value in random_encoder(SMALL).items()}
        for each in (state, {"model": state}):
            assert "is a TinyViT alone, without the prompt encoder and mask decoder" in self.refused(tmp_path, each)

    def test_the_encoder_alone(self, tmp_path):
        assert "is a TinyViT alone" in self.refused(tmp_path, random_encoder(SMALL))

    @pytest.mark.parametrize(
        "part",
        ["patch_embed.seq.2.c.weight", "layers.0.blocks.0.conv2.bn.running_mean", "layers.1.downsample.conv3.c.weight",
         "layers.1.blocks.1.attn.attention_biases", "layers.2.blocks.0.mlp.fc1.weight", "neck.0.weight", "neck.3.bias"],
    )  # fmt: skip
    def test_missing_tensors(self, tmp_path, part):
        state = mobile_state()
        del state[f"image_encoder.{part}"]
        sentence = self.refused(tmp_path, state)
        assert "they do not fit together" in sentence
        assert sentence.endswith("is missing")

    def test_a_whole_stage_is_missing(self, tmp_path):
        state = {name: value for name, value in mobile_state().items() if ".layers.3.blocks" not in name}
        assert "image_encoder.layers.3.blocks.0.attn.attention_biases is missing" in self.refused(tmp_path, state)

    @pytest.mark.parametrize(
        ("name", "shape", "said"),
        [("layers.2.blocks.0.attn.attention_biases", (3, 195), "not those of square windows"),
         ("layers.2.blocks.0.attn.attention_biases", (5, 196), "more heads than its width can be shared among"),
         ("layers.1.blocks.1.attn.attention_biases", (2, 49), r"is (2, 49) where (2, 25) is wanted"),
         ("layers.0.blocks.0.conv1.bn.weight", (7,), "The size of tensor a (7) must match"),
         ("layers.3.blocks.0.mlp.fc2.bias", (9,), "is (9,) where (16,) is wanted"),
         ("layers.1.blocks.7.mlp.fc2.bias", (8,), "is missing")],
    )  # fmt: skip
    def test_tensors_that_do_not_fit(self, tmp_path, name, shape, said):
        sentence = self.refused(tmp_path, mobile_state() | {f"image_encoder.{name}": torch.zeros(shape)})
        assert "they do not fit together" in sentence
        assert said in sentence

    def test_numbers_that_are_none(self, tmp_path):
        name = "image_encoder.layers.0.blocks.0.conv1.bn.running_var"
        state = mobile_state()
        state[name] = -state[name]
        assert "damaged: vision_encoder.layers.0.blocks.0.conv1" in self.refused(tmp_path, state)

    def test_truncated(self, tmp_path, checkpoint):
        data = checkpoint.read_bytes()
        (tmp_path / "cut.pt").write_bytes(data[: len(data) // 2])
        with pytest.raises(PersamError, match="is no PyTorch checkpoint that holds only weights"):
            load_original(tmp_path / "cut.pt")

    def test_indices_and_classifier_do_not_matter(self, tmp_path, small):
        """Some copies keep the table of indices."""
        indices = {"image_encoder.layers.1.blocks.0.attn.attention_bias_idxs": torch.zeros(25, 25, dtype=torch.long)}
        state = {name: value for name, value in mobile_state().items() if "head." not in name.split("decoder")[0]}
        torch.save(state | indices, tmp_path / "mobile_sam.pt")
        again = load_model(tmp_path / "mobile_sam.pt", device="cpu", dtype="float32", decoder_heads=4)
        assert again.fingerprint == small.fingerprint
