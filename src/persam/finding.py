"""Which photos files, folders and globs name: each real file once, and nothing that persam itself wrote.

What looks like a photo and is none that persam reads is left out and told in one sentence, a `PersamWarning`.
"""

from __future__ import annotations

import glob
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePath, PurePosixPath

from persam.errors import PersamError, PersamWarning, UsageError
from persam.images import HEIC_EXTRA, HEIC_SUFFIXES, IMAGE_SUFFIXES, RAW_SUFFIXES
from persam.ledger import written_in
from persam.places import Place, RemotePath, place_of

_OTHER_SUFFIXES = frozenset(
    (
        *(".psd", ".psb", ".xcf", ".kra", ".afphoto", ".svg", ".pdf", ".eps", ".ai", ".jp2", ".j2k", ".jpx", ".jxl"),
        *(".jxr", ".exr", ".hdr", ".tga", ".dcm"),
    )
)
VIDEO_SUFFIXES = frozenset(
    (".mov", ".mp4", ".m4v", ".avi", ".mkv", ".webm", ".mts", ".m2ts", ".3gp", ".mpg", ".mpeg", ".wmv")
)
_NAMED = 3  # so many of each kind are named, the others counted

# What `persam segment` left in a folder before it kept a list of it.
RESULTS = "results.jsonl"
_OWN_FOLDERS = frozenset(("masks", "overlays", "cutouts", "explain", "instances"))
_OWN_FILE = re.compile(r"sheet(-\d+)?\.png")
# With the pictures of formats: elsewhere, where every look into a folder costs, no other place is asked about.
_OWN_ELSEWHERE = _OWN_FOLDERS | {"blanked", "blurred", "colmap", "sheet", "yolo"}


@dataclass(frozen=True)
class Kind:
    """A kind of files that are left out: what one is called, what several are, and what to do with them."""

    one: str
    several: str
    mend: str = ""


_RAW = Kind("RAW photo", "RAW photos", "export as JPEG or TIFF first")
_HEIC = Kind("HEIC photo", "HEIC photos", f"first {HEIC_EXTRA}")
_OTHER = Kind("picture of another format", "pictures of other formats", "save as JPEG, PNG or TIFF first")
_VIDEO = Kind("video", "videos", "persam video takes it")
_LINK = Kind("link to nothing", "links to nothing")
_OWN = Kind("picture that persam wrote", "pictures that persam wrote")
_PHOTO, _UNRELATED = Kind("photo", "photos"), Kind("other file", "other files")


def find_images(paths: Iterable[str | Place]) -> list[Place]:
    """List the photos that files, folders, globs and URLs of such name, each once, in the order given, folders sorted.

    A folder gives the pictures directly in it (by suffix, hidden ones left out); a glob such as ``'album/**/*.jpg'``
    gives what it matches, but for masks, overlays and the like that an earlier run wrote. A file that was named itself
    is listed whatever its suffix, even if it is missing: reading it will say what is wrong with it, and the others go
    on. A file to which several links lead is listed once.

    Warns with a `PersamWarning` of what was left out of a folder or a glob though somebody may have meant it: RAW
    photos, HEIC without the extra, other formats, videos, links to nothing, and pictures that persam wrote.

    Raises:
        UsageError: A folder or a glob has no picture, or nothing was named at all.
        PersamError: A folder may not be read, or what is at a URL cannot be.
    """
    found: dict[str, Place] = {}
    results = _Results()
    places = [place_of(given) for given in paths]
    for store in {place.root for place in places if isinstance(place, RemotePath)}:
        store.forget()
    for place in places:
        files = _files_elsewhere(place, results) if isinstance(place, RemotePath) else _files_of(place, results)
        for file in files:
            found.setdefault(_real(file), file)
    if not found:
        raise UsageError("No photos were named; give files, folders or globs.")
    return list(found.values())


