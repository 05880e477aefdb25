"""`persam album` on places elsewhere, as it is called: photos and results in a bucket, killed and gone on with."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from tests.conftest import draw_scene
from tests.stores import forget_stores

from persam.places import RemotePath

AT_ONCE = """
from persam.album import mirror
mirror.SECONDS = mirror._SHARE = 0  # put there after every photo
from persam.cli.main import app
app()
"""


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def photos(store) -> RemotePath:
    put(store / "my photos", 3)
    return store / "my photos"


def put(folder: RemotePath, count: int) -> None:
    for number in range(count):
        image, _ = draw_scene(60, 90, center=(25 + number, 30), radius=14, seed=number)
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG")
        (folder / f"{number} #?.jpg").write_bytes(stream.getvalue())


def contents(folder: RemotePath) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.files(below=True)}


def test_photos_and_album_in_a_bucket(run, learned, photos, store):
    out = store / "out"
    result = run("album", learned, photos, "-o", out)
    assert result.exit_code == 0, result.output
    assert "3 photos done; " in result.stderr
    assert f"all of it in {out}/" in result.stderr
    result = run("album", learned, f"{photos}/*.jpg", "-o", f"{out}/", "--json")
    assert json.loads(result.stdout)["done_before"] == 3
    assert json.loads(result.stdout)["output"] == str(out)
    result = run("album", "find", learned, out, "--json")
    assert {one["image"] for one in json.loads(result.stdout)["ranked"]} == {str(each) for each in photos.files()}
    result = run("album", "export", out, "--format", "csv", "--format", "yolo")
    assert f"{out}/results.csv, {out}/yolo" in result.stderr.replace("\n", "")
    assert len((out / "yolo" / "images").files()) == 3


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_segment_takes_photos_from_elsewhere(run, learned, photos, tmp_path):
    result = run("segment", learned, photos, "-o", "found", "--overlay", "--sheet", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert {line["image"] for line in told["results"]} == {str(each) for each in photos.files()}
    assert (tmp_path / "found" / "sheet.html").exists()
    assert json.loads(run("segment", learned, photos, "-o", "found", "--json").stdout)["done_before"] == 3


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_sentences(refused, learned, photos, store):
    assert "is not on this disk" in refused("segment", learned, photos, "-o", "memory://b/found", code=2)
    assert f"{store}/none is no album" in refused("album", "find", learned, f"{store}/none", code=2)
    assert "There are no pictures in the folder" in refused("album", learned, store, "-o", "out", code=2)
    sentence = refused("album", learned, "s3://AKIAME:verysecret@bucket/photos", "-o", "out", code=2)
    assert "secret@" not in sentence
    assert not Path("out").exists()


def test_no_credentials_and_no_bucket(run, refused, learned, s3_variables, monkeypatch):
    result = run("album", learned, "s3://no-such-bucket/photos", "-o", "out")
    assert result.exit_code == 1
    assert "There is no file at s3://no-such-bucket/photos; check its bucket and path." in result.stderr
    assert "there is no s3://no-such-bucket; make it first" in refused(
        "album", learned, "none.jpg", "-o", "s3://no-such-bucket/out", code=1
    )
    forget_stores()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    try:
        sentence = refused("album", learned, "s3://bucket/photos", "-o", "s3://bucket/out", code=1)
    finally:
        forget_stores()
    assert "no credentials for s3://bucket" in sentence


@pytest.mark.slow
def test_killed_and_gone_on_with_from_another_computer(run, learned, bucket, s3_variables, tmp_path, monkeypatch):
    """In a process of its own, for it is killed with -9; most of its seconds it loads."""
    put(bucket / "photos", 15)
    out = bucket / "out"
    command = [sys.executable, "-c", AT_ONCE, "album", str(learned), str(bucket / "photos"), "-o", str(out)]
    with subprocess.Popen(command, env={**os.environ, **s3_variables}, stderr=subprocess.DEVNULL) as process:
        ends = time.monotonic() + 120
        while len((out / "masks" / "my disc").files()) < 4 and time.monotonic() < ends and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (out / ".persam" / "writer.json").fresh()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    result = run("album", learned, bucket / "photos", "-o", out, "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 0, result.output
    assert told["done_before"] >= 3
    assert told["done_before"] + told["done_now"] == 15
    assert not (out / ".persam" / "writer.json").fresh()
    run("album", learned, bucket / "photos", "-o", bucket / "whole")
    masks = [contents(each / "masks") for each in (out, bucket / "whole")]
    assert masks[0] == masks[1]
    assert len(masks[0]) == 15
    rows = [sorted((each / "results.jsonl").read_bytes().splitlines()) for each in (out, bucket / "whole")]
    assert rows[0] == rows[1]
