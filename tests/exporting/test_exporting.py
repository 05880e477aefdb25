"""`persam export`: the files compute what PyTorch does, for every photo, concept and mode, and run without PyTorch."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.cli.conftest import refused, run
from tests.conftest import draw_scene
from tests.fakes import CPU, ColourModel, random_network, random_sam
from transformers import SamModel
from typer.testing import CliRunner

from persam import Concept, PerSAM
from persam import exporting as package
from persam.cli.main import app
from persam.errors import PersamError, UsageError
from persam.exporting import concept_arrays, export_concept, export_model
from persam.method.prior import prior_of
from persam.method.segment import prompts_at
from persam.method.settings import Settings
from persam.models.base import Decoded, EncodedImage, Guidance, Prompts
from persam.models.sam import Sam

__all__ = ["refused", "run"]

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

Graph = Callable[[dict[str, np.ndarray]], list[np.ndarray]]
SIZES = [(64, 64), (90, 160), (200, 75)]  # of photos; the canvas has 64 x 64 pixels


def network() -> SamModel:
    """A random SAM that sees what is in a photo, and whose masks are neither empty nor everything.

    It has one block in the decoder: tracing two takes twice the time.
    """
    network = random_network(seed=1)
    network.mask_decoder.transformer.layers = network.mask_decoder.transformer.layers[:1]
    network.config.mask_decoder_config.num_hidden_layers = 1
    with torch.no_grad():
        for name, weights in network.vision_encoder.named_parameters():
            if weights.ndim > 1 and "rel_pos" not in name:
                weights.normal_(0, weights[0].numel() ** -0.5)
    return network


def sam() -> Sam:
    return Sam(network(), name="random", image_size=64, device=CPU)


def learned(persam: PerSAM, *, tuned: bool = False, seed: int = 0) -> Concept:
    concept = persam.learn(*draw_scene(seed=seed), name="tuned disc" if tuned else "disc")
    return persam.tune(concept) if tuned else concept


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SAM, concepts of mode paper, and what `persam export` writes of them, in both forms."""
    folder = tmp_path_factory.mktemp("export")
    network().save_pretrained(folder / "sam")
    persam = PerSAM(sam(), settings=Settings.of("paper"))
    learned(persam).save(folder / "disc.safetensors")
    learned(persam, tuned=True).save(folder / "tuned.safetensors")
    words = ["export", "sam", "--onnx", "onnx", "--openvino", "ov", "--concept", "disc.safetensors", "--json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["fingerprint"] == sam().fingerprint
    written = {file.relative_to(folder).as_posix() for form in ("onnx", "ov") for file in (folder / form).iterdir()}
    assert set(told["files"]) == written  # nothing else is left there
    return folder


@pytest.fixture(scope="module")
def concepts() -> list[Concept]:
    modes = ("persam", "paper", "official")
    return [learned(PerSAM(sam(), settings=Settings.of(mode)), seed=at) for at, mode in enumerate(modes)]


def graph_of(file: Path) -> Graph:
    if file.suffix == ".xml":
        import openvino

        compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda inputs: [compiled(inputs)[output] for output in compiled.outputs]
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)


@pytest.fixture(scope="module", params=["onnx", "ov"])
def graphs(folder: Path, request: pytest.FixtureRequest) -> tuple[Graph, Graph]:
    suffix = {"onnx": ".onnx", "ov": ".xml"}[request.param]
    encoder, decoder = (graph_of(folder / request.param / f"{name}{suffix}") for name in ("encoder", "decoder"))
    return encoder, decoder


