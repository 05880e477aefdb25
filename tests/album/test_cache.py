"""Encodings on disk: the same as before, within the bound, and only of what made them."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch
from tests.conftest import draw_scene
from tests.fakes import ColourModel, random_sam

from persam import PerSAM
from persam.album.cache import EncodingCache


@pytest.fixture(scope="module")
def encoded():
    """A photo as a SAM and another encoder see it, with what a closer look needs."""
    seen = PerSAM(random_sam(), encoder=ColourModel()).encode(draw_scene()[0])
    return replace(seen, detail=seen.pixels[::-1], for_finder=seen.pixels[:, ::-1])


@pytest.fixture
def size(tmp_path, encoded) -> int:
    """Bytes of one."""
    cache = EncodingCache(tmp_path / "size", 10**9, "x")
    cache.put("a", encoded)
    return cache.size


def test_comes_back_as_it_was(tmp_path, encoded):
    EncodingCache(tmp_path, 10**9, "one").put("photo", encoded)
    back = EncodingCache(tmp_path, 10**9, "one").get("photo")
    assert back is not None
    assert torch.equal(back.features, encoded.features)
    assert back.frame == encoded.frame
    assert (back.pixels == encoded.pixels).all()
    assert (back.detail == encoded.detail).all()
    assert (back.for_finder == encoded.for_finder).all()
    assert back.other is not None
    assert back.other.frame == encoded.other.frame
    assert torch.equal(back.other.features, encoded.other.features)
    assert torch.equal(back.other.extras["canvas"], encoded.other.extras["canvas"])


def test_another_encoder_or_photo_finds_nothing(tmp_path, encoded):
    EncodingCache(tmp_path, 10**9, "one").put("photo", encoded)
    assert EncodingCache(tmp_path, 10**9, "two").get("photo") is None
    assert EncodingCache(tmp_path, 10**9, "one").get("other photo") is None


def test_the_one_used_longest_ago_goes_first(tmp_path, encoded, size):
    cache = EncodingCache(tmp_path / "c", 3 * size, "x")
    for number, name in enumerate("abc"):
        cache.put(name, encoded)
        os.utime(cache.folder / cache._name(name), ns=(number, number))
    cache = EncodingCache(tmp_path / "c", 3 * size, "x")
    assert cache.get("a") is not None
    cache.put("d", encoded)
    assert [name for name in "abcd" if cache.get(name)] == ["a", "c", "d"]
    assert sum(file.stat().st_size for file in cache.folder.iterdir()) == cache.size <= 3 * size


def test_a_smaller_bound_holds_from_the_next_one_on(tmp_path, encoded, size):
    cache = EncodingCache(tmp_path / "c", 9 * size, "x")
    for name in "abcde":
        cache.put(name, encoded)
    cache = EncodingCache(tmp_path / "c", 2 * size, "x")
    cache.put("f", encoded)
    assert cache.size <= 2 * size
    assert cache.get("f") is not None


def test_what_is_larger_than_the_bound_is_not_kept(tmp_path, encoded, size):
    cache = EncodingCache(tmp_path / "c", size - 1, "x")
    cache.put("a", encoded)
    assert cache.get("a") is None
    assert cache.size == 0


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"junk" * 99])
def test_what_is_damaged_counts_as_missing(tmp_path, encoded, damage):
    cache = EncodingCache(tmp_path, 10**9, "x")
    cache.put("a", encoded)
    file = cache.folder / cache._name("a")
    file.write_bytes(damage(file.read_bytes()))
    assert cache.get("a") is None
    assert not file.exists()
    cache.put("a", encoded)
    assert cache.get("a") is not None
