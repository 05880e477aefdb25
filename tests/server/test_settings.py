"""Settings: nobody opens a service to others by mistake."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from persam.cli.serve import _limits
from persam.errors import UsageError
from persam.server.settings import Limits, ServerSettings, is_loopback

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.0.0.9"])
def test_on_this_machine_no_token_is_needed(host: str, tmp_path: Path) -> None:
    assert ServerSettings(tmp_path, host=host).is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", "", "127.0.0.1.example.org", "0"])
def test_everywhere_else_one_is(host: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="token"):
        ServerSettings(tmp_path, host=host)
    assert not ServerSettings(tmp_path, host=host, token=TOKEN).is_loopback


@pytest.mark.parametrize(
    "token", ["", "short", "with blanks in it, many of them", "naïveté-naïveté-naïveté", "x" * 20 + "\n"]
)
def test_a_token_is_none_that_one_guesses_or_cannot_send(token: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="token"):
        ServerSettings(tmp_path, token=token)


def test_a_token_is_not_shown(tmp_path: Path) -> None:
    assert TOKEN not in repr(ServerSettings(tmp_path, token=TOKEN))


def test_every_limit_is_above_nothing_and_described() -> None:
    for each in fields(Limits):
        assert f"{each.name}:" in (Limits.__doc__ or "")
        for bad in (0, -1, float("nan"), float("inf")):
            with pytest.raises(UsageError, match=each.name):
                Limits(**{each.name: bad})


def test_limits_are_read_from_the_command_line() -> None:
    limits = _limits(["photo_pixels=20e6", "head-seconds=2.5"])
    assert (limits.photo_pixels, limits.head_seconds) == (20_000_000, 2.5)
    assert isinstance(limits.photo_pixels, int)
    for bad in ("photo_pixels", "photo_pixels=many", "photo_pixels=inf", "nothing=3", "photo_pixels=-1"):
        with pytest.raises(UsageError, match="limit"):
            _limits([bad])


def test_what_is_loopback() -> None:
    assert [is_loopback(each) for each in ("LOCALHOST", "127.8.8.8", "evil.localhost.com", "1.2.3.4")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://app.example.org/", "https://app.example.org"),
        ("HTTPS://App.Example.org:443", "https://app.example.org"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:80/", "http://[::1]"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_pages_are_kept_as_browsers_write_them(given: str, kept: str, tmp_path: Path) -> None:
    assert ServerSettings(tmp_path, origins=(given,)).origins == (kept,)


@pytest.mark.parametrize(
    "page",
    ["*", "null", "", "app.example.org", "https://*.example.org", "https://a.org/app", "https://a.org?x", "file:///x",
     "https://u:p@a.org", "http://[::1", "https://" + "ü" * 99],
)  # fmt: skip
def test_what_is_no_page_may_not_call(page: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="scheme, host and port alone"):
        ServerSettings(tmp_path, origins=(page,))


def test_ports(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="65535"):
        ServerSettings(tmp_path, port=65536)
