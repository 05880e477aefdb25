"""References that a concept keeps: the same to the pixel, and nothing but pixels."""

from __future__ import annotations

import io
import os
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.conftest import draw_scene
from tests.fakes import random_sam

from persam import Concept, PerSAM, Reference
from persam.errors import PersamError, PersamWarning
from persam.kept import KeptReference, without_metadata

SECRET = b"taken in the secret garden"


@pytest.fixture(scope="module")
def persam() -> PerSAM:
    return PerSAM(random_sam())


def with_secrets(path: Path, image: np.ndarray, orientation: int = 1, **options: object) -> Path:
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = SECRET.decode(), orientation
    Image.fromarray(image).save(path, exif=exif, comment=SECRET, icc_profile=SECRET, xmp=SECRET, **options)
    assert SECRET in path.read_bytes()
    return path


@pytest.mark.parametrize("orientation", [1, 2, 3, 6, 8])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30, "subsampling": 2}], ids=str)
def test_a_jpeg_stays_itself_without_its_metadata(persam, tmp_path, orientation, options):
    photo = with_secrets(tmp_path / "p.jpg", draw_scene()[0], orientation, **options)
    photo.write_bytes(photo.read_bytes() + SECRET)  # phones put a second picture, or a film, behind it
    boxed = Reference.read(photo, box=(10, 10, 90, 90))
    mask = np.zeros(boxed.size, bool)
    mask[20:70, 30:80] = True
    reference = replace(boxed, box=None, mask=mask)
    concept = persam.learn(reference, keep_references=True)
    concept.save(tmp_path / "c.safetensors")
    assert SECRET not in (tmp_path / "c.safetensors").read_bytes()
    loaded = Concept.load(tmp_path / "c.safetensors")
    assert loaded.kept[0].photo.startswith(b"\xff\xd8")
    assert len(loaded.kept[0].photo) < photo.stat().st_size
    (again,) = loaded.kept_references()
    np.testing.assert_array_equal(again.image, reference.image)
    np.testing.assert_array_equal(again.mask, mask)
    assert (again.source, again.sha256) == (str(photo), reference.sha256)


def test_a_mask_that_the_model_drew_is_kept():
    concept = PerSAM.from_pretrained().learn(draw_scene()[0], box=(32, 42, 89, 99), keep_references=True)
    np.testing.assert_array_equal(concept.kept_references()[0].mask, concept.material[0].mask.numpy())


def test_a_cmyk_jpeg(persam, tmp_path):
    Image.fromarray(draw_scene()[0]).convert("CMYK").save(tmp_path / "p.jpg")
    reference = Reference.read(tmp_path / "p.jpg", draw_scene()[1])
    kept = persam.learn(reference, keep_references=True).kept[0]
    np.testing.assert_array_equal(kept.read().image, reference.image)


@pytest.mark.parametrize("kind", ["png", "webp", "array", "changed since", "gone since", "cut", "pipe"])
def test_any_other_photo_becomes_a_png(persam, tmp_path, kind):
    image, mask = draw_scene()
    path = tmp_path / ("p.jpg" if " " in kind or kind in ("cut", "pipe") else f"p.{kind}")
    source: object = path
    if kind == "array":
        source = image
    elif kind == "pipe":
        os.mkfifo(path)
        data = io.BytesIO()
        Image.fromarray(image).save(data, "JPEG")
        threading.Thread(target=lambda: path.write_bytes(data.getvalue()), daemon=True).start()
    else:
        Image.fromarray(image).save(path)
    reference = Reference.read(source, mask)
    if kind == "changed since":
        Image.fromarray(255 - image).save(path)
    elif kind == "gone since":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    kept = persam.learn(reference, keep_references=True).kept[0]
    assert kept.photo.startswith(b"\x89PNG")
    again = kept.read()
    np.testing.assert_array_equal(again.image, reference.image)
    np.testing.assert_array_equal(again.mask, mask)
    np.testing.assert_array_equal(again.mask_values, reference.mask_values)