def decoder_inputs(model: Sam, features: Any, prompts: Prompts, guidance: Guidance | None) -> dict[str, np.ndarray]:
    """What the exported decoder takes for what `Sam.decode` takes."""
    assert prompts.points is not None
    assert prompts.labels is not None
    count = len(prompts.points)
    if prompts.boxes is None:
        corners, labels = torch.zeros(count, 1, 2), -torch.ones(count, 1)
    else:
        corners, labels = prompts.boxes.view(count, 2, 2), torch.tensor([[2.0, 3.0]]).expand(count, 2)
    cells, channels = model.grid[0] * model.grid[1], features.shape[1]
    attention, semantic = torch.zeros(count, cells), torch.zeros(count, channels)
    if guidance is not None and guidance.attention is not None:
        attention = guidance.attention.view(-1, cells).expand(count, cells)
    if guidance is not None and guidance.semantic is not None:
        semantic = guidance.semantic.view(-1, channels).expand(count, channels)
    has_mask = prompts.logits is not None
    values = {
        "features": features,
        "points": torch.cat([prompts.points, corners], 1),
        "labels": torch.cat([prompts.labels, labels], 1),
        "mask": prompts.logits if has_mask else torch.zeros(count, 1, *model.low_resolution),
        "has_mask": torch.full((count,), float(has_mask)),
        "attention": attention,
        "second_softmax": torch.tensor([float(guidance is not None and guidance.where == "after")]),
        "semantic": semantic,
    }
    return {name: np.ascontiguousarray(value, np.float32) for name, value in values.items()}


def decoded_by_torch(model: Sam, image: EncodedImage, prompts: Prompts, guidance: Guidance | None) -> Decoded:
    both = [model.decode(image, prompts, multimask=multimask, guidance=guidance) for multimask in (False, True)]
    return Decoded(torch.cat([each.logits for each in both], 1), torch.cat([each.scores for each in both], 1))


def assert_same(found: list[np.ndarray], wanted: Decoded, image: EncodedImage) -> None:
    np.testing.assert_allclose(found[0], wanted.logits, atol=1e-4 * float(wanted.logits.abs().max()))
    np.testing.assert_allclose(found[1], wanted.scores, atol=1e-4)
    for one, other in zip(found[0].reshape(-1, *found[0].shape[2:]), wanted.logits.flatten(0, 1), strict=True):
        masks = image.frame.to_photo_mask(torch.from_numpy(one)), image.frame.to_photo_mask(other)
        assert (masks[0] & masks[1]).sum() >= 0.999 * (masks[0] | masks[1]).sum()


@torch.inference_mode()
def test_every_photo_and_concept(graphs, concepts):
    """The same two files for photos of three sizes and concepts of the three modes, whose guidance differs."""
    encoder, decoder = graphs
    persam = PerSAM(sam())
    for seed, size in enumerate(SIZES):
        image = persam.encode(draw_scene(*size, seed=seed)[0])
        pixels = persam.model.prepare(draw_scene(*size, seed=seed)[0], image.frame)
        features = encoder({"pixels": pixels.numpy()})[0]
        np.testing.assert_allclose(features, image.features, atol=1e-4 * float(image.features.abs().max()))
        for concept in concepts:
            prior = prior_of(image, concept, persam.model.low_resolution, tuned=False)
            assert prior.guidance is not None
            prompts = prompts_at(prior, None, prior.dense)
            found = decoder(decoder_inputs(persam.model, features, prompts, prior.guidance))
            assert_same(found, decoded_by_torch(persam.model, image, prompts, prior.guidance), image)


@torch.inference_mode()
@pytest.mark.parametrize("prompts", [1, 3])
@pytest.mark.parametrize("points", [1, 5])
@pytest.mark.parametrize("refined", [False, True])
def test_any_number_of_prompts_and_points(graphs, prompts, points, refined):
    """Points off and on the object, with or without box and mask prompt; one guidance for each prompt, or none."""
    model = sam()
    draw = torch.Generator().manual_seed(points)
    image = EncodedImage(torch.randn(1, 32, *model.grid, generator=draw), model.frame((90, 160)))
    asked = Prompts(
        torch.rand(prompts, points, 2, generator=draw) * 60,
        torch.randint(0, 2, (prompts, points), generator=draw).float(),
        torch.tensor([[5.0, 8.0, 40.0, 30.0]]).expand(prompts, 4) if refined else None,
        torch.randn(prompts, 1, *model.low_resolution, generator=draw) if refined else None,
    )
    attention = torch.randn(prompts, 1, 1, 64, generator=draw)
    guidance = Guidance(attention, "after", torch.randn(prompts, 1, 1, 32, generator=draw)) if refined else None
    found = graphs[1](decoder_inputs(model, image.features, asked, guidance))
    assert_same(found, decoded_by_torch(model, image, asked, guidance), image)


