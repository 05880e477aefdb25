"""What is sent for a job, taken into the job's folder: photos, a zip of photos, or a clip.

A clip is a container of pictures by its content: FFmpeg would also follow a playlist or a script, to files of this
machine and to others.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from persam.errors import PersamError
from persam.server.jobs.unpack import ZIP_STARTS, DistinctNames, Intake, check_count, unpack
from persam.server.refusals import Refused, TooLargeError, WrongKindError
from persam.server.settings import Limits

if TYPE_CHECKING:
    from persam.server.uploads import Upload, UploadFolder

# FFmpeg's readers of containers, by how those begin; MPEG's transport streams have a byte every 188.
_READERS = {
    b"\x1a\x45\xdf\xa3": "matroska",  # and WebM
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"OggS": "ogg",
    b"FLV\x01": "flv",
    b"\x00\x00\x01\xba": "mpeg",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",  # WMV
}
_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")  # MP4 and QuickTime, from the fourth byte on
_TS_PACKET, _TS_START = 188, b"\x47"


def take_photos(uploads: Sequence[Upload], folder: Path, room: UploadFolder, limits: Limits) -> Intake:
    """Take photos, or those of one zip, into a folder, which is made.

    Whether a photo can be read is seen when it is its turn, so that one bad photo does not cost the others; but one at
    least must be a picture.

    Args:
        uploads: that came with the request.
        folder: where they go.
        room: counts what is written.
        limits: of the service.

    Raises:
        Refused: there is nothing to take, too much of it, a zip that leads out of the folder or is damaged, or a zip
            beside other files.
        PersamError: it cannot be written.
    """
    if not uploads:
        raise Refused("No photo was sent; send photos, or one zip of photos, in the field file.")
    zips = [each for each in uploads if each.head.startswith(ZIP_STARTS)]
    if zips and len(uploads) > 1:
        raise Refused(f"{zips[0].name} is a zip among {len(uploads)} files; send one zip alone, or photos.")
    if zips:
        intake = unpack(zips[0], folder, room, limits)
    else:
        _check_photos(uploads, limits)
        names = DistinctNames()
        for each in uploads:
            each.move_to(folder / names.of(each.name))
        intake = Intake(len(uploads), sum(each.size for each in uploads))
    return intake


def _check_photos(uploads: Sequence[Upload], limits: Limits) -> None:
    """See that they are not too many and none is too large, and that one at least is a picture by its first bytes."""
    check_count(len(uploads), limits)
    for each in uploads:
        if each.size > limits.photo_bytes:
            raise TooLargeError(
                f"{each.name} has {each.size / 1e6:,.1f} MB, and a photo has at most "
                f"{limits.photo_bytes / 1e6:,.0f}; send a smaller one."
            )
    problems = []
    for each in uploads:
        try:
            _ = each.pixels
        except PersamError as error:
            problems.append(error)
        else:
            return
    raise problems[0]


def take_clip(uploads: Sequence[Upload], folder: Path) -> Intake:
    """Take a clip into a folder, which is made.

    Raises:
        Refused: there is none, more than one, or it is no video.
        PersamError: it cannot be written.
    """
    if len(uploads) != 1:
        raise Refused(f"A video job takes one clip, not {len(uploads)} files; send one in the field file.")
    clip = uploads[0]
    reader_of(clip.path, clip.name)
    clip.move_to(folder / clip.name)
    return Intake(1, clip.size)


def reader_of(clip: Path, name: str) -> str:
    """Which of FFmpeg's readers a file is for, by its content; FFmpeg's own choice may be a playlist's.

    Args:
        clip: the file.
        name: what it is called in a sentence.

    Raises:
        WrongKindError: it is no container of pictures that is taken here.
    """
    with clip.open("rb") as stream:
        head = stream.read(3 * _TS_PACKET)
    found = next((reader for start, reader in _READERS.items() if head.startswith(start)), None)
    if head[4:8] in _ATOMS:
        found = "mov"
    elif head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        found = "avi"
    elif head[::_TS_PACKET] == _TS_START * 3:
        found = "mpegts"
    if found is None:
        raise WrongKindError(f"The file {name} is no video that is taken here; send an MP4, MOV, WebM, MKV or GIF.")
    return found


def to_disk(folder: Path) -> None:
    """Wait until all of a folder outlives a loss of power.

    Raises:
        PersamError: the disk says that it does not.
    """
    try:
        for place, _, files in os.walk(folder):
            for name in files:
                with open(os.path.join(place, name), "rb") as stream:  # noqa: PTH118, PTH123 (of thousands)
                    os.fsync(stream.fileno())
            sync_folder(Path(place))
    except OSError as error:
        raise PersamError("What was sent could not be stored; the service's log says why.") from error


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder outlive a loss of power, where the system can say so."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
