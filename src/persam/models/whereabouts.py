"""Where models lie that are files or folders of people's own, by their fingerprints; this machine remembers it.

A concept says what such a model is called, and not in which folder it lies: concepts are given to others, whom that
does not concern, and who have the model elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from persam.errors import PersamError
from persam.files import cache_folder, write_bytes
from persam.models.encoder_name import EncoderName

if TYPE_CHECKING:
    from persam.models.fingerprint import Known

_FINGERPRINT = re.compile(r"[0-9a-f]{12}")  # of a concept that anybody made, and it becomes the name of a file


def called(name: str) -> str:
    """What a model is called: a local folder by its own name, without the folders around it; others as they are."""
    return Path(os.path.abspath(name)).name or name if Path(name).is_dir() else name  # noqa: PTH100 (. and .. go)


def encoder_called(name: str) -> str:
    """The same for an encoder, with its options."""
    asked = EncoderName.read(name)
    return str(replace(asked, base=called(asked.base)))


def remember(model: Known, name: str) -> None:
    """Note where a model lies that was loaded by this name, if it is a file or folder. Where one cannot, it is not."""
    if not Path(name).exists():
        return
    from persam.models.fingerprint import known_as

    place = os.fsencode(os.path.abspath(name))  # noqa: PTH100 (. and .. go)
    for fingerprint in known_as(model):
        note = _note(fingerprint)
        with contextlib.suppress(OSError, PersamError):
            if note is not None and not (note.is_file() and note.read_bytes() == place):
                write_bytes(note, place)


def remembered(name: str, fingerprint: str) -> str | None:
    """Where a model with this name and fingerprint lay when it was last used, if something is there."""
    note = _note(fingerprint)
    try:
        place = None if note is None else Path(os.fsdecode(note.read_bytes()))
        return str(place) if place is not None and _may_be(place, name) and place.exists() else None
    except (OSError, ValueError):
        return None


def _may_be(place: Path, name: str) -> bool:
    """A name of several parts is a hub id, or what was typed for a folder, by which older concepts know it."""
    parts = Path(name).parts
    return len(parts) <= 1 or place.parts[-len(parts) :] == parts


def _note(fingerprint: str) -> Path | None:
    return cache_folder() / "models" / f"{fingerprint}.path" if _FINGERPRINT.fullmatch(fingerprint) else None
