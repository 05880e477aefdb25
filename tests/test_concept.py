"""The concept and its file."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import save_file
from tests.conftest import draw_scene
from tests.fakes import random_sam

from persam import Concept, PerSAM, Reference
from persam.errors import PersamError
from persam.method.settings import Settings


@pytest.fixture(scope="module")
def persam() -> PerSAM:
    return PerSAM(random_sam())


@pytest.fixture(scope="module")
def concept(persam: PerSAM) -> Concept:
    references = [Reference.read(*draw_scene(seed=seed, radius=20 + 5 * seed)) for seed in range(3)]
    return persam.tune(persam.learn(references, name="Tante Ännes Tasse ☕"))


def assert_same(one: Concept, other: Concept) -> None:
    assert one.metadata() | {"has_thumbnail": 0} == other.metadata() | {"has_thumbnail": 0}
    assert one.settings == other.settings
    assert one.references == other.references
    assert len(one.targets) == len(other.targets)
    for left, right in zip(one.targets, other.targets, strict=True):
        for part in ("embedding", "direction", "tuned_direction", "background"):
            torch.testing.assert_close(getattr(left, part), getattr(right, part), atol=0, rtol=0)


class TestRoundTrip:
    def test_everything(self, concept, tmp_path):
        path = concept.save(tmp_path / "tasse.safetensors")
        assert path == tmp_path / "tasse.safetensors"
        loaded = Concept.load(path)
        assert_same(concept, loaded)
        assert loaded.name == "Tante Ännes Tasse ☕"
        assert loaded.tuned
        assert loaded.material == ()
        assert len(loaded.references) == 3

    @pytest.mark.parametrize("mode", ["official", "paper", "persam"])
    @pytest.mark.parametrize("share", [0.0, 0.1])
    def test_segments_the_same(self, mode, share, tmp_path):
        persam = PerSAM(random_sam(), settings=Settings.of(mode).but(background_subspace=share))
        concept = persam.learn(*draw_scene())
        concept.save(tmp_path / "c.safetensors")
        loaded = Concept.load(tmp_path / "c.safetensors")
        assert loaded.mode == mode
        assert not loaded.tuned
        photo, _ = draw_scene(90, 140, seed=4)
        np.testing.assert_array_equal(persam.segment(photo, loaded).mask, persam.segment(photo, concept).mask)

    @settings(max_examples=25)
    @given(name=st.text(max_size=40).filter(lambda text: text.isprintable()))
    def test_any_name(self, concept, name, tmp_path_factory):
        path = tmp_path_factory.mktemp("names") / "c.safetensors"
        replace(concept, name=name).save(path)
        assert Concept.load(path).name == name

    @settings(max_examples=10)
    @given(text=st.text(max_size=40).filter(lambda text: text.isprintable()))
    def test_any_words(self, concept, text, tmp_path_factory):
        path = tmp_path_factory.mktemp("words") / "c.safetensors"
        first, *others = concept.references
        replace(concept, references=(replace(first, text=text), *others)).save(path)
        assert Concept.load(path).text == text
        assert Concept.load(path).content_hash == concept.content_hash  # by themselves, words find nothing

    def test_saving_twice_gives_the_same_bytes(self, concept, tmp_path):
        concept.save(tmp_path / "a.safetensors")
        Concept.load(tmp_path / "a.safetensors").save(tmp_path / "b.safetensors")
        assert (
            Concept.load(tmp_path / "b.safetensors").metadata() == Concept.load(tmp_path / "a.safetensors").metadata()
        )

    def test_overwrites_whole_and_leaves_nothing_beside(self, concept, tmp_path):
        path = tmp_path / "c.safetensors"
        path.write_bytes(b"old")
        concept.save(path)
        assert Concept.load(path).name == concept.name
        assert [entry.name for entry in tmp_path.iterdir()] == ["c.safetensors"]


class TestFile:
    def test_metadata_is_readable_without_torch(self, concept, tmp_path):
        concept.save(tmp_path / "c.safetensors")
        with safe_open(tmp_path / "c.safetensors", framework="np") as file:
            words = json.loads(file.metadata()["persam"])
        assert words["format"] == "1"
        assert words["name"] == concept.name
        assert words["mode"] == concept.mode
        assert words["model"] == {"name": "random", "fingerprint": concept.model}
        assert [len(r["sha256"]) for r in words["references"]] == [64, 64, 64]
        assert words["references"][0]["size"] == [120, 160]
        assert words["threshold"] == pytest.approx(concept.threshold, abs=1e-6)
        assert words["created"].endswith("+00:00")
        assert sum(words["scale_weights"]) == pytest.approx(1, abs=1e-4)
        tensors = load_numpy(tmp_path / "c.safetensors")
        assert set(tensors) == {
            f"target.{i}.{part}"
            for i in range(3)
            for part in ("embedding", "direction", "tuned_direction", "background")
        }

    def test_no_pixels_unless_asked_for(self, concept, tmp_path):
        plain = concept.save(tmp_path / "plain.safetensors")
        shown = concept.save(tmp_path / "shown.safetensors", thumbnail=True)
        assert concept.thumbnail is not None
        assert concept.thumbnail.startswith(b"\x89PNG")
        assert Concept.load(plain).thumbnail is None
        assert Concept.load(shown).thumbnail == concept.thumbnail
        assert b"thumbnail" not in plain.read_bytes().replace(b"has_thumbnail", b"")
        assert plain.stat().st_size < 12_000

    def test_says_whether_it_holds_a_thumbnail(self, concept, tmp_path):
        for wanted in (True, False):
            path = concept.save(tmp_path / "c.safetensors", thumbnail=wanted)
            with safe_open(path, framework="np") as file:
                assert json.loads(file.metadata()["persam"])["has_thumbnail"] is wanted

    def test_missing_folders_are_made(self, concept, tmp_path):
        assert concept.save(tmp_path / "new" / "deep" / "c.safetensors").is_file()

    def test_a_folder_in_the_way(self, concept, tmp_path):
        (tmp_path / "c.safetensors").mkdir()
        with pytest.raises(PersamError, match="that is a folder"):
            concept.save(tmp_path / "c.safetensors")


def spoilt(concept: Concept, path: Path, change) -> Path:
    """A concept file with changed metadata and tensors."""
    concept.save(path)
    with safe_open(path, framework="pt") as file:
        words, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    meta = json.loads(words["persam"])
    changed = change(meta, tensors)
    save_file(tensors, path, metadata=words | {"persam": json.dumps(meta if changed is None else changed)})
    return path


class TestSentences:
    def read(self, path: Path) -> str:
        with pytest.raises(PersamError) as caught:
            Concept.load(path)
        assert caught.value.exit_code == 1
        assert "\n" not in str(caught.value)
        assert path.name in str(caught.value)
        return str(caught.value)

    def test_missing(self, tmp_path):
        assert "There is no concept file" in self.read(tmp_path / "gone.safetensors")
        assert "There is no concept file" in self.read(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"hello", bytes(100), b"\xff" * 500, b"\x10" + bytes(7) + b'{"a":1}' * 9])
    def test_garbage(self, tmp_path, content):
        (tmp_path / "c.safetensors").write_bytes(content)
        assert "is damaged or no safetensors file; learn the concept again" in self.read(tmp_path / "c.safetensors")

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
    def test_truncated(self, concept, tmp_path, share):
        data = concept.save(tmp_path / "c.safetensors").read_bytes()
        (tmp_path / "c.safetensors").write_bytes(data[: int(len(data) * share)])
        assert "is damaged or no safetensors file" in self.read(tmp_path / "c.safetensors")

    @pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
    def test_foreign(self, tmp_path, metadata):
        save_file({"weight": torch.zeros(3)}, tmp_path / "f.safetensors", metadata=metadata)
        assert "holds no concept of persam" in self.read(tmp_path / "f.safetensors")

    def test_newer_format(self, concept, tmp_path):
        path = spoilt(concept, tmp_path / "c.safetensors", lambda meta, _: meta.update(format="2"))
        assert "has concept format 2, this persam reads up to 1; upgrade persam" in self.read(path)

    @pytest.mark.parametrize(
        "change",
        [
            lambda meta, tensors: meta.pop("name"),
            lambda meta, tensors: meta.update(format="one"),
            lambda meta, tensors: meta.update(settings="fast"),
            lambda meta, tensors: meta.update(model="sam"),
            lambda meta, tensors: meta.update(references=[{"source": "a"}]),
            lambda meta, tensors: meta.update(references=3),
            lambda meta, tensors: meta.update(scale_weights=[0.5]),
            lambda meta, tensors: meta.update(threshold="high"),
            lambda meta, tensors: tensors.pop("target.1.direction"),
            lambda meta, tensors: meta["references"].append(meta["references"][0]),
            lambda meta, tensors: [1, 2],
            lambda meta, tensors: None if meta.clear() else {},
        ],
    )
    def test_damaged_metadata(self, concept, tmp_path, change):
        def apply(meta, tensors):
            result = change(meta, tensors)
            return result if isinstance(result, (list, dict)) and result in ([1, 2], {}) else None

        path = spoilt(concept, tmp_path / "c.safetensors", apply)
        assert "is a damaged concept file" in self.read(path)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda meta: meta.update(name=7), "name is 7, not text"),
            (lambda meta: meta.update(name="\ud83d"), r"name is '\\ud83d', not text"),
            (lambda meta: meta.update(format=1), "format is 1, not text"),
            (lambda meta: meta.update(format="-1"), "format is '-1'"),
            (lambda meta: meta.update(format="9" * 5000), "format is"),
            (lambda meta: meta["model"].update(name=3), "name is 3, not text"),
            (lambda meta: meta["model"].update(fingerprint=None), "fingerprint is None, not text"),
            (lambda meta: meta["encoder"].pop("name"), "encoder has no name"),
            (lambda meta: meta.update(threshold=float("nan")), "threshold is nan, not a number"),
            (lambda meta: meta.update(threshold=float("inf")), "threshold is inf, not a number"),
            (lambda meta: meta.update(threshold=True), "threshold is True, not a number"),
            (lambda meta: meta.update(threshold=10**400), "threshold is 1000"),
            (lambda meta: meta.update(scale_weights=[0.1, float("nan"), 0.2]), "a scale weight is nan"),
            (lambda meta: meta.update(scale_weights=[0.1, 0.2]), "it has 2 scale weights, not 3"),
            (lambda meta: meta.update(scale_weights={"a": 1}), "scale_weights is .*, not a list"),
            (lambda meta: meta.update(references=[]), "it has no reference"),
            (lambda meta: meta["references"][0].update(size=[1, 2, 3]), r"size is \[1, 2, 3\]"),
            (lambda meta: meta["references"][0].update(size=[0, 5]), "size is 0, not a whole number from 1 on"),
            (lambda meta: meta["references"][0].update(size="12"), "size is '12', not a list"),
            (lambda meta: meta["references"][0].update(coverage=2), "coverage is 2"),
            (lambda meta: meta["references"][0].update(text=["mug"]), "text is .'mug'., not text"),
            (lambda meta: meta["references"][0].update(cells=1.5), "cells is 1.5, not a whole number"),
            (lambda meta: meta["references"][0].update(source=None), "source is None, not text"),
            (lambda meta: meta.update(created=5), "created is 5, not text"),
            (lambda meta: meta["settings"].update(alpha=float("nan")), '"alpha" cannot be nan; use a number'),
            (lambda meta: meta["settings"].update(cascade="yes"), "\"cascade\" cannot be 'yes'; use True or False"),
            (lambda meta: meta["settings"].update(mode=["persam"]), "There is no mode"),
            (lambda meta: meta.update(fitted={"cues": {}}), "fitted: 'presence'"),
            (lambda meta: meta.update(fitted=[1]), "fitted is no JSON object"),
        ],
    )
    def test_a_value_of_another_kind(self, concept, tmp_path, change, words):
        path = spoilt(concept, tmp_path / "c.safetensors", lambda meta, _: change(meta) and None)
        assert re.search(rf"is a damaged concept file \(.*{words}.*\); learn the concept again\.$", self.read(path))

    def test_json_without_an_end(self, concept, tmp_path):
        for text in ("[" * 100_000, "", "{", "null", '{"format": ' + "1" * 5000 + "}"):
            save_file({"x": torch.zeros(1)}, tmp_path / "c.safetensors", metadata={"persam": text})
            assert "is a damaged concept file" in self.read(tmp_path / "c.safetensors")

    @pytest.mark.parametrize(
        ("name", "tensor", "words"),
        [
            ("target.0.direction", torch.zeros(7), "target.0.tuned_direction has the shape 32"),
            ("target.1.direction", torch.zeros(7), "target.1.direction has the shape 7"),
            ("target.2.embedding", torch.zeros(32, 1), "target.2.embedding has the shape 32x1"),
            ("target.0.embedding", torch.tensor(1.0), "target.0.embedding has the shape "),
            ("target.0.embedding", torch.zeros(0), "target.0.embedding is empty"),
            ("target.0.background", torch.zeros(5, 2), "target.0.background has the shape 5x2"),
            ("target.0.direction", torch.zeros(32, dtype=torch.int64), "holds int64, not numbers with a point"),
            (
                "target.0.direction",
                torch.full((32,), float("nan")),
                "target.0.direction holds NaN, infinity, or a number",
            ),
            (
                "target.1.embedding",
                torch.full((32,), float("-inf")),
                "target.1.embedding holds NaN, infinity, or a number",
            ),
            ("target.1.embedding", torch.full((32,), 1e30), "target.1.embedding holds NaN, infinity, or a number"),
            ("kept.0.photo", torch.zeros(3), "what it keeps of reference 1 is no file"),
        ],
    )
    def test_a_tensor_of_another_kind(self, concept, tmp_path, name, tensor, words):
        path = spoilt(concept, tmp_path / "c.safetensors", lambda _, tensors: tensors.update({name: tensor}))
        assert words in self.read(path)

    def test_a_file_from_before_identities_works_as_before(self, tmp_path):
        """Its numbers do not ask for them."""
        persam = PerSAM.from_pretrained()
        before = replace(persam.fitted, identity="", presence={"explained": (4.0, 0.6)}, presence_afar={})
        concept = PerSAM(persam.model, fitted=before).learn(*draw_scene())

        def older(meta, tensors):
            del meta["fitted"]["identity"], meta["settings"]["identity"], tensors["cue.0.identity"]

        read = Concept.load(spoilt(concept, tmp_path / "c.safetensors", older))
        assert not read.cues[0].identity.any()
        photo = draw_scene(seed=3)[0]
        assert persam.segment(photo, read).score == persam.segment(photo, concept).score

    def test_an_identity_that_its_numbers_ask_for_is_missing(self, tmp_path):
        concept = PerSAM.from_pretrained().learn(*draw_scene())

        def without(_, tensors):
            del tensors["cue.0.identity"]

        path = spoilt(concept, tmp_path / "c.safetensors", without)
        assert "cue.0.identity is missing" in self.read(path)

    def test_a_cue_of_another_shape(self, tmp_path):
        concept = PerSAM.from_pretrained().learn(*draw_scene())
        for name, tensor in {
            "cue.0.colours": torch.zeros(8, 8, 8),
            "cue.0.object_cells": torch.zeros(0, 128),
            "cue.0.background_cells": torch.zeros(3, 64),
            "cue.0.identity": torch.zeros(64),
        }.items():
            path = spoilt(
                concept, tmp_path / "c.safetensors", lambda _, tensors, n=name, t=tensor: tensors.update({n: t})
            )
            assert name in self.read(path)

    def test_vectors_of_another_length_than_the_models(self, persam, concept, tmp_path):
        def change(_, tensors):
            tensors.update({name: torch.ones(4) for name in tensors if "background" not in name})
            tensors.update({name: torch.ones(4, 0) for name in tensors if "background" in name})

        changed = Concept.load(spoilt(concept, tmp_path / "c.safetensors", change))
        with pytest.raises(PersamError, match="has vectors of 4 and 4 numbers, its model of 32 and 32; learn it again"):
            persam.segment(draw_scene()[0], changed)

    def test_names_that_no_file_can_hold(self, persam, tmp_path):
        """Bytes of a file's name that are no UTF-8, as Python reads them."""
        concept = persam.learn(replace(Reference.read(*draw_scene()), source="m\udcffg.jpg"), name="m\udcffg")
        loaded = Concept.load(concept.save(tmp_path / "c.safetensors"))
        assert (loaded.name, loaded.references[0].source) == (r"m\udcffg", r"m\udcffg.jpg")

    def test_unknown_mode(self, concept, tmp_path):
        path = spoilt(concept, tmp_path / "c.safetensors", lambda meta, _: meta["settings"].update(mode="magic"))
        with pytest.raises(PersamError, match='There is no mode "magic"'):
            Concept.load(path)

    def test_settings_of_another_version(self, concept, tmp_path):
        def change(meta, _tensors):
            meta["settings"]["telepathy"] = 3
            del meta["settings"]["alpha"]

        assert Concept.load(spoilt(concept, tmp_path / "c.safetensors", change)).settings == concept.settings

    @pytest.mark.parametrize("job", ["segment", "tune"])
    def test_another_model(self, persam, concept, job):
        other = PerSAM(random_sam(7))
        with pytest.raises(PersamError) as caught:
            if job == "segment":
                other.segment(draw_scene()[0], concept)
            else:
                other.tune(concept)
        sentence = str(caught.value)
        assert f'"{concept.name}" was made with the model random ({concept.model})' in sentence
        assert f"this is random ({other.model.fingerprint})" in sentence
        assert "use that model or learn the concept again" in sentence


def test_it_says_in_a_line_what_it_is(concept):
    assert repr(concept) == "<Concept 'Tante Ännes Tasse ☕': references 3, random, mode persam, tuned>"


def test_a_file_of_an_earlier_version():
    """Written by persam 0.1.0 before results had a similarity, a predicted IoU and a score."""
    concept = Concept.load(Path(__file__).parent / "data" / "concept-of-version-0.1.safetensors")
    assert (concept.name, concept.mode, concept.model_name, concept.tuned) == ("disc", "persam", "tiny", True)
    assert concept.threshold == pytest.approx(0.644478, abs=1e-6)
    assert concept.references[0].size == (120, 160)
    assert concept.targets[0].direction.shape == (128,)


def test_thumbnail():
    photo = np.full((300, 500, 3), (200, 10, 20), np.uint8)
    mask = np.zeros((300, 500), bool)
    mask[100:200, 100:300] = True
    small = Image.open(io.BytesIO(PerSAM(random_sam()).learn(photo, mask).thumbnail))
    assert small.size == (96, 58)
    assert small.getpixel((40, 20)) == (200, 10, 20)
