"""An album: a folder of results that remembers every photo it has seen."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from persam.album.batch import Wanted
from persam.album.fix import Fixed, corrections_in, fix_album
from persam.album.formats import Written, write_formats
from persam.album.index import AlbumIndex
from persam.album.looking import LookingEngine, ThreadsHere
from persam.album.mirror import Mirror
from persam.album.outputs import INDEX, RESULTS, OutputFolder
from persam.album.run import AlbumReport, OnPhoto, Ranked, fill_album, rank_photos
from persam.album.worth import MOST_LISTED, Worth, best_first, worth_of
from persam.concept import Concept
from persam.errors import UsageError
from persam.files import Held
from persam.finding import find_images
from persam.masks import MaskSource
from persam.places import Place, RemotePath, place_of
from persam.segmentation import SURE_ENOUGH, check_search

if TYPE_CHECKING:
    from persam.persam import PerSAM


class Album(Held):
    """A folder of results for thousands of photos. Use it in a ``with`` block, or `close` it.

    It has the files of `persam segment` (``masks/CONCEPT/PHOTO.png``, ``results.jsonl`` ...), ``unsure.csv`` with what
    one should look at, ``correct.csv`` with what is most worth correcting, and an index of what is known. It is filled
    again when photos or concepts were added; what is known is not done again.

    Args:
        folder: made if it is missing. A URL, such as ``s3://bucket/album``, is worked on in persam's cache folder and
            put there now and then, and when it is closed; see `persam.album.mirror`.
        overwrite: replace files that are not persam's, and do all again.

    Raises:
        PersamError: the folder or its index cannot be read or written, or another command is writing there.
        UsageError: it holds the results of `persam segment`.
    """

    def __init__(self, folder: str | Place, *, overwrite: bool = False) -> None:
        self.overwrite = overwrite
        place = place_of(folder)
        self._mirror = Mirror(place) if isinstance(place, RemotePath) else None
        try:
            with self.named():
                home = self._mirror.folder if self._mirror is not None else folder
                self.output = OutputFolder(str(home), overwrite=overwrite, store=self._open)
        except BaseException:
            if self._mirror is not None:
                self._mirror.release()
            raise

    def _open(self, hidden: Path) -> AlbumIndex:
        results = hidden.parent / RESULTS
        if not self.overwrite and not (hidden / INDEX).exists() and not _is_of_album(results):
            raise UsageError(
                f"{hidden.parent} holds the results of something else ({RESULTS}); choose another --output, or replace "
                "them with --overwrite."
            )
        self.index = AlbumIndex(hidden / INDEX)
        return self.index

    def close(self) -> None:
        """Let others write."""
        with self.named(), contextlib.ExitStack() as last_first:
            if self._mirror is not None:
                last_first.callback(self._mirror.close)
            last_first.callback(self.output.close)
            last_first.callback(self.index.close)

    def named(self) -> contextlib.AbstractContextManager[None]:
        """Within it, sentences name the album's place, not the folder on this disk that stands for it."""
        return contextlib.nullcontext() if self._mirror is None else self._mirror.named()

    def _and_keep(self, on_photo: OnPhoto) -> OnPhoto:
        """After a photo, also put what was done to where the album is, if that is elsewhere and it is time to."""
        mirror = self._mirror
        if mirror is None:
            return on_photo

        def told_and_kept(photo: Place, problem: str | None) -> None:
            on_photo(photo, problem)
            mirror.push_if_due()

        return told_and_kept

    def fill(
        self,
        model: PerSAM | Callable[[], PerSAM],
        concepts: Concept | Iterable[Concept],
        photos: str | Place | Iterable[str | Place],
        *,
        overlay: bool = False,
        cutout: bool = False,
        per_instance: bool = False,
        max_instances: int = 1,
        threshold: float = SURE_ENOUGH,
        cache: int = 0,
        dtypes: Sequence[str] | None = None,
        finder: str | None = None,
        engine: LookingEngine | None = None,
        on_photo: OnPhoto = lambda photo, problem: None,
    ) -> AlbumReport:
        """Find concepts in photos, and write what was found. Again: only what is new or has changed.

        Args:
            model: that the concepts were made with; or a function that loads it, called only if it is needed.
            concepts: one or several, of different names; they join those that the album has.
            photos: files, folders and globs, on this disk or by a URL.
            overlay: also write overlays.
            cutout: also write transparent cut-outs.
            per_instance: also write a mask for every object.
            max_instances: up to so many objects of a concept in a photo.
            threshold: score from which on it counts as present, 0..1.
            cache: bytes of encoded photos to keep, so that a further concept costs the decoder alone.
            dtypes: number formats of the encoders, see `persam.models.loading.dtypes_of`; by default the model's, and
                float32 where a function gives it.
            finder: name of what the model also finds words with, see `persam.with_finder`; by default the model's own,
                and none where a function gives it. What was found by another is looked for again.
            engine: where photos are looked at, such as a `persam.album.ray_engine.RayEngine`; by default here.
            on_photo: called after each photo with what went wrong, or None.

        Raises:
            PersamError: the output cannot be written, or a concept was made with another model.
            UsageError: there are no photos, two concepts have one name, a number is out of range, a file of somebody
                else is in the way, or encodings are to be kept while photos are looked at elsewhere.
            KeyboardInterrupt: it was stopped; what was done is kept, and the report is the exception's ``report``.
        """
        every = [concepts] if isinstance(concepts, Concept) else list(concepts)
        names = [each.name for each in every]
        if not every or len(set(names)) < len(names):
            raise UsageError("Give one concept or several, each of another name; learn one again with another name.")
        files = find_images([photos] if isinstance(photos, str | Path | RemotePath) else photos)
        check_search(max_instances, threshold)
        wanted = Wanted(
            overlay=overlay,
            cutout=cutout,
            per_instance=per_instance,
            max_instances=max_instances,
            threshold=threshold,
            finder=_finder_of(model, finder),
        )
        load, numbers = _loader(model, dtypes)
        after, elsewhere = self._and_keep(on_photo), _checked(engine, cache)
        with self.named():
            return fill_album(
                load,
                every,
                files,
                self.output,
                self.index,
                wanted,
                cache=cache,
                dtypes=numbers,
                engine=elsewhere,
                on_photo=after,
            )

    def find(
        self,
        model: PerSAM | Callable[[], PerSAM],
        concept: Concept,
        *,
        max_instances: int = 1,
        threshold: float = SURE_ENOUGH,
        cache: int = 0,
        dtypes: Sequence[str] | None = None,
        finder: str | None = None,
        engine: LookingEngine | None = None,
        on_photo: OnPhoto = lambda photo, problem: None,
    ) -> list[Ranked]:
        """Rank the album's photos by the chance that a concept is in them, the likeliest first.

        No results are written. The concept may be new; what is found is remembered in the album's index for the day
        when it joins the album, if it is then looked for in the same way; so an album elsewhere has to be one that may
        be written.

        Args:
            model: that the concept was made with; or a function that loads it, called only if it is needed.
            concept: what is looked for.
            max_instances: as of `fill`.
            threshold: as of `fill`; the ranking does not depend on it.
            cache: bytes of encoded photos to keep; with those that `fill` kept, only the decoder has to work.
            dtypes: as of `fill`.
            finder: as of `fill`.
            engine: as of `fill`.
            on_photo: called after each photo with what went wrong, or None.

        Raises:
            PersamError: the concept was made with another model.
            UsageError: a number is out of range.
        """
        check_search(max_instances, threshold)
        wanted = Wanted(max_instances=max_instances, threshold=threshold, finder=_finder_of(model, finder))
        load, numbers = _loader(model, dtypes)
        elsewhere = _checked(engine, cache)
        with self.named():
            return rank_photos(
                load,
                concept,
                self.output,
                self.index,
                wanted,
                cache=cache,
                dtypes=numbers,
                engine=elsewhere,
                on_photo=on_photo,
            )

    def fix(
        self,
        model: PerSAM,
        concept: Concept,
        corrections: Mapping[str, MaskSource] | None = None,
        *,
        max_instances: int = 1,
        threshold: float = SURE_ENOUGH,
        cache: int = 0,
        dtypes: Sequence[str] | None = None,
        finder: str | None = None,
        on_photo: OnPhoto = lambda photo, problem: None,
    ) -> Fixed:
        """Learn from masks that were corrected, and look again at the photos in which the concept is unsure.

        The corrected masks are the album's from then on. All other photos keep what was found; `fill` with the new
        concept looks at them again.

        Args:
            model: that the concept was made with.
            concept: of the album.
            corrections: photo and its right mask, one of nothing where the thing is not there; by default the masks in
                the album's folder that were changed since they were written.
            max_instances: as of `fill`.
            threshold: as of `fill`.
            cache: as of `fill`.
            dtypes: as of `fill`.
            finder: as of `fill`.
            on_photo: called after each photo with what went wrong, or None.

        Raises:
            PersamError: a photo or mask cannot be read, or the concept cannot be gone on from.
            UsageError: there is no correction, or the album has no such concept.
        """
        self._check_has(concept.name)
        check_search(max_instances, threshold)
        wanted = Wanted(max_instances=max_instances, threshold=threshold, finder=_finder_of(model, finder))
        masks = corrections_in(self.output, self.index, concept.name) if corrections is None else corrections
        _, numbers = _loader(model, dtypes)
        after = self._and_keep(on_photo)
        with self.named():
            return fix_album(
                model, concept, masks, self.output, self.index, wanted, cache=cache, dtypes=numbers, on_photo=after
            )

    def worth_correcting(self, concept: Concept | str | None = None, *, most: int = MOST_LISTED) -> list[Worth]:
        """The photos that are most worth correcting, the best first, see `persam.album.worth`.

        A photo that was corrected is left out, and so is one whose mask was changed and waits for `fix`.

        Args:
            concept: the one whose masks count, of which the references are left out, too; or its name; by default all
                of the album.
            most: so many at most.

        Raises:
            UsageError: the album has no such concept, or `most` is below 1.
        """
        known = [concept] if isinstance(concept, Concept) else []
        name = concept.name if isinstance(concept, Concept) else concept
        if name is not None:
            self._check_has(name)
        if most < 1:
            raise UsageError(f"most must be at least 1, not {most}.")
        every = (worth_of(line) for line in self.lines() if name in (None, line["concept"]))
        return best_first(filter(None, every), self.output, known, most)

    def export(
        self, names: Sequence[str], *, copy: bool = False, on_format: Callable[[str], object] = lambda name: None
    ) -> Written:
        """Write what was found in the forms that other tools read, see `persam.album.formats`.

        Args:
            names: of `persam.album.formats.FORMATS`, such as ``["coco", "yolo"]``.
            copy: copy photos where a format lays links to them; in an album elsewhere, where none can be, always.
            on_format: called with a format's name before it is begun.

        Raises:
            UsageError: there is no such format, or a file of somebody else is in the way.
            PersamError: a format needs a library that is not installed, or cannot be written.
        """
        copy, folder = copy or self._mirror is not None, self.output.folder
        with self.named():
            return write_formats(names, self.lines, folder, copy=copy, ledger=self.output.ledger, on_format=on_format)

    def lines(self) -> Iterator[dict[str, Any]]:
        """What was found, as in ``results.jsonl``: a dictionary for each photo and concept, sorted by photo."""
        return self.index.lines()

    def _check_has(self, concept: str) -> None:
        if concept not in self.index.concepts:
            raise UsageError(f'The album has no concept "{concept}"; fill it with it first.')


