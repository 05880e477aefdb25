"""An encoder's name and what stands behind it."""

from __future__ import annotations

import pytest

from persam.errors import UsageError
from persam.models.encoder_name import EncoderName, recorded


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("facebook/dinov2-base", EncoderName("facebook/dinov2-base")),
        ("facebook/dinov2-base@layers=12,9", EncoderName("facebook/dinov2-base", layers=(9, 12))),
        ("a/b@windows=2@size=768", EncoderName("a/b", windows=2, size=768)),
        ("a/b@positions=kept@layers=3", EncoderName("a/b", layers=(3,), positions="kept")),
        ("me@home/b", EncoderName("me@home/b")),
        ("a@1/b@windows=8", EncoderName("a@1/b", windows=8)),
    ],
)
def test_read(text, name):
    assert EncoderName.read(text) == name
    assert EncoderName.read(str(name)) == name


def test_a_folder_may_be_called_anything(tmp_path):
    folder = tmp_path / "mine@layers=3"
    folder.mkdir()
    assert EncoderName.read(str(folder)).base == str(folder)
    assert EncoderName.read(f"{folder}@windows=2") == EncoderName(str(folder), windows=2)
    assert EncoderName.read(f"{folder}@layers=3") == EncoderName(str(folder), layers=(3,))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"^'' names no encoder; write its name first, such as facebook/dinov2-base\.$"),
        ("@layers=3", r"^'@layers=3' names no encoder"),
        ("a/b@layer=3", r"a/b@layer=3: an encoder has no option @layer; it takes @layers=9,12, .*\.$"),
        ("a/b@layers=", r"@layers does not take ''; write layers with commas .* such as @layers=9,12\.$"),
        ("a/b@layers=0", r"@layers does not take '0'"),
        ("a/b@layers=3,3", r"@layers does not take '3,3'; write layers with commas between them, each once"),
        ("a/b@layers=last", r"@layers does not take 'last'"),
        ("a/b@windows=0", r"@windows does not take '0'; write how many windows a side has, 1 to 8"),
        ("a/b@windows=2x2", r"@windows does not take '2x2'"),
        ("a/b@windows=9", r"@windows does not take '9'"),
        ("a/b@size=-4", r"@size does not take '-4'; write pixels of a side"),
        ("a/b@size=99999", r"@size does not take '99999'"),
        ("a/b@positions=no", r"@positions does not take 'no'; write @positions=kept or @positions=removed\.$"),
        ("a/b@size=64@size=64", r"gives @size twice; give it once\.$"),
    ],
)
def test_a_wrong_option_is_one_sentence(text, sentence):
    with pytest.raises(UsageError, match=sentence):
        EncoderName.read(text)


def test_what_was_recorded_without_positions_kept_them():
    assert recorded("a/dinov3") == "a/dinov3@positions=kept"
    assert recorded("a/dinov3@windows=2") == "a/dinov3@windows=2@positions=kept"
    assert recorded("a/dinov3@positions=removed") == "a/dinov3@positions=removed"