def _files_of(path: Path, results: _Results) -> Sequence[Place]:
    if _holds(path.is_dir):
        try:
            entries = _each_once(path.iterdir())
        except OSError as error:
            raise PersamError(
                f"The folder {path} cannot be read ({error.strerror or error}); change its permissions."
            ) from error
        nothing = f"There are no pictures in the folder {path}"
        return _photos_of(entries, path, results, nothing, f"for those in its subfolders give '{path}/**/*.jpg'")
    if glob.has_magic(str(path)) and not _holds(path.exists):
        base = Path(*_before_magic(path.parts))
        return _photos_of(
            _each_once(_matches(str(path))), base, results, f"No picture matches {str(path)!r}", "check the pattern"
        )
    return [path]


def _files_elsewhere(place: RemotePath, results: _Results) -> Sequence[Place]:
    if place.suffix.lower() in IMAGE_SUFFIXES and not glob.has_magic(place.key):
        return [place]  # to ask for each of thousands takes minutes
    told = place.info()
    if told is not None and told.get("type") != "directory":
        return [place]
    if told is not None:
        nothing = f"There are no pictures in the folder {place}"
        return _photos_of(
            place.files(), place, results, nothing, f"for those in its subfolders give '{place}/**/*.jpg'"
        )
    if not glob.has_magic(place.key):
        return [place]
    parts = place.key.split("/")
    fixed = _before_magic(parts)
    base = place.root / "/".join(fixed) if fixed else place.root
    found = [
        file
        for file in base.matching("/".join(parts[len(fixed) :]))
        if not any(part.startswith(".") for part in file.relative_to(base).parts)
    ]
    return _photos_of(found, base, results, f"No picture matches {str(place)!r}", "check the pattern")


def _photos_of(entries: Iterable[Place], base: Place, results: _Results, nothing: str, mend: str) -> list[Place]:
    """The photos among files; `base` is the folder that was named, and what follows is said where there are none."""
    kinds = {file: _kind_of(file, base, results) for file in entries if not file.name.startswith(".")}
    photos = [file for file, kind in kinds.items() if kind is _PHOTO]
    stems = {file.with_suffix("") for file in photos}
    left_out: dict[Kind, list[str]] = {}
    for file, kind in kinds.items():
        is_twin = kind in (_RAW, _VIDEO) and file.with_suffix("") in stems  # cameras save some photos in two forms
        if kind not in (_PHOTO, _UNRELATED) and not is_twin:
            left_out.setdefault(kind, []).append(file.name)
    told = ", ".join(_counted(kind, names) for kind, names in left_out.items())
    if not photos and told:
        raise UsageError(f"{nothing} that persam can take; left out: {told}.")
    if not photos:
        raise UsageError(f"{nothing}; {mend}.")
    if told:
        warnings.warn(f"Left out of {base}: {told}.", PersamWarning, stacklevel=4)
    return photos


def _counted(kind: Kind, names: Sequence[str]) -> str:
    named = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    return f"{len(names)} {kind.one if len(names) == 1 else kind.several} ({named}{kind.mend and '; ' + kind.mend})"


def _kind_of(file: Place, base: Place, results: _Results) -> Kind:
    suffix = file.suffix.lower()
    named = {_RAW: RAW_SUFFIXES, _OTHER: _OTHER_SUFFIXES, _VIDEO: VIDEO_SUFFIXES}
    if suffix not in IMAGE_SUFFIXES:
        kind = next((kind for kind, suffixes in named.items() if suffix in suffixes), _UNRELATED)
        is_file = isinstance(file, RemotePath) or kind is _UNRELATED or _holds(file.is_file)  # elsewhere all listed are
        return kind if is_file else _UNRELATED
    try:
        if isinstance(file, Path) and not file.is_file():
            return _LINK if file.is_symlink() and not file.exists() else _UNRELATED
    except OSError:  # in a folder that may not be entered: reading it will say so
        return _PHOTO
    if results.hold(file, base):
        return _OWN
    return _HEIC if suffix in HEIC_SUFFIXES and find_spec("pillow_heif") is None else _PHOTO