def _is_of_album(results: Path) -> bool:
    """Whether there is no ``results.jsonl``, or one that an album wrote whose index is lost."""
    try:
        with results.open("rb") as stream:
            return "content" in json.loads(stream.readline())["made"]
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _checked(engine: LookingEngine | None, cache: int) -> LookingEngine:
    if engine is not None and cache:
        raise UsageError("Encodings are kept by this process alone; leave out --cache, or the other engine.")
    return engine or ThreadsHere()


def _finder_of(model: PerSAM | Callable[[], PerSAM], name: str | None) -> str:
    """Name of what also looks for words, or ""."""
    own = getattr(model, "finder", None)
    return name if name is not None else "" if own is None else str(own.name)


def _loader(
    model: PerSAM | Callable[[], PerSAM], dtypes: Sequence[str] | None
) -> tuple[Callable[[], PerSAM], list[str]]:
    """What gives the model, and the number formats of its encoders."""
    from persam.persam import PerSAM

    if not isinstance(model, PerSAM):
        return model, list(dtypes or ["float32"])
    encoders = [each for each in (model.model, model.encoder) if each is not None]
    own = [str(getattr(each, "encoder_dtype", torch.float32)).removeprefix("torch.") for each in encoders]
    return (lambda: model), list(dtypes or own)
