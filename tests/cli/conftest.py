"""A concept that was learned once, and a runner that keeps stdout and stderr apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from tests.conftest import draw_scene
from typer.testing import CliRunner

from persam.cli.main import app

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `persam` in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return call


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """Run `persam`, expect an exit code and one sentence on stderr, and return that sentence."""

    def call(*arguments: object, code: int) -> str:
        result = run(*arguments)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        assert result.stdout == ""
        sentence = result.stderr.strip()
        assert "\n" not in sentence
        assert sentence.endswith(".")
        return sentence

    return call


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A concept of the drawn object, made by the bundled model through `persam learn`."""
    folder = tmp_path_factory.mktemp("learned")
    image, mask = draw_scene()
    Image.fromarray(image).save(folder / "photo.png")
    Image.fromarray(mask).save(folder / "mask.png")
    arguments = ["learn", folder / "photo.png", folder / "mask.png", "-o", folder / "disc.safetensors"]
    result = CliRunner().invoke(app, [*map(str, arguments), "--name", "my disc"])
    assert result.exit_code == 0, result.output
    return folder / "disc.safetensors"


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Three photos with the drawn object in other places."""
    folder = tmp_path / "album"
    folder.mkdir()
    for number in range(3):
        image, _ = draw_scene(120, 180, center=(50 + 30 * number, 60), radius=30, seed=number)
        Image.fromarray(image).save(folder / f"{number}.jpg")
    return folder


@pytest.fixture(scope="session")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Photos that are none."""
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("dear diary")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    noise.save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:2000])
    Image.new("1", (20_000, 20_000)).save(folder / "bomb.png")
    return {path.stem: path for path in folder.iterdir()} | {"missing": folder / "gone.jpg", "folder": folder}