def test_without_torch(folder, tmp_path):
    """In a process that cannot import torch the program beside the files finds what `PerSAM.segment` finds."""
    for name, size in (("disc", (200, 75)), ("tuned", (90, 160))):
        check_without_torch(
            folder / "onnx", PerSAM(sam()), Concept.load(folder / f"{name}.safetensors"), tmp_path, size
        )


def check_without_torch(
    files: Path, persam: PerSAM, concept: Concept, place: Path, size: tuple[int, int], orientation: int = 1
) -> None:
    photo = Image.fromarray(draw_scene(*size, seed=6)[0])
    exif = photo.getexif()
    exif[0x0112] = orientation
    photo.save(place / "photo.png", exif=exif)
    export_concept(concept, persam.model, place / "concept.npz")
    for forbidden in ("torch", "persam", "transformers"):
        (place / f"{forbidden}.py").write_text("raise ImportError('there is none here')")
    program = [sys.executable, files / "without_torch.py", "concept.npz", "photo.png", "mask.png"]
    subprocess.run(program, cwd=place, check=True, env=os.environ | {"PYTHONPATH": str(place)})
    found = np.asarray(Image.open(place / "mask.png")).astype(bool)
    wanted = persam.segment(place / "photo.png", concept, threshold=0).mask
    assert found.shape == wanted.shape
    assert 0 < wanted.mean() < 0.9
    assert (found & wanted).sum() >= 0.999 * (found | wanted).sum()


def test_the_program_is_short():
    text = (Path(package.__file__).with_name("without_torch.py")).read_text(encoding="utf-8")
    tree = ast.parse(text)
    described = (ast.Module, ast.FunctionDef)
    docstrings = [node.body[0] for node in ast.walk(tree) if isinstance(node, described) and ast.get_docstring(node)]
    words = {line for node in docstrings for line in range(node.lineno, (node.end_lineno or 0) + 1)}
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    assert sum(1 for number, line in lines if line and not line.startswith("#") and number not in words) <= 60


class TestAgain:
    def test_only_the_concept_is_written_for_a_new_concept(self, folder, monkeypatch):
        monkeypatch.chdir(folder)
        before = (folder / "onnx/decoder.onnx").stat().st_mtime_ns
        result = CliRunner().invoke(app, ["export", "sam", "--onnx", "onnx", "--concept", "tuned.safetensors"])
        assert result.exit_code == 0, result.output
        assert result.stdout.split() == [str(Path("onnx/tuned.npz"))]
        assert (folder / "onnx/decoder.onnx").stat().st_mtime_ns == before
        with np.load("onnx/tuned.npz") as arrays:
            assert arrays["directions"].shape == (1, 32)
            assert arrays["scale_weights"].shape == (3,)
            assert str(arrays["model"]) == sam().fingerprint
        (folder / "onnx/tuned.npz").unlink()

    def test_what_is_there_is_not_replaced_unasked(self, folder, monkeypatch):
        monkeypatch.chdir(folder)
        result = CliRunner().invoke(app, ["export", "sam", "--onnx", "onnx"])
        assert result.exit_code == 2
        assert "exists already; name another with --onnx, or add --overwrite" in result.stderr

    def test_an_earlier_export_is_replaced_whole_or_counts_as_none(self, tmp_path, monkeypatch):
        def write(model: Sam, path: Path) -> None:
            path.write_text(model.fingerprint)

        for name in ("write_encoder", "write_decoder"):
            monkeypatch.setattr(f"persam.models.graphs.{name}", write)
        files = export_model(sam(), onnx=tmp_path)
        (tmp_path / "encoder.onnx.data").write_text("weights of a larger model that was here before")
        assert set(export_model(sam(), onnx=tmp_path)) == set(files) == set(tmp_path.iterdir())
        assert package.is_exported(sam(), tmp_path, "onnx")
        move = Path.replace

        def fail(self: Path, target: Path) -> Path:
            if target == tmp_path / "encoder.onnx":
                raise OSError("no more")
            return move(self, target)

        monkeypatch.setattr(Path, "replace", fail)
        with pytest.raises(PersamError):
            export_model(sam(), onnx=tmp_path)
        assert not package.is_exported(sam(), tmp_path, "onnx")


