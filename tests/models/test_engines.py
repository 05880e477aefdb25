"""Other engines for the image encoder: what they find, what is kept of them, and what people get wrong."""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import draw_scene
from tests.fakes import random_network
from torch import nn
from typer.testing import CliRunner

from persam import PerSAM
from persam.cli.main import app
from persam.errors import PersamError, PersamWarning, UsageError
from persam.models import backends, engines, int8
from persam.models.backends import BACKENDS, Backend, backend_of, computes_in_bf16
from persam.models.graphs import write_encoder
from persam.models.int8 import PICTURES, drawn_picture
from persam.models.loading import dtypes_of, load_model
from persam.models.sam import Sam

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")


def tiny() -> Sam:
    model = load_model(device="cpu")
    assert isinstance(model, Sam)
    return model


@pytest.fixture(scope="module")
def encoder_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model's encoder as ONNX."""
    path = tmp_path_factory.mktemp("onnx") / "encoder.onnx"
    write_encoder(tiny(), path)
    return path


@pytest.fixture(scope="module")
def vit_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoder of a small random SAM as ONNX; `tiny` has no linear layers."""
    path = tmp_path_factory.mktemp("vit") / "encoder.onnx"
    write_encoder(lively_sam(), path)
    return path


def lively_sam() -> Sam:
    """A random SAM whose encoder has weights that matter: of transformers' own, 1e-10, only rounding is left."""
    network = random_network()
    with torch.no_grad():
        for parameter in network.vision_encoder.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5)
    return Sam(network, name="random", image_size=64, device=torch.device("cpu"))


