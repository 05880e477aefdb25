"""One photo of an album: what is in it, what was found there before, what is still to be looked for, what is written.

`look` runs in several threads, ahead of `settle`, which finds and writes, one photo after another. Between them a GPU
encodes those that are read in one pass.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from persam import __version__
from persam.album.batch import Wanted, could_not
from persam.album.cache import EncodingCache
from persam.album.disjoint import disjoint, rivals
from persam.album.index import AlbumIndex, IndexFileError, hash_of
from persam.album.looking import Finder, LookedAt
from persam.album.outputs import OutputFolder, full_path
from persam.errors import PersamError
from persam.images import open_picture, read_image, read_smaller
from persam.instance import PixelBox
from persam.journal import json_line
from persam.ledger import HIDDEN
from persam.models.base import EncodedImage
from persam.places import Place, RemotePath, StoreError, stamp_of
from persam.segmentation import Segmentation

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.persam import PerSAM

#: What became of a photo; `known`: done by its content alone; `kept`: a person corrected a mask, which stays.
Outcome = Literal["done", "known", "before", "kept"]


class Worker:
    """Does photos.

    Args:
        load: gives the model; called once, by `settle`, if something is to be looked for.
        concepts: what is looked for, by how it is made (see `run.how_made`).
        output: the album's folder.
        index: what is known.
        wanted: how to look, and what to write.
        cache: bytes of encodings to keep on disk.
    """

    def __init__(
        self,
        load: Callable[[], PerSAM],
        concepts: Mapping[str, Concept],
        output: OutputFolder,
        index: AlbumIndex,
        wanted: Wanted,
        cache: int = 0,
    ) -> None:
        self.load, self.concepts, self.wanted = load, concepts, wanted
        self._output, self._index = output, index
        self._bytes = cache
        self._made_of = {concept.name: made for made, concept in concepts.items()}
        self._again: set[tuple[str, str]] = set()  # what was found anew, where all is to be done again
        self._cache: EncodingCache | None = None
        self._finder: Finder | None = None  # set last: what reads ahead waits for it

    # ------------------------------------------------------------------------------- reading, in threads

    def look(self, photo: Place) -> LookedAt:
        """See what a photo is, and read it if something is to be looked for in it. Until the model is there, which says
        how large photos have to be, none is read."""
        try:
            return self._look(photo)
        except Exception as error:
            return LookedAt(photo, problem=problem_with(photo, error))

    def _look(self, photo: Place) -> LookedAt:
        data = cache(photo.read_whole) if isinstance(photo, RemotePath) else None
        try:
            content = self._index.content_of(photo, data)
        except OSError as error:  # reading it has a sentence for whatever it is
            read_image(photo)
            raise PersamError(f"{photo} cannot be read ({error.strerror}).") from error
        seen = LookedAt(photo, content, data=data)
        missing = self._missing(content)
        if not missing or self._finder is None or self._cache is None:
            return seen
        side = self._finder.sides[missing[0]]
        if _key(content, side) in self._cache:
            return seen
        pixels, size = self._read(seen, side)
        return replace(seen, pixels=pixels, size=size, side=side)

    def known(self, photo: Place) -> LookedAt | None:
        """A photo that is as it was when it was last looked at, and in which nothing is to be looked for."""
        try:
            content = self._index.known_content(photo, stamp_of(photo))
        except StoreError:
            raise
        except (OSError, PersamError):  # looking at it will say what is wrong
            return None
        return None if content is None or self._missing(content) else LookedAt(photo, content)

    def found_before(self) -> set[tuple[str, str]]:
        """What need not be looked for: content of a photo, and how the find is made."""
        if self._output.ledger.overwrite:
            return {(content, made) for content, made in self._index.all_found() if made.startswith(corrected(""))}
        return self._index.all_found()

    def _missing(self, content: str) -> list[str]:
        """How the concepts are made that were not looked for in a photo of this content."""
        missing = [made for made, each in self.concepts.items() if not self._index.has(content, corrected(each.name))]
        if self._output.ledger.overwrite:
            return [made for made in missing if (content, made) not in self._again]
        return [made for made in missing if not self._index.has(content, made)]

    # ------------------------------------------------------------------- finding and writing, one after another

    def settle(self, seen: LookedAt) -> tuple[Outcome, str | None]:
        """Look for what is missing, and bring the photo's lines and files up to date.

        Returns:
            What became of it, and what went wrong, if something did.

        Raises:
            PersamError: nothing can go on: the index or the folder cannot be written, or there is no model.
        """
        missing = bool(self._missing(seen.content))
        problem = self.look_for_missing(seen)
        if problem is not None:
            return "done", problem
        lines = {name: self._output.line(seen.photo, name) for name in self._index.concepts}
        finds = self._finds(seen.content, lines)
        groups = rivals({name: _box_of(find) for name, (_, find) in finds.items()})
        made = {}
        for name, (key, _) in finds.items():
            mark = _mark([finds[each][1] for each in sorted(groups[name])])
            earlier = _made_of(lines[name])
            # A run that wants fewer pictures takes none away.
            outputs = list(dict.fromkeys([*self.wanted.outputs, *earlier.get("outputs", ())]))
            made[name] = {"content": seen.content, "find": key, "rivals": mark, "outputs": outputs}
        stale = [name for name, line in lines.items() if line is not None and name not in finds]
        new = [name for name in finds if not self._output.is_done(seen.photo, name, made[name])]
        if not stale and not new:
            return ("done" if missing else "before"), None
        if self._is_changed(seen.photo, [name for name in new if lines[name] is not None]):
            return "kept", None
        # What has no rivals, and whose mask's file was made elsewhere, is written as it was found.
        ready = {
            name: seen.masks[finds[name][0]]
            for name in new
            if len(groups[name]) == 1 and made[name]["outputs"] == ["mask"] and finds[name][0] in seen.masks
        }
        needed = sorted(frozenset[str]().union(*(groups[name] for name in new if name not in ready)))
        try:
            image = self._image_for(seen, [made[name] for name in new], finds)
            source = full_path(seen.photo)
            found = disjoint([Segmentation.from_dict(finds[name][1] | {"image": source}) for name in needed])
        except Exception as error:
            return "done", problem_with(seen.photo, error)
        for name in stale:  # of a photo that was there under this name before
            self._output.drop(seen.photo, name)
        for name, mask in ready.items():
            self._output.write_as_found(finds[name][1], seen.photo, mask, made[name])
        for one in found:
            if one.concept not in new:
                continue
            kinds = made[one.concept]["outputs"]
            self._output.write(
                one,
                image,
                overlay="overlay" in kinds,
                cutout="cutout" in kinds,
                per_instance="instances" in kinds,
                made=made[one.concept],
            )
        return ("done" if missing else "known"), None

    @property
    def at_once(self) -> int:
        """Photos that are encoded in one pass; one, until the model is there."""
        return 1 if self._finder is None else self._finder.photos.at_once

    def encoded(self, several: Sequence[LookedAt]) -> Sequence[LookedAt]:
        """Photos that were looked at, those that were read encoded in one pass, copies once. One that cannot be encoded
        comes out as it is, so that `settle` says what is wrong with it."""
        if self._finder is None or len(several) < 2:
            return several
        pixels = {
            _key(seen.content, seen.side): seen.pixels
            for seen in several
            if seen.pixels is not None and self._missing(seen.content)  # a copy may have been settled meanwhile
        }
        each_encoded = self._finder.photos.encode_each([(None, each) for each in pixels.values()])
        made = dict(zip(pixels, each_encoded, strict=True))
        found = []
        for seen in several:
            one = made.get(_key(seen.content, seen.side))
            if seen.size is not None and isinstance(one, EncodedImage):
                found.append(replace(seen, pixels=None, encoded=one.of_photo(seen.size)))
            else:
                found.append(seen)
        return found

    def look_for_missing(self, seen: LookedAt) -> str | None:
        """Look for the concepts that this photo was not searched for; return what went wrong."""
        if seen.stamp is not None:
            self._index.note_content(seen.photo, seen.stamp, seen.content)
        self._keep(seen.content, seen.finds)
        missing = self._missing(seen.content)
        if not missing:
            return None
        finder = self._ready()  # what is wrong with it or with a concept ends the run
        try:
            for side, those in finder.by_side(missing).items():
                found = finder.find(self._encoding(finder, seen, side), those)
                self._keep(seen.content, {made: one.to_dict() for made, one in found.items()})
        except Exception as error:
            return problem_with(seen.photo, error)
        return None

    def _keep(self, content: str, finds: Mapping[str, dict[str, Any]]) -> None:
        for made, find in finds.items():
            self._index.keep(content, made, find)
            self._again.add((content, made))

    def _encoding(self, finder: Finder, seen: LookedAt, side: int | None) -> EncodedImage:
        assert self._cache is not None
        encoded = self._cache.get(_key(seen.content, side))
        if encoded is None:
            if seen.encoded is not None and seen.side == side:
                encoded = seen.encoded
            else:
                pixels, size = seen.pixels, seen.size
                if pixels is None or seen.side != side:
                    pixels, size = self._read(seen, side)
                encoded = finder.model.encode(pixels, size=size)
            self._cache.put(_key(seen.content, side), encoded)
        return encoded

    def _read(self, seen: LookedAt, side: int | None) -> tuple[np.ndarray, tuple[int, int]]:
        data = None if seen.data is None else seen.data()
        read = read_smaller(seen.photo, side, data)
        try:
            content = self._index.content_of(seen.photo) if data is None else hash_of(seen.photo, data)
        except OSError:
            content = ""
        if content != seen.content:
            raise changed(seen.photo)
        return read

    def _finds(self, content: str, lines: Mapping[str, dict[str, Any] | None]) -> dict[str, tuple[str, dict[str, Any]]]:
        """What every concept of the album found in the photo, and how it was made, by the concept's name.

        What a person corrected counts before all else. A concept that is not looked for now counts as the photo's line
        has it, which may have been made otherwise than the album's last.
        """
        finds = {}
        for name, last in self._index.concepts.items():
            searched = [self._made_of[name]] if name in self._made_of else [_made_of(lines[name]).get("find"), last]
            for made in (corrected(name), *filter(None, searched)):
                find = self._index.find(content, made)
                if find is not None:
                    finds[name] = (made, find)
                    break
        return finds

    def _is_changed(self, photo: Place, names: Sequence[str]) -> bool:
        """Whether a person changed a file of these concepts that would be written: it is theirs then, and stays."""
        ledger, wanted = self._output.ledger, self.wanted
        if ledger.overwrite:
            return False
        files = [
            file for name in names for file in self._output.planned(photo, name, wanted.outputs, wanted.max_instances)
        ]
        return any((self._output.folder / file).exists() and not ledger.is_own(file) for file in files)

    def _image_for(
        self, seen: LookedAt, made: Sequence[dict[str, Any]], finds: Mapping[str, tuple[str, dict[str, Any]]]
    ) -> np.ndarray | None:
        """The whole photo, if something is to be drawn on it."""
        if not any({"overlay", "cutout"} & set(each["outputs"]) for each in made):
            return None
        image = read_image(seen.photo if seen.data is None else open_picture(seen.photo, data=seen.data()))
        if any(image.shape[:2] != (find["height"], find["width"]) for _, find in finds.values()):
            raise changed(seen.photo)
        return image

    def _ready(self) -> Finder:
        if self._finder is None:
            finder = Finder(self.load(), self.concepts, self.wanted)
            encoders = [each for each in (finder.model.model, finder.model.encoder) if each is not None]
            marks = [f"{each.fingerprint} {getattr(each, 'encoder_dtype', '')}" for each in encoders]
            marks += ["for words"] if self.wanted.finder else []  # an encoding without the finder's copy of the photo
            folder = self._output.folder / HIDDEN / "encodings"
            device = finder.model.model.device
            self._cache = EncodingCache(folder, self._bytes, " ".join([*marks, __version__]), device)
            self._finder = finder
        return self._finder


def problem_with(photo: Place, error: Exception) -> str:
    """The sentence for what one photo cannot do: however odd it is, it must not end a run of thousands.

    Raises:
        PersamError: no other photo could be done either.
    """
    if isinstance(error, IndexFileError | StoreError):
        raise error
    return str(error) if isinstance(error, PersamError) else could_not(photo, error)


def changed(photo: Place) -> PersamError:
    """The error for a photo that is not the same at the end as when it was begun."""
    return PersamError(f"{photo} changed while it was read; run this again.")


def corrected(concept: str) -> str:
    """How a find is made that a person gave: it holds for a concept of this name, however that is looked for."""
    return f"corrected {concept}"


def _made_of(line: dict[str, Any] | None) -> dict[str, Any]:
    """What a line was made from; nothing, where there is no line."""
    return (line or {}).get("made") or {}


def _key(content: str, side: int | None) -> str:
    """Name of an encoding in the cache: of a photo that was read at a size, since another gives another one."""
    return f"{content}-{side or 'whole'}"


def _mark(finds: Sequence[dict[str, Any]]) -> str:
    """A short hash of what was found for a concept and its rivals, on which its line depends."""
    return hashlib.blake2b(b"".join(map(json_line, finds)), digest_size=12).hexdigest()


def _box_of(find: dict[str, Any]) -> PixelBox | None:
    return find["box"] if find["present"] else None
