"""Albums that are filled in one go, or killed again and again and gone on with: in the end they hold the same."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from persam.ledger import HIDDEN

_PERSAM = [sys.executable, "-m", "persam"]


@dataclass(frozen=True)
class AlbumCall:
    """A call of `persam album`, without its folder.

    Attributes:
        concepts, photos: what it is about; photos is a folder.
        options: how it is filled, such as ``("--overlay",)``; another engine is one of them.
    """

    concepts: Sequence[Path]
    photos: Path
    options: Sequence[str] = field(default=())

    def start(self, out: Path) -> subprocess.Popen[str]:
        """Begin to fill the album `out`."""
        arguments = [*_PERSAM, "album", *map(str, self.concepts), str(self.photos), *self.options, "-o", str(out)]
        return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def fill(self, out: Path) -> str:
        """Fill the album `out` to its end; what was said, on stderr."""
        process = self.start(out)
        _, said = process.communicate()
        assert process.returncode == 0, said
        return said

    def fill_killed(self, out: Path, kills: int = 10, seed: int = 0) -> int:
        """Fill the album `out`, killed (-9) at so many random moments and gone on with each time, and then to its end.

        Returns:
            How many of the kills came while there were photos left to do.
        """
        chance = random.Random(seed)
        photos = len(list(self.photos.iterdir()))
        a_share = 2 * photos // (kills + 1)  # of the photos between two kills, at most: some are left for the last
        amid = killed = 0
        while killed < kills:
            process = self.start(out)
            wanted = min(photos_done(out) + chance.randint(0, a_share), photos - 1)
            while process.poll() is None and photos_done(out) < wanted:
                time.sleep(0.01)
            time.sleep(chance.random() * 0.3)
            if process.poll() is None:
                process.kill()
                killed += 1
                amid += photos_done(out) < photos
            process.communicate()
        self.fill(out)
        return amid


def content(out: Path) -> dict[str, Any]:
    """All that an album holds: its files, byte by byte, and what its index knows, but for the times of files."""
    files = {
        str(file.relative_to(out)): file.read_bytes()
        for file in sorted(out.rglob("*"))
        if file.is_file() and HIDDEN not in file.relative_to(out).parts
    }
    index = sqlite3.connect(f"file:{out / HIDDEN / 'index.sqlite'}?mode=ro", uri=True)
    try:
        queries = {
            "finds": "SELECT content, made, find FROM finds ORDER BY content, made",
            "lines": "SELECT image, concept, line FROM lines ORDER BY image, concept",
            "concepts": "SELECT name, made FROM concepts ORDER BY name",
            "contents": "SELECT path, size, content FROM files ORDER BY path",
        }
        known = {f"index: {name}": index.execute(query).fetchall() for name, query in queries.items()}
    finally:
        index.close()
    return files | known


def photos_done(out: Path) -> int:
    """Photos that have masks, of the concept that has most."""
    return max((len(list(folder.glob("*.png"))) for folder in out.glob("masks/*")), default=0)