@pytest.fixture(autouse=True)
def exported(encoder_file: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Exporting the bundled model takes no time; the names of what was exported."""
    exported: list[str] = []

    def write(model: Sam, path: Path) -> None:
        exported.append(model.name)
        shutil.copy(encoder_file, path)

    monkeypatch.setattr(engines, "write_encoder", write)
    return exported


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "cache_folder", lambda: cache)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setattr(engines, "cache_folder", lambda: tmp_path / "home")
    return tmp_path / "home"


def with_backend(name: str) -> Sam:
    model = tiny()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PersamWarning)
        engines.use_backend(model, BACKENDS[name])
    return model


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "onnxruntime-int8", "openvino-int8"])
def test_the_bundled_model_finds_the_same(backend):
    """Concepts go from one engine to another; in 8 bits the mask differs a little."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PersamWarning)
        other = PerSAM.from_pretrained(backend=backend)
    persam = PerSAM.from_pretrained()
    assert other.model.fingerprint == persam.model.fingerprint
    concept = persam.learn(*draw_scene(), name="disc")
    for size, seed in (((120, 160), 1), ((300, 200), 2)):
        photo, truth = draw_scene(*size, seed=seed)
        found, wanted = other.segment(photo, concept), persam.segment(photo, concept)
        assert (found.mask & truth).sum() >= 0.95 * (found.mask | truth).sum()
        if "int8" not in backend:
            assert (found.mask & wanted.mask).sum() >= 0.999 * (found.mask | wanted.mask).sum()
            assert found.score == pytest.approx(wanted.score, abs=1e-4)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_every_size_of_photo(backend):
    model, torchs = with_backend(backend), tiny()
    for size in ((64, 64), (31, 200), (500, 90)):
        photo = draw_scene(*size)[0]
        with torch.inference_mode():
            found, wanted = model.encode(photo), torchs.encode(photo)
        assert found.frame == wanted.frame
        torch.testing.assert_close(found.features, wanted.features, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_threads_do_not_mix(backend):
    model = with_backend(backend)
    photos = [draw_scene(seed=seed)[0] for seed in range(8)]
    alone = [model.encode(photo).features for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda photo: model.encode(photo).features, photos * 3)
        for one, other in zip(alone * 3, found, strict=True):
            torch.testing.assert_close(one, other)


class TestCache:
    def test_made_once(self, exported, home):
        with pytest.warns(PersamWarning, match="tiny is being made for onnxruntime, once; it will be kept in"):
            engines.use_backend(tiny(), BACKENDS["onnxruntime"])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for name in ("onnxruntime", "openvino"):  # one file serves both
                engines.use_backend(tiny(), BACKENDS[name])
        assert exported == ["tiny"]
        (folder,) = (path for path in (home / "encoders").iterdir() if path.is_dir())
        assert folder.name.startswith(f"{tiny().fingerprint}-224-float32-persam")
        marks = ["onnxruntime.checked", "openvino.checked"]
        assert sorted(file.name for file in folder.iterdir()) == ["encoder.onnx", *marks]

    def test_made_anew_when_it_is_made_in_another_way(self, exported, home, monkeypatch):
        with_backend("onnxruntime")
        monkeypatch.setattr(engines, "_RECIPE", engines._RECIPE + 1)
        with_backend("onnxruntime")
        assert exported == ["tiny"] * 2

    def test_each_backend_is_compared_with_pytorch_once(self, home, monkeypatch):
        """One file serves them; who makes it for bf16 is held to float32, for the others will take it."""
        compared: list[str] = []
        check = engines._check

        def watched(model: Sam, backend: Backend, engine: nn.Module) -> None:
            compared.append(backend.name)
            check(model, backend, engine)

        monkeypatch.setattr(engines, "_check", watched)
        for name in ("openvino-bf16", "openvino-bf16", "openvino", "onnxruntime", "onnxruntime"):
            with_backend(name)
        assert compared == ["openvino", "openvino-bf16", "onnxruntime"]

    def test_what_is_far_only_for_float32_is_not_made_for_bf16(self, home):
        model = tiny()
        for parameter in model.network.vision_encoder.neck.out[-1].parameters():
            parameter *= 1.01
        with pytest.warns(PersamWarning), pytest.raises(PersamError, match="openvino gives other features of tiny"):
            engines.use_backend(model, BACKENDS["openvino-bf16"])
        assert not list((home / "encoders").glob("*/"))

    def test_one_that_others_can_use_stays(self, home, monkeypatch):
        with_backend("openvino")
        monkeypatch.setitem(engines._FAR, torch.bfloat16, 1e-9)
        for _ in range(2):  # it is not taken for compared
            with pytest.raises(PersamError, match="openvino-bf16 gives other features of tiny"):
                with_backend("openvino-bf16")
        assert list((home / "encoders").glob("*/encoder.onnx"))

    @pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
    def test_what_is_damaged_is_made_anew(self, exported, home, backend):
        with_backend(backend)
        (file,) = (home / "encoders").glob("*/encoder.onnx")
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        with_backend(backend)
        assert file.read_bytes() == whole
        assert exported == ["tiny"] * 2

    def test_a_cache_that_is_only_to_be_read_serves(self, exported, home, monkeypatch):
        with_backend("onnxruntime")

        def locked(path: str) -> None:
            raise PermissionError(path)

        monkeypatch.setattr("filelock.FileLock", locked)
        with_backend("onnxruntime")
        assert exported == ["tiny"]

    def test_too_little_memory_says_nothing_of_the_file(self, exported, home, monkeypatch):
        with_backend("onnxruntime")

        def full(backend: object, file: Path) -> None:
            raise MemoryError

        monkeypatch.setattr(engines, "_engine", full)
        with pytest.raises(MemoryError):
            with_backend("onnxruntime")
        assert list((home / "encoders").glob("*/encoder.onnx"))
        assert exported == ["tiny"]

    def test_what_is_not_to_be_kept(self, home):
        with_backend("onnxruntime")
        before = set((home / "encoders").iterdir())
        new, other = (home / "encoders" / f"{fingerprint}-64-int8" for fingerprint in (tiny().fingerprint, "0" * 12))
        with engines.not_kept(tiny().fingerprint):
            for folder in (new, other):
                folder.mkdir()
                (folder / "encoder.onnx").touch()
            new.with_name(f"{new.name}.lock").touch()
        assert set((home / "encoders").iterdir()) == before | {other}

    def test_one_that_computes_something_else_is_not_kept(self, home):
        model = tiny()
        model.network.vision_encoder.neck.out[-1].bias += 1
        with pytest.warns(PersamWarning), pytest.raises(PersamError, match="gives other features of tiny than"):
            engines.use_backend(model, BACKENDS["onnxruntime"])
        assert not list((home / "encoders").glob("*/"))
        assert isinstance(model.encode(draw_scene()[0]).features, torch.Tensor)  # PyTorch goes on

    def test_a_place_where_nothing_can_be_written(self, exported, home):
        home.write_text("a file")
        with pytest.raises(PersamError, match="Cannot write .*: a (part of that path is a file|file of that name)"):
            engines.use_backend(tiny(), BACKENDS["onnxruntime"])


def test_on_the_command_line(home, tmp_path, monkeypatch):
    """It is said once that the encoder is being made; what is done in 8 bits is done again in another number format."""
    monkeypatch.setattr(int8, "PICTURES", 2)  # which is quicker
    photo, mask = draw_scene()
    Image.fromarray(photo).save(tmp_path / "photo.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    wanted = PerSAM.from_pretrained().learn(photo, mask)
    wanted.save(tmp_path / "disc.safetensors")
    segment = ["segment", "disc.safetensors", "photo.png", "--json"]
    for options, says, done_before in (
        (["--backend", "onnxruntime"], True, 0),
        (["--backend", "openvino"], False, 1),  # the same numbers
        (["--backend", "openvino-int8"], True, 0),
        (["--backend", "openvino-int8"], False, 1),
        ([], False, 0),
    ):
        result = CliRunner().invoke(app, [*segment, *options])
        assert result.exit_code == 0, result.output
        assert ("is being made for" in result.stderr) == says, options
        assert json.loads(result.stdout)["done_before"] == done_before, options
    refused = CliRunner().invoke(app, ["segment", "disc.safetensors", "photo.png", "--backend", "tensorrt"])
    assert refused.exit_code == 2
    assert refused.stderr.startswith('There is no backend "tensorrt"')


class TestMistakes:
    def refused(self, kind: type[PersamError] = UsageError, **options: str) -> str:
        with pytest.raises(kind) as caught:
            load_model(**options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def test_unknown(self):
        assert "use torch, onnxruntime, onnxruntime-int8, openvino, openvino-bf16, openvino-int8." in self.refused(
            backend="tensorrt"
        )

    def test_a_device_or_number_format_of_pytorch(self):
        assert "computes on the CPU" in self.refused(backend="openvino", device="cuda")
        assert "leave the dtype bfloat16 out" in self.refused(backend="openvino", dtype="bfloat16")

    @pytest.mark.parametrize(("backend", "extra"), [("onnxruntime-int8", "onnx"), ("openvino", "openvino")])
    def test_a_library_is_missing(self, monkeypatch, backend, extra):
        monkeypatch.setitem(sys.modules, BACKENDS[backend].module, None)
        sentence = self.refused(PersamError, backend=backend)
        assert f"The backend {backend} needs {BACKENDS[backend].module}, which is not installed" in sentence
        assert f"persam[{extra}]" in sentence

    def test_a_model_of_another_kind_is_refused_before_it_is_loaded(self, tmp_path):
        (tmp_path / "config.json").write_text('{"model_type": "sam_hq"}')  # there are no weights to load
        sentence = self.refused(name=str(tmp_path), backend="onnxruntime")
        assert sentence.startswith("--backend onnxruntime runs the image encoder of a SAM, which")

    @pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
    def test_onnx_runtime_tells_nobody(self, monkeypatch, before, after):
        monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
        if before is not None:
            monkeypatch.setenv("ORT_DISABLE_TELEMETRY", before)
        monkeypatch.setitem(sys.modules, "onnxruntime", None)  # it is set before the import, which fails here
        self.refused(PersamError, backend="onnxruntime")
        assert os.environ["ORT_DISABLE_TELEMETRY"] == after

    def test_exported_from_pytorch_alone(self, tmp_path):
        with pytest.raises(UsageError, match="load it with backend torch"):
            write_encoder(with_backend("onnxruntime"), tmp_path / "x.onnx")


def test_results_tell_of_their_number_format():
    assert backend_of("torch", "cuda", "bfloat16") is None
    assert dtypes_of("tiny", backend="openvino") == ("float32",)
    assert dtypes_of("tiny", backend="openvino-int8") == ("int8",)


def test_the_pictures_that_8_bits_are_fitted_to():
    """The same every time, each another, with the contrast of photos."""
    pictures = [drawn_picture(seed) for seed in range(PICTURES)]
    np.testing.assert_array_equal(pictures[3], drawn_picture(3))
    assert len({picture.tobytes() for picture in pictures}) == PICTURES
    assert all(20 < picture.std() < 110 for picture in pictures)


def test_ranges_are_those_of_the_tensors(vit_file, tmp_path):
    """Of one in the middle and of the input, over pictures; against the values themselves."""
    source = onnx.load(vit_file)
    node = next(node for node in source.graph.node if node.op_type == "MatMul")
    file, names = tmp_path / "encoder.onnx", [source.graph.input[0].name, node.input[0]]
    shutil.copy(vit_file, file)
    pictures = [np.random.default_rng(seed).normal(seed, 1, (1, 3, 64, 64)).astype(np.float32) for seed in range(2)]
    found = int8._ranges(file, names, pictures)
    source.graph.output.append(onnx.helper.make_tensor_value_info(node.input[0], onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(source.SerializeToString(), providers=["CPUExecutionProvider"])
    values = np.stack([session.run([node.input[0]], {names[0]: each})[0] for each in pictures])
    for name, wanted in zip(names, (np.stack(pictures), values), strict=True):
        np.testing.assert_allclose(found[name].range_value, (wanted.min(), wanted.max()), rtol=1e-5)


def test_weights_in_8_bits(vit_file, tmp_path):
    """Layers that widen, each channel to half a step; the others as they were."""
    file = tmp_path / "weights.onnx"
    int8.quantise_weights(vit_file, file, external=False)
    before, after = onnx.load(vit_file).graph, onnx.load(file).graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in after.initializer}
    was = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in before.initializer}
    names = {node.name: node.input[1] for node in before.node if node.op_type == "MatMul"}
    made = [node for node in after.node if node.op_type == "DequantizeLinear"]
    wide = {name for name in names.values() if name in was and was[name].ndim == 2 and np.diff(was[name].shape) > 0}
    assert made
    assert len(made) == len(wide)
    for node in made:
        whole, scale, _ = (arrays[name] for name in node.input)
        old = was[names[node.name.removesuffix(":int8")]]
        assert np.all(np.abs(whole * scale - old) <= scale / 2 * 1.001)
    assert not wide & set(arrays)
    assert file.stat().st_size < vit_file.stat().st_size


def test_large_canvases_have_weights_in_8_bits_and_need_no_pictures(home, vit_file, monkeypatch):
    monkeypatch.setattr(engines, "LARGE", 32)
    monkeypatch.setattr(engines, "quantise", None)
    monkeypatch.setattr(engines, "write_encoder", lambda model, path: shutil.copy(vit_file, path))
    model, photo = lively_sam(), draw_scene()[0]
    wanted = model.encode(photo).features
    with pytest.warns(PersamWarning, match="is being made for openvino-int8"):
        engines.use_backend(model, BACKENDS["openvino-int8"])
    (folder,) = (each for each in (home / "encoders").glob("*-int8weights-*") if each.is_dir())
    assert "onnxruntime" not in folder.name  # which does not make it
    found = model.encode(photo).features
    assert 1e-4 < float((found - wanted).norm() / wanted.norm()) < 0.1


@pytest.mark.skipif(not computes_in_bf16(), reason="the processor has no bf16")
def test_bf16_takes_the_file_of_float32(home, exported):
    with_backend("openvino")
    model = with_backend("openvino-bf16")
    assert exported == ["tiny"]
    photo = draw_scene()[0]
    found, wanted = model.encode(photo).features, tiny().encode(photo).features
    assert 1e-4 < float((found - wanted).norm() / wanted.norm()) < 0.05
    assert dtypes_of("tiny", backend="openvino-bf16") == ("bfloat16",)


def test_bf16_is_refused_where_it_is_only_emulated(monkeypatch):
    monkeypatch.setattr(backends, "computes_in_bf16", lambda: False)
    with pytest.raises(UsageError, match="does not compute in bf16; use the backend openvino, not openvino-bf16"):
        load_model(backend="openvino-bf16")
