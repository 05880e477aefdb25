"""A page of all that was found, to be sorted and filtered: thousands of small pictures, loaded as one scrolls."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from urllib.parse import quote

from persam.album.formats.lines import Line, ResultLines, Written
from persam.drawing import colours_of
from persam.errors import PersamError, printable
from persam.files import write_bytes
from persam.geometry import shrink
from persam.places import StoreError
from persam.reports.contact_sheet import thumbnail
from persam.reports.page import write_page
from persam.reports.pictures import encoded

PAGE, PICTURES = "sheet.html", "sheet"
LONGEST = 320  # pixels of a picture's longest side


@dataclass(frozen=True, order=True)
class _Card:
    """What the page says of a line; the likeliest come first."""

    rank: float
    image: str
    concept: str
    score: float
    verdict: str
    address: str
    width: int
    height: int


def write(lines: ResultLines, folder: Path) -> Written:
    """Write ``sheet.html`` and its pictures, ``sheet/CONCEPT/PHOTO.jpg``.

    A picture that is newer than the mask that it shows is not made again.
    """
    written, cards, colours = Written(), [], colours_of(line["concept"] for line in lines)
    for line in lines:
        mask = Path(line["files"]["mask"])
        file = Path(PICTURES, *mask.parts[1:]).with_suffix(".jpg")
        try:
            if not _is_newer(folder / file, folder / mask):
                picture = shrink(thumbnail(line, folder, colours[line["concept"]]), LONGEST)
                write_bytes(folder / file, encoded(picture, "JPEG", quality=85))
            written.files.append(file.as_posix())
        except StoreError:
            raise
        except PersamError as error:
            written.failures.append((line["image"], str(error)))
        cards.append(_card(line, file))
    cards.sort()
    concepts = sorted({card.concept for card in cards})
    write_page(folder / PAGE, "album/formats/sheet.html.j2", title=", ".join(concepts), cards=cards, concepts=concepts)
    written.files.append(PAGE)
    return written


def _card(line: Line, file: Path) -> _Card:
    larger = max(line["width"], line["height"], 1) / LONGEST
    return _Card(
        -line["score"],
        printable(PurePath(line["image"]).name),
        printable(line["concept"]),
        line["score"],
        line["verdict"],
        quote(file.as_posix().encode("utf-8", "surrogateescape")),
        max(1, round(line["width"] / larger)),
        max(1, round(line["height"] / larger)),
    )


def _is_newer(file: Path, than: Path) -> bool:
    try:
        return file.stat().st_mtime_ns > than.stat().st_mtime_ns
    except OSError:
        return False
