"""A folder of results: masks, overlays and cut-outs under names that never collide, and ``results.jsonl``."""

from __future__ import annotations

import json
import unicodedata
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np

from persam.errors import write_error
from persam.files import expanded, safe_name, write_bytes, write_text
from persam.reports.pictures import encoded
from persam.segmentation import Segmentation

RESULTS = "results.jsonl"


def write_mask(path: str | Path, mask: np.ndarray) -> None:
    """Write an (H, W) bool mask as a one-channel PNG of 0 and 255."""
    write_image(path, mask.astype(np.uint8) * 255)


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write (H, W), (H, W, 3) RGB or (H, W, 4) RGBA uint8 in the format of the suffix: PNG, JPEG or WebP."""
    kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}.get(Path(path).suffix.lower(), "PNG")
    options = {"quality": 90} if kind in ("JPEG", "WEBP") else {"compress_level": 4}
    write_bytes(path, encoded(image, kind, **options))


class OutputFolder:
    """Where the results of a run go.

    Files are named ``masks/CONCEPT/PHOTO.png``, ``overlays/CONCEPT/PHOTO.jpg``, ``cutouts/CONCEPT/PHOTO.png``. Photos
    of equal names in different folders get the folder's name in front, or a number. ``results.jsonl`` has one line per
    photo and concept; a photo that comes again, in this run or a later one, keeps its names and replaces its line.
    Files of others are never touched.

    Args:
        folder: Made if it is missing.

    Raises:
        PersamError: The folder cannot be made or written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = expanded(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(self.folder, error) from error
        self._lines = self._earlier_lines()
        self._names: dict[str, str] = {}  # photo -> name
        self._taken: set[str] = set()  # names in the form in which file systems compare them
        for line in self._lines.values():
            if isinstance(line.get("name"), str):
                self._names[line["image"]] = line["name"]
                self._taken.add(_compared(line["name"]))

    @property
    def results_path(self) -> Path:
        """The file of one line per photo and concept."""
        return self.folder / RESULTS

    def name_of(self, image: str | Path) -> str:
        """Return the name for a photo's outputs: its stem if that is free, else with its folder or a number."""
        key = str(image)
        if key not in self._names:
            path = Path(image)
            stem = safe_name(path.stem, otherwise="photo")
            parent = safe_name(path.absolute().parent.name, otherwise="folder")
            choices = [stem, safe_name(f"{stem}_{path.suffix[1:]}"), safe_name(f"{parent}_{stem}")]
            numbered = (f"{parent}_{stem}_{number}" for number in count(2))
            name = next(each for each in chain(choices, numbered) if _compared(each) not in self._taken)
            self._names[key] = name
            self._taken.add(_compared(name))
        return self._names[key]

    def write(
        self,
        found: Segmentation,
        image: np.ndarray | None = None,
        *,
        overlay: bool = False,
        cutout: bool = False,
        explanation: np.ndarray | None = None,
    ) -> dict[str, Any]:
        """Write the files of one segmentation and its line in ``results.jsonl``.

        Args:
            found: Its ``image`` names the photo.
            image: (H, W, 3) uint8, needed for an overlay or a cut-out.
            overlay: Also write ``overlays/CONCEPT/PHOTO.jpg``.
            cutout: Also write ``cutouts/CONCEPT/PHOTO.png``, if anything was found.
            explanation: A picture of the way to the mask, (H, W, 3) uint8, for ``explain/CONCEPT/PHOTO.png``.

        Returns:
            The line that was written; the files in it are relative to the folder.
        """
        source = found.image or "image"
        name, concept = self.name_of(source), safe_name(found.concept)
        files = {"mask": f"masks/{concept}/{name}.png"}
        write_mask(self.folder / files["mask"], found.mask)
        if overlay and image is not None:
            files["overlay"] = f"overlays/{concept}/{name}.jpg"
            write_image(self.folder / files["overlay"], found.overlay(image))
        if cutout and image is not None and found.found:
            files["cutout"] = f"cutouts/{concept}/{name}.png"
            write_image(self.folder / files["cutout"], found.cutout(image))
        if explanation is not None:
            files["explain"] = f"explain/{concept}/{name}.png"
            write_image(self.folder / files["explain"], explanation)
        line = found.to_dict(rle=False) | {"image": source, "name": name, "files": files}
        self._append(line)
        return line

    def close(self) -> None:
        """Leave one line per photo and concept in ``results.jsonl``: the last that was written."""
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self._lines.values())
        write_text(self.results_path, text)

    def _append(self, line: dict[str, Any]) -> None:
        """Add the line at once, so that a run that is stopped keeps what it did."""
        self._lines[line["image"], line["concept"]] = line
        try:
            with self.results_path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as error:
            raise write_error(self.results_path, error) from error

    def _earlier_lines(self) -> dict[tuple[str, str], dict[str, Any]]:
        lines: dict[tuple[str, str], dict[str, Any]] = {}
        try:
            text = self.results_path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return lines
        except OSError as error:
            raise write_error(self.results_path, error) from error
        for row in text.splitlines():
            try:
                line = json.loads(row)
                lines[str(line["image"]), str(line["concept"])] = line
            except (ValueError, KeyError, TypeError):  # cut short when an earlier run was killed
                continue
        return lines


def _compared(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
