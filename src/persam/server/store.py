"""The concepts of a service or a studio: files of one folder, called by their names."""

from __future__ import annotations

import threading
import unicodedata
from dataclasses import replace
from pathlib import Path

from persam.concept import Concept
from persam.errors import PersamError, write_error
from persam.files import safe_name
from persam.server.refusals import NoRoomError, Refused

_SUFFIX = ".safetensors"
_KEPT_LOADED = 64  # concepts


class NameTakenError(Refused):
    """There is a concept of that name."""

    status = 409


class NoConceptError(Refused):
    """There is no concept of that name."""

    status = 404


class ConceptStore:
    """Concepts as files ``NAME.safetensors`` in a folder, whoever else puts files there or takes some away.

    May be used from several threads.

    Args:
        folder: is made when something is saved.
        most: concepts that it may hold; None: any number.
    """

    def __init__(self, folder: str | Path, most: int | None = None) -> None:
        self.folder = Path(folder)
        self.most = most
        self._lock = threading.Lock()
        self._loaded: dict[str, tuple[tuple[int, int], Concept]] = {}  # by name, with time and size of its file

    def names(self) -> list[str]:
        """Names of all concepts, sorted."""
        if not self.folder.is_dir():
            return []
        files = (each for each in self.folder.iterdir() if each.suffix == _SUFFIX and not each.name.startswith("."))
        return sorted(unicodedata.normalize("NFC", file.stem) for file in files)

    def load(self, name: str) -> Concept:
        """A concept by its name, from memory if its file did not change.

        Raises:
            NoConceptError: there is none.
            PersamError: its file is damaged.
        """
        file, stamp = self.path(name), self.stamp(name)
        with self._lock:
            known = self._loaded.get(file.stem)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            concept = replace(Concept.load(file), name=file.stem)
        except PersamError as error:
            raise PersamError(str(error).replace(str(file), f'The concept "{file.stem}"')) from error
        self._remember(file.stem, stamp, concept)
        return concept

    def stamp(self, name: str) -> tuple[int, int]:
        """Time and size of a concept's file: another one if it changed.

        Raises:
            NoConceptError: there is none of that name.
        """
        try:
            about = self.path(name).stat()
        except OSError as error:
            raise self._no_such(name) from error
        return about.st_mtime_ns, about.st_size

    def save(self, concept: Concept, overwrite: bool = False) -> str:
        """Keep a concept, with its thumbnail; return its name, which a file can have.

        Args:
            concept: what `PerSAM.learn` or `PerSAM.tune` gave.
            overwrite: it may take the place of one of the same name.

        Raises:
            NameTakenError: there is one of that name already.
            NoRoomError: it is full, or its folder cannot be written.
        """
        file = self.path(concept.name)
        with self._lock:  # so that of two with one name, one is told
            if not overwrite:
                self.check_free(concept.name)
            if self.most is not None and not file.exists() and len(self.names()) >= self.most:
                raise NoRoomError(f"There are {self.most} concepts, which is as many as may be; delete some.")
            try:
                replace(concept, name=file.stem).save(file, thumbnail=True)
            except PersamError as error:
                raise NoRoomError(str(error).replace(str(file), f'the concept "{file.stem}"')) from error
            self._loaded.pop(file.stem, None)
        return file.stem

    def check_free(self, name: str) -> None:
        """See that no concept has this name.

        Raises:
            NameTakenError: one has.
        """
        file = self.path(name)
        if file.exists():
            raise NameTakenError(
                f'There is a concept "{file.stem}" already; choose another name, or say that it is to be replaced.'
            )

    def delete(self, name: str) -> None:
        """Remove a concept.

        Raises:
            NoConceptError: there is none.
            PersamError: its file cannot be removed.
        """
        file = self.path(name)
        with self._lock:
            try:
                file.unlink()
            except FileNotFoundError as error:
                raise self._no_such(name) from error
            except OSError as error:
                raise write_error(f'the concept "{file.stem}"', error) from error
            self._loaded.pop(file.stem, None)

    def thumbnail(self, name: str) -> bytes | None:
        """A small PNG of what it was learned from, if it has one.

        Raises:
            NoConceptError: there is none of that name.
        """
        return self.load(name).thumbnail

    def path(self, name: str) -> Path:
        """The file of a name, whether it is there or not; always one in the folder."""
        return self.folder / f"{safe_name(name.removesuffix(_SUFFIX))}{_SUFFIX}"

    def _remember(self, name: str, stamp: tuple[int, int], concept: Concept) -> None:
        with self._lock:
            self._loaded.pop(name, None)
            self._loaded[name] = stamp, concept
            while len(self._loaded) > _KEPT_LOADED:
                del self._loaded[next(iter(self._loaded))]  # the one that was read first

    def _no_such(self, name: str) -> NoConceptError:
        known = self.names()
        those = (
            f"learned so far: {', '.join(known[:10])}{', ...' * (len(known) > 10)}" if known else "none was learned yet"
        )
        return NoConceptError(f'There is no concept "{name}"; {those}.')
