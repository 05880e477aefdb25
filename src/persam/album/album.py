"""An album: a folder of results that remembers every photo it has seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from persam.album.formats import Written, write_formats
from persam.album.index import AlbumIndex
from persam.album.run import AlbumReport, Ranked, fill_album, rank_photos
from persam.batch import Wanted
from persam.errors import UsageError
from persam.finding import find_images
from persam.outputs import INDEX, RESULTS, OutputFolder

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.persam import PerSAM


class Album:
    """A folder of results for thousands of photos. Use it in a ``with`` block, or `close` it.

    It has the files of `persam segment` (``masks/CONCEPT/PHOTO.png``, ``results.jsonl`` ...), ``unsure.csv`` with what
    one should look at, and an index of what is known. It is filled again when photos or concepts were added; what is
    known is not done again.

    Args:
        folder: made if it is missing.
        overwrite: replace files that are not persam's, and do all again.

    Raises:
        PersamError: the folder or its index cannot be read or written, or another command is writing there.
        UsageError: it holds the results of `persam segment`.
    """

    def __init__(self, folder: str | Path, *, overwrite: bool = False) -> None:
        self.overwrite = overwrite
        self.output = OutputFolder(folder, overwrite=overwrite, store=self._open)

    def _open(self, hidden: Path) -> AlbumIndex:
        results = hidden.parent / RESULTS
        if results.exists() and not (hidden / INDEX).exists() and not self.overwrite:
            raise UsageError(
                f"{hidden.parent} holds the results of something else ({RESULTS}); choose another --output, or replace "
                "them with --overwrite."
            )
        self.index = AlbumIndex(hidden / INDEX)
        return self.index

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others write."""
        self.index.close()
        self.output.close()

    def fill(
        self,
        model: PerSAM | Callable[[], PerSAM],
        concepts: Concept | Sequence[Concept],
        photos: str | Path | Iterable[str | Path],
        wanted: Wanted | None = None,
        *,
        cache: int = 0,
        on_photo: Callable[[Path, str | None], object] = lambda photo, problem: None,
    ) -> AlbumReport:
        """Find concepts in photos, and write what was found. Again: only what is new or has changed.

        Args:
            model: that the concepts were made with; or a function that loads it, called only if it is needed.
            concepts: one or several, of different names; they join those that the album has.
            photos: files, folders and globs.
            wanted: how to look, and which pictures to write; by default masks alone, one object, threshold 0.5.
            cache: bytes of encoded photos to keep, so that a further concept costs the decoder alone.
            on_photo: called after each photo with what went wrong, or None.

        Raises:
            PersamError: the output cannot be written, or a concept was made with another model.
            UsageError: there are no photos, two concepts have one name, or a file of somebody else is in the way.
        """
        every = list(concepts) if isinstance(concepts, Sequence) else [concepts]
        if len({each.name for each in every}) < len(every):
            raise UsageError("Two of these concepts have the same name; learn one again with another name.")
        files = find_images([photos] if isinstance(photos, str | Path) else photos)
        return fill_album(
            _loader(model), every, files, self.output, self.index, wanted or Wanted(), cache=cache, on_photo=on_photo
        )

    def find(
        self,
        model: PerSAM | Callable[[], PerSAM],
        concept: Concept,
        wanted: Wanted | None = None,
        *,
        cache: int = 0,
        on_photo: Callable[[Path, str | None], object] = lambda photo, problem: None,
    ) -> list[Ranked]:
        """Rank the album's photos by the chance that a concept is in them, the likeliest first.

        Nothing is written. The concept may be new; what is found is remembered for the day when it joins the album.

        Args:
            model: that the concept was made with; or a function that loads it, called only if it is needed.
            concept: what is looked for.
            wanted: how to look.
            cache: bytes of encoded photos to keep; with those that `fill` kept, only the decoder has to work.
            on_photo: called after each photo with what went wrong, or None.

        Raises:
            PersamError: the concept was made with another model.
        """
        return rank_photos(
            _loader(model), concept, self.output, self.index, wanted or Wanted(), cache=cache, on_photo=on_photo
        )

    def export(
        self, names: Sequence[str], *, copy: bool = False, on_format: Callable[[str], object] = lambda name: None
    ) -> Written:
        """Write what was found in the forms that other tools read, see `persam.album.formats`.

        Args:
            names: of `persam.album.formats.FORMATS`, such as ``["coco", "yolo"]``.
            copy: copy photos where a format lays links to them.
            on_format: called with a format's name before it is begun.

        Raises:
            UsageError: there is no such format, or a file of somebody else is in the way.
            PersamError: a format needs a library that is not installed, or cannot be written.
        """
        return write_formats(
            names, self.lines, self.output.folder, copy=copy, ledger=self.output.ledger, on_format=on_format
        )

    def lines(self) -> Iterator[dict[str, Any]]:
        """What was found, as in ``results.jsonl``: a dictionary for each photo and concept, sorted by photo."""
        return self.index.lines()


def _loader(model: PerSAM | Callable[[], PerSAM]) -> Callable[[], PerSAM]:
    from persam.persam import PerSAM

    return (lambda: model) if isinstance(model, PerSAM) else model
