"""`persam learn` replaces nothing of the user's: said before the work, by files and not by names."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from tests.fakes import random_sam

from persam import Concept, PerSAM
from persam.models.tiny.architecture import PACKAGED_WEIGHTS


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, by the hash of its bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def no_model(monkeypatch):
    """Loading a model is the work: what is refused is refused before it."""
    monkeypatch.setattr("persam.cli.learn.load_model", lambda *_, **__: pytest.fail("the model was loaded"))


def refused_and_unharmed(refused, folder: Path, *arguments: object, code: int = 2) -> str:
    before = tree(folder)
    sentence = refused("learn", *arguments, code=code)
    assert tree(folder) == before
    return sentence


@pytest.mark.usefixtures("no_model")
class TestRefused:
    @pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
    @pytest.mark.parametrize("name", ["photo.png", "./photo.png", "sub/../photo.png", "link.png"])
    def test_a_preview_that_is_the_photo(self, refused, photo_file, mask_file, tmp_path, name, overwrite):
        (tmp_path / "sub").mkdir()
        (tmp_path / "link.png").symlink_to(photo_file)
        sentence = refused_and_unharmed(refused, tmp_path, photo_file, mask_file, "--preview", name, *overwrite)
        assert "is read by this command and would be replaced; name another with --preview" in sentence

    def test_a_preview_that_is_the_mask_of_a_further_reference(self, refused, photo_file, mask_file, tmp_path):
        shutil.copy(mask_file, tmp_path / "2.png")
        pair = f"{photo_file}:2.png"
        sentence = refused_and_unharmed(
            refused, tmp_path, photo_file, mask_file, "-r", pair, "--preview", "2.png", "--overwrite"
        )
        assert "2.png is read by this command" in sentence

    def test_a_hard_link_is_the_same_file(self, refused, photo_file, mask_file, tmp_path):
        os.link(photo_file, tmp_path / "other.png")
        sentence = refused_and_unharmed(
            refused, tmp_path, photo_file, mask_file, "--preview", "other.png", "--overwrite"
        )
        assert "other.png is read by this command" in sentence

    def test_both_outputs_at_one_place(self, refused, photo_file, mask_file, tmp_path):
        arguments = (photo_file, mask_file, "-o", "x.safetensors", "--preview", "./x.safetensors", "--overwrite")
        assert "-o and --preview name the same file" in refused_and_unharmed(refused, tmp_path, *arguments)

    def test_a_concept_that_exists(self, refused, photo_file, mask_file, learned, tmp_path):
        shutil.copy(learned, tmp_path / "photo.safetensors")
        sentence = refused_and_unharmed(refused, tmp_path, photo_file, mask_file)  # the default name
        assert sentence == ("photo.safetensors exists already; name another with -o, or add --overwrite to replace it.")

    def test_a_checkpoint_beside_a_photo_of_its_name(self, refused, photo_file, mask_file, tmp_path):
        shutil.copy(photo_file, tmp_path / "model.png")
        shutil.copy(PACKAGED_WEIGHTS, tmp_path / "model.safetensors")
        assert "model.safetensors exists already" in refused_and_unharmed(refused, tmp_path, "model.png", mask_file)

    def test_the_model_that_is_used(self, refused, photo_file, mask_file, tmp_path):
        shutil.copy(PACKAGED_WEIGHTS, tmp_path / "model.safetensors")
        arguments = (photo_file, mask_file, "--model", "model.safetensors", "-o", "model.safetensors", "--overwrite")
        assert "model.safetensors is read by this command" in refused_and_unharmed(refused, tmp_path, *arguments)

    def test_the_concept_that_it_goes_on_from(self, refused, photo_file, mask_file, learned, tmp_path):
        shutil.copy(learned, tmp_path / "mug.safetensors")
        arguments = (photo_file, mask_file, "--from", "mug.safetensors", "-o", "mug", "--overwrite")
        assert "mug.safetensors is read by this command" in refused_and_unharmed(refused, tmp_path, *arguments)

    def test_a_preview_that_exists(self, refused, photo_file, mask_file, tmp_path):
        (tmp_path / "check.png").write_text("mine")
        sentence = refused_and_unharmed(refused, tmp_path, photo_file, mask_file, "--preview", "check.png")
        assert "check.png exists already; name another with --preview, or add --overwrite" in sentence

    def test_a_dangling_link_is_somebodys(self, refused, photo_file, mask_file, tmp_path):
        (tmp_path / "mug.safetensors").symlink_to(tmp_path / "gone")
        refused_and_unharmed(refused, tmp_path, photo_file, mask_file, "-o", "mug.safetensors")
        assert (tmp_path / "mug.safetensors").is_symlink()

    def test_a_folder_of_that_name(self, refused, photo_file, mask_file, tmp_path):
        (tmp_path / "mug.safetensors").mkdir()
        arguments = (photo_file, mask_file, "-o", "mug.safetensors", "--overwrite")
        assert "mug.safetensors is a folder" in refused_and_unharmed(refused, tmp_path, *arguments)


def test_a_file_that_appears_while_it_learns(refused, photo_file, mask_file, tmp_path, monkeypatch):
    def somebody_writes(*_: object, **__: object) -> PerSAM:
        (tmp_path / "mug.safetensors").write_text("theirs")
        return PerSAM(random_sam())

    monkeypatch.setattr("persam.cli.learn.load_model", somebody_writes)
    assert "mug.safetensors exists already" in refused("learn", photo_file, mask_file, "-o", "mug", code=2)
    assert (tmp_path / "mug.safetensors").read_text() == "theirs"


def test_overwrite_replaces_both_outputs(run, photo_file, mask_file, tmp_path):
    for name in ("mug.safetensors", "check.png"):
        (tmp_path / name).write_text("old")
    result = run("learn", photo_file, mask_file, "-o", "mug", "--preview", "check.png", "--overwrite")
    assert result.exit_code == 0, result.output
    assert Concept.load(tmp_path / "mug.safetensors").name == "mug"
    assert (tmp_path / "check.png").read_bytes().startswith(b"\x89PNG")