class TestMistakes:
    def test_no_folder(self, refused):
        assert "--onnx DIR, --openvino DIR" in refused("export", "tiny", code=2)

    def test_another_mode(self, refused, folder, tmp_path):
        learned(PerSAM(sam())).save(tmp_path / "disc.safetensors")
        sentence = refused("export", folder / "sam", "--onnx", "x", "--concept", "disc.safetensors", code=1)
        assert "follows mode persam" in sentence
        assert "--mode paper" in sentence
        assert not (tmp_path / "x").exists()

    def test_another_model(self, folder):
        concept = Concept.load(folder / "disc.safetensors")
        with pytest.raises(PersamError, match="was made with the model random"):
            concept_arrays(concept, random_sam())

    def test_the_folder_is_a_file(self, refused, tmp_path):
        (tmp_path / "x").write_text("mine")
        assert "x" in refused("export", "tiny", "--onnx", "x", code=1)
        assert (tmp_path / "x").read_text() == "mine"

    def test_a_model_of_another_kind(self, tmp_path):
        with pytest.raises(PersamError, match="The model colours cannot be exported yet; name a SAM"):
            export_model(ColourModel(), onnx=tmp_path / "x")
        assert not (tmp_path / "x").exists()

    def test_number_format(self, tmp_path):
        model = Sam(network(), name="b", image_size=64, device=CPU, encoder_dtype=torch.bfloat16)
        with pytest.raises(UsageError, match="in float32 from the CPU"):
            export_model(model, onnx=tmp_path / "x")
        assert list((tmp_path / "x").iterdir()) == []

    @pytest.mark.parametrize(("missing", "extra"), [("onnxscript", "onnx"), ("openvino", "openvino")])
    def test_a_library_is_missing(self, tmp_path, monkeypatch, missing, extra):
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(PersamError, match=rf"needs {missing}, which is not installed: .*persam\[{extra}\]"):
            export_model(sam(), openvino=tmp_path / "x")


@pytest.mark.slow
def test_the_bundled_model(tmp_path):
    """Both forms, and the program, with drawn photos of several sizes, one of which is stored lying on its side."""
    persam = PerSAM.from_pretrained(mode="paper")
    files = export_model(persam.model, onnx=tmp_path / "onnx", openvino=tmp_path / "ov")
    assert all(file.is_file() for file in files)
    for tuned in (False, True):
        concept = learned(persam, tuned=tuned)
        for size, orientation in (((300, 400), 1), ((120, 500), 6), ((100, 90), 1)):
            check_without_torch(tmp_path / "onnx", persam, concept, tmp_path, size, orientation)
            image = persam.encode(tmp_path / "photo.png")
            prior = prior_of(image, concept, persam.model.low_resolution, tuned=tuned)
            prompts = prompts_at(prior, prior.box, prior.dense)
            wanted = decoded_by_torch(persam.model, image, prompts, prior.guidance)
            for form, suffix in (("onnx", ".onnx"), ("ov", ".xml")):
                decoder = graph_of(tmp_path / form / f"decoder{suffix}")
                assert_same(
                    decoder(decoder_inputs(persam.model, image.features, prompts, prior.guidance)), wanted, image
                )


@pytest.mark.slow
def test_weights_too_large_for_one_file_lie_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr("persam.models.graphs._LARGEST_FILE", 0)
    persam = PerSAM(sam(), settings=Settings.of("paper"))
    files = export_model(persam.model, onnx=tmp_path / "onnx")
    assert {file.name for file in files} >= {"encoder.onnx.data", "decoder.onnx.data"}
    assert set(files) == set((tmp_path / "onnx").iterdir())
    check_without_torch(tmp_path / "onnx", persam, learned(persam), tmp_path, (200, 75))