# ----------------------------------------------------------------------------------------------------- each once


def _each_once(files: Iterable[Path]) -> list[Path]:
    """One path to every real file, the shortest, sorted: links may lead to a file in many ways."""
    nearest: dict[str, Path] = {}
    for file in sorted(files, key=lambda each: (len(each.parts), each)):
        nearest.setdefault(_real(file), file)
    return sorted(nearest.values())


def _matches(pattern: str) -> Iterator[Path]:
    """What a glob matches. `glob` itself follows links in ``**`` round and round."""
    parts = Path(pattern).parts
    if "**" not in parts:
        yield from (Path(name) for name in glob.glob(pattern))  # noqa: PTH207 (absolute patterns too)
        return
    place = parts.index("**")
    after = parts[place + 1 :] or ("*",)
    for top in [Path()] if place == 0 else list(_matches(str(Path(*parts[:place])))):
        for folder in _folders_below(top):
            yield from _matches(str(Path(glob.escape(str(folder)), *after)))


def _folders_below(top: Path) -> Iterator[Path]:
    """A folder and all in it, hidden ones left out, each real one once, by the shortest way."""
    seen: set[str] = set()
    level = [top]
    while level:
        below: list[Path] = []
        for folder in level:
            if _real(folder) in seen or not _holds(folder.is_dir):
                continue
            seen.add(_real(folder))
            try:
                below += sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
            except OSError:
                warnings.warn(f"The folder {folder} may not be read and was left out.", PersamWarning, stacklevel=2)
            else:
                yield folder
        level = below


def _real(file: Place) -> str:
    if isinstance(file, RemotePath):
        return str(file)
    try:
        return os.path.realpath(file)
    except (OSError, ValueError):
        return str(file.absolute())


def _holds(question: Callable[[], bool]) -> bool:
    """Ask pathlib, which raises for names that are too long and in folders that may not be entered."""
    try:
        return question()
    except OSError:
        return False


def _before_magic(parts: Sequence[str]) -> list[str]:
    """The folders of a pattern that are named as they are."""
    fixed = []
    for part in parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return fixed


# ------------------------------------------------------------------------------------------ what persam wrote


class _Results:
    """Tells what persam wrote as results; every folder is looked at once."""

    def __init__(self) -> None:
        self._listed: dict[Place, frozenset[str]] = {}
        self._is_older: dict[Path, bool] = {}

    def hold(self, file: Place, base: Place) -> bool:
        """Whether a file is a result, unless the folder in which it lies was named itself: `base` is what was named."""
        path, named = file.absolute(), base.absolute()
        steps = PurePosixPath(path.key).parts if isinstance(path, RemotePath) else path.parts
        above: Sequence[Place] = path.parents
        for up, folder in enumerate(above, start=1):
            if folder not in named.parents and self._wrote(folder, PurePath(*steps[-up:])):
                return True
        return False

    def _wrote(self, folder: Place, place: PurePath) -> bool:
        first, *rest = place.parts
        if isinstance(folder, RemotePath) and not (first in _OWN_ELSEWHERE if rest else _OWN_FILE.fullmatch(first)):
            return False
        if folder not in self._listed:
            self._listed[folder] = written_in(folder)
        if place.as_posix() in self._listed[folder]:
            return True
        looks_like_it = first in _OWN_FOLDERS if rest else _OWN_FILE.fullmatch(first) is not None
        return looks_like_it and isinstance(folder, Path) and self._is_of_older_persam(folder)

    def _is_of_older_persam(self, folder: Path) -> bool:
        """Whether it is a folder of results without a list; a file of that name alone may be another program's."""
        if folder not in self._is_older:
            try:
                with (folder / RESULTS).open("rb") as stream:
                    start = stream.read(4096)
            except OSError:
                start = b"none"
            self._is_older[folder] = not start or b'"concept"' in start
        return self._is_older[folder]