@given(data=st.binary(max_size=300), cut=st.integers(0, 3000))
def test_what_is_no_whole_jpeg_is_told_at_once(data, cut):
    buffer = io.BytesIO()
    Image.fromarray(draw_scene()[0]).save(buffer, "JPEG")
    jpeg = buffer.getvalue()
    assert without_metadata(jpeg).endswith(b"\xff\xd9")
    for broken in (b"\xff\xd8" + data.replace(b"\xff\xd9", b""), jpeg[: min(cut, len(jpeg) - 2)]):
        with pytest.raises((ValueError, IndexError)):
            without_metadata(broken)


def test_a_mask_for_mode_official_keeps_its_values(tmp_path):
    """The same mask stored with 128 and with 255 selects other cells there, see published-behaviour 3.1."""
    persam = PerSAM.from_pretrained(mode="official")
    image, mask = draw_scene()
    for value in (128, 255):
        concept = persam.learn(image, mask.astype(np.uint8) * value, keep_references=True)
        again = persam.learn(Concept.load(concept.save(tmp_path / f"{value}.safetensors")).kept_references())
        assert again.targets[0].embedding.equal(concept.targets[0].embedding)


class TestConcepts:
    def test_is_tuned_from_its_file_as_from_memory(self, persam, tmp_path):
        fresh = persam.learn([Reference.read(*draw_scene(seed=seed)) for seed in (1, 2)], keep_references=True)
        loaded = Concept.load(fresh.save(tmp_path / "c.safetensors"))
        assert loaded.keeps_references
        assert loaded.material == ()
        tuned = persam.tune(loaded)
        assert tuned.scale_weights == pytest.approx(persam.tune(fresh).scale_weights, abs=1e-6)
        assert tuned.keeps_references

    def test_added_to_a_tuned_one_in_memory(self, persam):
        tuned = persam.tune(persam.learn(*draw_scene(), name="mug"))
        both = persam.learn(*draw_scene(seed=1), base=tuned)
        assert (both.name, both.tuned, len(both.references)) == ("mug", False, 2)
        assert both.threshold == pytest.approx(
            persam.learn([Reference.read(*draw_scene()), Reference.read(*draw_scene(seed=1))]).threshold
        )
        assert persam.tune(both).tuned

    def test_the_same_photo_once_more_is_said(self, persam, photo_file, mask_file):
        first = persam.learn(photo_file, mask_file, name="mug")
        more = rf"Learned from more than once, and so it counts more: .*{photo_file.name}; to put a mask right"
        with pytest.warns(PersamWarning, match=more):
            assert len(persam.learn(photo_file, mask_file, base=first).references) == 2
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            persam.learn(*draw_scene(seed=1), base=first)
            first.joined(first, "mug")  # as the doctor does, who teaches nothing

    def test_some_kept(self, persam, tmp_path):
        first = persam.learn(*draw_scene(), keep_references=True)
        both = Concept.load(persam.learn(*draw_scene(seed=1), base=first).save(tmp_path / "c.safetensors"))
        assert [kept is not None for kept in both.kept] == [True, False]
        assert not both.keeps_references
        with pytest.raises(PersamError, match="does not keep its photos"):
            persam.tune(both)

    def test_of_other_settings(self, persam):
        with pytest.raises(PersamError, match="was learned with other settings .*kept_references"):
            PerSAM(persam.model, settings=persam.settings.but(cascade=False)).learn(
                *draw_scene(), base=persam.learn(*draw_scene())
            )

    def test_of_another_model(self, persam):
        with pytest.raises(PersamError, match="was made with the model"):
            PerSAM(random_sam(7)).learn(*draw_scene(), base=persam.learn(*draw_scene()))

    @pytest.mark.parametrize("photo", [b"", b"nothing", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
    def test_damaged_pictures(self, photo):
        with pytest.raises(PersamError, match="keeps is damaged; learn the concept again"):
            KeptReference(photo, b"").read()
