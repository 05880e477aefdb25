"""An album's results in the forms that other tools read.

A format is a module with a function that gets the lines and a folder, goes through the lines as often as it needs
without ever holding all of them, and says what it wrote.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from persam.album.formats.lines import Line, ResultLines, Written
from persam.errors import UsageError
from persam.ledger import Ledger

__all__ = ["FORMATS", "OutputFormat", "Written", "check_formats", "write_formats"]


@dataclass(frozen=True)
class OutputFormat:
    """A form in which results can be written.

    Attributes:
        place: The file or folder that it becomes.
        about: What that is, in a line.
        module: Where its function is, loaded when it is wanted.
        function: Its name.
    """

    place: str
    about: str
    module: str
    function: str = "write"

    def load(self) -> Callable[..., Written]:
        """The function that writes it."""
        return getattr(import_module(f"{__name__}.{self.module}"), self.function)


#: All formats by name.
FORMATS = {
    "coco": OutputFormat("coco.json", "COCO, masks as RLE", "coco"),
    "yolo": OutputFormat("yolo", "a data set for ultralytics, polygons", "yolo"),
    "labelme": OutputFormat("labelme", "a JSON a photo, polygons", "labelme"),
    "cvat": OutputFormat("cvat.xml", "CVAT for images 1.1, masks", "cvat"),
    "csv": OutputFormat("results.csv", "a row a photo and concept", "tables", "write_csv"),
    "parquet": OutputFormat("results.parquet", "the same with masks, for data frames", "tables", "write_parquet"),
    "colmap": OutputFormat("colmap", "masks for COLMAP and nerfstudio", "colmap"),
    "sheet": OutputFormat("sheet.html", "a page of all finds, to sort and filter", "sheet"),
    "blur": OutputFormat("blurred", "the photos with the things made unrecognisable", "hidden", "write_blurred"),
    "blank": OutputFormat("blanked", "the photos with the things painted over", "hidden", "write_blanked"),
}


def check_formats(names: Iterable[str]) -> None:
    """See before long work that these formats can be written.

    Raises:
        UsageError: There is no such format.
        PersamError: One needs a library that is not installed.
    """
    for name in names:
        if name not in FORMATS:
            near = difflib.get_close_matches(name, FORMATS, n=1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise UsageError(f"There is no format {name!r}{meant}; choose from {', '.join(FORMATS)}.")
        if name == "parquet":
            from persam.album.formats.tables import parquet_libraries

            parquet_libraries()


def write_formats(
    names: Sequence[str],
    lines_factory: Callable[[], Iterable[Line]],
    folder: str | Path,
    *,
    copy: bool = False,
    ledger: Ledger | None = None,
    on_format: Callable[[str], object] = lambda name: None,
) -> Written:
    """Write results in other forms.

    Args:
        names: Of `FORMATS`; each is written once.
        lines_factory: Gives the lines from the start, those of one photo together; it is called several times.
        folder: Where to write; made if it is missing.
        copy: Copy photos where a format lays links to them.
        ledger: Of the folder. With it, files of an earlier run that are not written now are removed, such as those of a
            photo that left the album. While a photo fails, all stay: a disk may just not be there.
        on_format: Called with a format's name before it is begun.

    Returns:
        What was written, and the photos that could not be: the others are there.

    Raises:
        UsageError: There is no such format, the lines of a photo do not come together, or a file of others is in the
            way; see `persam.ledger`.
        PersamError: A library is missing, or the folder cannot be written.
    """
    chosen = dict.fromkeys(names)
    check_formats(chosen)
    lines, written, place = ResultLines(lines_factory), Written(), Path(folder).expanduser()
    if ledger is not None:
        ledger.sweep(FORMATS[name].place for name in chosen)
    for name in chosen:
        on_format(name)
        write = FORMATS[name].load()
        if name == "yolo":
            write = partial(write, copy=copy)
        one = write(lines, place)
        if ledger is not None and not one.failures:
            ledger.remove(set(_files_in(place, FORMATS[name])) - set(one.files))
        written.files += one.files
        written.failures += one.failures
    return written


def _files_in(folder: Path, form: OutputFormat) -> Iterator[str]:
    """All files of a format, whoever wrote them, from the folder on."""
    for path in (folder / form.place).rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path.relative_to(folder).as_posix()
