"""Files made to harm whoever opens them: bombs, stumps, chimeras and lies about their size; all of them small."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image

KINDS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
CONCEPT_FILES = (
    "pickle", "nothing", "a picture", "a head of 8 exabytes", "a head that is not there", "a tensor of exabytes",
    "deep JSON", "another model", "no concept", "half of one", "NaN",
)  # fmt: skip
_SIDE = 65_535


def photo(kind: str = "PNG", width: int = 64, height: int = 48, seed: int = 0) -> bytes:
    """A good one."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def mask(width: int = 64, height: int = 48) -> bytes:
    """A mask with an object in the middle."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[height // 4 : height // 2, width // 4 : width // 2] = 255
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def truncated() -> dict[str, bytes]:
    """Half a file of every format."""
    return {kind: photo(kind)[: len(photo(kind)) // 2] for kind in KINDS}


def _png(width: int, height: int, pixels: bytes, depth: int = 8, colour: int = 0) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def png_bomb() -> bytes:
    """An honest PNG of 400 million black points, of which all are there: 49 kB that become 400 MB or more."""
    side = 20_000
    row = bytes(1 + side // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row * 1000) for _ in range(side // 1000)) + packer.flush()
    return _png(side, side, data, depth=1)


def png_text_bomb() -> bytes:
    """A small PNG with a comment that unpacks to 64 MB."""
    good = photo("PNG")
    data = b"Comment\0\0" + zlib.compress(bytes(64_000_000), 9)
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    return good[:33] + chunk + good[33:]


def claims() -> dict[str, bytes]:
    """Files whose heads claim pictures of gigabytes, with next to nothing behind."""
    tags = [(256, 4, _SIDE), (257, 4, _SIDE), (258, 3, 8), (259, 3, 8), (262, 3, 1), (273, 4, 122), (277, 3, 1)]
    tags += [(278, 4, _SIDE), (279, 4, 20)]
    tiff = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(struct.pack("<HHII", t, k, 1, v) for t, k, v in tags)
    bmp_size = struct.pack("<IiiHHIIiiII", 40, _SIDE, _SIDE, 1, 24, 0, 0, 2835, 2835, 0, 0)
    bits = (16_383 | 16_383 << 14).to_bytes(4, "little")
    vp8l = b"VP8L" + struct.pack("<I", 5) + b"\x2f" + bits + b"\0"
    jpeg = photo("JPEG")
    frame = jpeg.index(b"\xff\xc0")
    return {
        "PNG": _png(_SIDE, _SIDE, zlib.compress(bytes(1000))),
        "PNG of 2^31": _png(2**31 - 1, 2**31 - 1, zlib.compress(bytes(1000))),
        "TIFF": tiff + bytes(4) + zlib.compress(bytes(1000)),
        "BMP": b"BM" + struct.pack("<IHHI", 2**32 - 1, 0, 0, 54) + bmp_size + bytes(100),
        "WebP": b"RIFF" + struct.pack("<I", len(vp8l) + 4) + b"WEBP" + vp8l,
        "GIF": b"GIF89a" + struct.pack("<HHBBB", _SIDE, _SIDE, 0x80, 0, 0) + bytes(6) + b"\x21\xf9\x04\0\0\0\0\0"
        b"\x2c" + struct.pack("<HHHHB", 0, 0, _SIDE, _SIDE, 0) + b"\x02\x02\x44\x01\0;",
        "JPEG": jpeg[: frame + 5] + struct.pack(">HH", _SIDE, _SIDE) + jpeg[frame + 9 :],
    }


def endless_gif(frames: int = 10_000) -> bytes:
    """A GIF of a large canvas with very many frames of one point."""
    head = b"GIF89a" + struct.pack("<HHBBB", 30_000, 30_000, 0x80, 0, 0) + bytes(6)
    frame = b"\x21\xf9\x04\x08\0\0\0\0\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return head + frame * frames + b";"


def zip_of(*entries: tuple[str, bytes]) -> bytes:
    """A zip with these entries, whatever their names."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in entries:
            packed.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def zip_bomb(size: int = 100_000_000) -> bytes:
    """A zip with one "photo" of zeros, a thousand times as large as the zip."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("bomb.jpg", "w") as entry:
        zeros = bytes(1_000_000)
        for _ in range(size // len(zeros)):
            entry.write(zeros)
    return stream.getvalue()


def lying_zip() -> bytes:
    """The same, but its directory says that the entry has 100 bytes."""
    bomb = bytearray(zip_bomb(5_000_000))
    directory = bomb.rindex(b"PK\x01\x02")
    bomb[directory + 24 : directory + 28] = struct.pack("<I", 100)
    return bytes(bomb)


def linked_zip(target: str = "/etc/passwd") -> bytes:
    """A zip with a symbolic link."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        link = zipfile.ZipInfo("photo.jpg")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        packed.writestr(link, target)
    return stream.getvalue()


def chimeras() -> dict[str, bytes]:
    """Two kinds of file in one; none of them is a picture."""
    html = b"<html><script>alert(1)</script></html>"
    return {
        "PDF with a PNG in it": b"%PDF-1.7\n" + photo("PNG"),
        "HTML before a PNG": html + photo("PNG"),
        "HTML": html,
        "SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9"><script>1</script></svg>',
        "SVG that reads files": b'<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
        "billion laughs": b'<!DOCTYPE s [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;">]><svg>&b;&b;&b;</svg>',
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        "text": b"Wald und Wiese\n",
        "zeros": bytes(1000),
        "a program": b"\x7fELF" + bytes(200),
        "a playlist": b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10.0,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "a list to join": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    }


def pictures_with_tails() -> dict[str, bytes]:
    """Good pictures with something else behind: pictures all the same, of which nothing else may ever come back."""
    return {
        "PNG with HTML": photo("PNG") + b"<html><script>alert(1)</script></html>",
        "JPEG with a zip": photo("JPEG") + zip_of(("a.txt", b"a")),
    }


class _Harm:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("harm",))


def concept_files(good: bytes) -> dict[str, bytes]:
    """Files that are no concept of the model that runs, made from one that is."""

    def with_head(head: bytes, tensors: bytes = b"", length: int | None = None) -> bytes:
        return struct.pack("<Q", len(head) if length is None else length) + head + tensors

    size = struct.unpack("<Q", good[:8])[0]
    head, tensors = good[8 : 8 + size], good[8 + size :]
    words = json.loads(head)
    meta = json.loads(words["__metadata__"]["persam"])
    meta["model"]["fingerprint"] = "0" * 12
    foreign = json.dumps(words | {"__metadata__": words["__metadata__"] | {"persam": json.dumps(meta)}}).encode()
    huge = {"x": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 2**62]}}
    return {
        "pickle": pickle.dumps(_Harm()),
        "nothing": b"",
        "a picture": photo(),
        "a head of 8 exabytes": struct.pack("<Q", 2**63) + b"{}",
        "a head that is not there": with_head(b"", length=1_000_000),
        "a tensor of exabytes": with_head(json.dumps(huge).encode()),
        "deep JSON": with_head(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        "another model": with_head(foreign, tensors),
        "no concept": with_head(b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
        "half of one": good[: len(good) // 2],
        "NaN": good[: 8 + size] + b"\xff" * len(tensors),
    }
