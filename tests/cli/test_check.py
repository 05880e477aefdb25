"""`persam check`: what is printed, the picture, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_scene


@pytest.fixture
def inverted(tmp_path, scene):
    Image.fromarray(~scene[1]).save(tmp_path / "inverted.png")
    return tmp_path / "inverted.png"


def test_one_reference(run, photo_file, mask_file, tmp_path):
    result = run("check", photo_file, mask_file, "--picture", "check.png")
    assert result.exit_code == 0, result.output
    assert "photo.png" in result.stdout
    assert "What it saw is in check.png." in result.stderr
    assert Image.open(tmp_path / "check.png").width > 1000


def test_an_inverted_mask_is_told_once(run, photo_file, inverted):
    result = run("check", photo_file, inverted)
    assert result.exit_code == 0, result.output
    assert "do not use" in result.stdout
    assert result.output.count("as if it were inverted") == 1


def test_json_alone_on_stdout(run, photo_file, inverted):
    result = run("check", photo_file, inverted, "--json")
    assert result.stderr == ""
    report = json.loads(result.stdout)
    assert report["verdict"] == report["references"][0]["verdict"] == "do not use"
    assert report["references"][0]["findings"][0]["code"] == "mask"
    assert report["references"][0]["measures"]["border"] == 1
    assert report["comparison"] is None


def test_several(run, photo_file, mask_file, tmp_path):
    image, mask = draw_scene(center=(50, 100), seed=1)
    Image.fromarray(image).save(tmp_path / "2.png")
    Image.fromarray(mask).save(tmp_path / "2_mask.png")
    result = run("check", photo_file, mask_file, "-r", "2.png:2_mask.png")
    assert result.exit_code == 0, result.output
    assert "learned from" in result.stdout
    assert "predicts the others best" in result.stdout


def test_a_box_instead_of_a_mask(run, photo_file):
    result = run("check", photo_file, "--box", "32,42,99,99", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["references"][0]["measures"]["area"] > 0.01


def test_labels_are_a_question_among_the_findings(run, photo_file, tmp_path, scene):
    labels = scene[1].astype(np.uint8)
    labels[5:30, 120:150] = 2
    Image.fromarray(labels).save(tmp_path / "labels.png")
    asked = json.loads(run("check", photo_file, "labels.png", "--json").stdout)["references"][0]["findings"]
    assert any(finding["code"] == "doubt" and "--label 1" in finding["sentence"] for finding in asked)
    chosen = json.loads(run("check", photo_file, "labels.png", "--label", "1", "--json").stdout)["references"][0]
    assert not [finding for finding in chosen["findings"] if finding["code"] in ("doubt", "parts")]


class TestRefusals:
    def test_nothing_shows_the_object(self, refused, photo_file):
        assert "Nothing shows where the object is" in refused("check", photo_file, code=2)

    def test_a_picture_that_exists(self, refused, photo_file, mask_file, tmp_path):
        (tmp_path / "check.png").write_text("mine")
        sentence = refused("check", photo_file, mask_file, "--picture", "check.png", code=2)
        assert "check.png exists already" in sentence
        assert (tmp_path / "check.png").read_text() == "mine"

    def test_the_picture_over_the_photo(self, refused, photo_file, mask_file):
        arguments = ("check", photo_file, mask_file, "--picture", photo_file, "--overwrite")
        assert "is read by this command" in refused(*arguments, code=2)

    def test_a_photo_that_is_none(self, refused, damaged, mask_file):
        refused("check", damaged["text"] if "text" in damaged else next(iter(damaged.values())), mask_file, code=1)


def test_learn_points_here_only_where_it_warns(run, photo_file, mask_file, inverted):
    assert "persam check" not in run("learn", photo_file, mask_file).stderr
    result = run("learn", photo_file, inverted, "-o", "other")
    assert result.exit_code == 0, result.output
    assert f"persam check {photo_file} {inverted}" in result.stderr
