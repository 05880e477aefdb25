"""How well generated pictures follow their prompts, and how much they are like the subject.

As Custom Diffusion (arXiv 2212.04488) and DreamBooth (arXiv 2208.12242) measure it, and the PerSAM paper after them:

* text-align: cosine of CLIP's vectors of a picture and of its prompt without the identifier, which no CLIP knows;
  CLIPScore (arXiv 2104.08718) is 2.5 × that, and 0 below 0. Custom Diffusion's Text-Align is CLIPScore.
* image-align, with CLIP and with DINO: mean cosine of a picture with all real photos of its subject.
* KID: see `persam.dreambooth.kid`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from persam.dreambooth.features import ClipFeatures, PictureFeatures
from persam.dreambooth.generated import GeneratedFolder, GeneratedPicture
from persam.dreambooth.kid import FEWEST, KernelDistance, kernel_distance
from persam.dreambooth.subjects import Subject, TrainingPhoto
from persam.errors import PersamError, UsageError
from persam.images import read_image
from persam.instance import mask_box
from persam.masks import read_mask
from persam.metrics import Interval, PairedTest, bootstrap_mean, paired_test
from persam.reports.provenance import versions

CLIP_SCORE = 2.5  # what CLIPScore multiplies the cosine with
FIGURES = ("text_align", "clip_image_align", "dino_image_align")
ALL = None  # of prompts
_GREY = 127  # what a background becomes, near the mean that each network takes off
_MARGIN = 0.1  # around a subject that is cut out, of its longer side

Key = tuple[str, int | None]  # run, and prompt by number or all of them


@dataclass(frozen=True)
class PictureScore:
    """The cosines of one picture, each in [-1, 1]."""

    picture: GeneratedPicture
    text_align: float
    clip_image_align: float
    dino_image_align: float

    @property
    def clip_score(self) -> float:
        """2.5 × the cosine with the prompt, not below 0."""
        return CLIP_SCORE * max(self.text_align, 0.0)


@dataclass(frozen=True)
class Scores:
    """What was measured.

    Attributes:
        generated: the pictures that were scored.
        pictures: of each, in the order of `generated.pictures`.
        means: by run and prompt (None: all prompts): the figures' means with intervals of 95 %, and ``clip_score``.
        kid: by run and prompt; None where there are too few pictures.
        changes: by run but the first: each figure's change against the first run, over the pictures of the same prompt
            and seed; empty where they have none in common.
        about: what all of it was measured with.
        notes: sentences that belong under the tables.
    """

    generated: GeneratedFolder
    pictures: tuple[PictureScore, ...]
    means: Mapping[Key, Mapping[str, Interval]]
    kid: Mapping[Key, KernelDistance | None]
    changes: Mapping[str, Mapping[str, PairedTest]]
    about: Mapping[str, Any]
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def keys(self) -> list[Key]:
        """Every run over all prompts, then every run by prompt."""
        return list(self.means)

    def with_note(self, note: str) -> Scores:
        """The same with one more sentence below."""
        return replace(self, notes=(*self.notes, note))


@dataclass(frozen=True)
class Networks:
    """What looks at the pictures: CLIP for text-align and image-align, DINO for image-align, and one for KID."""

    clip: ClipFeatures
    dino: PictureFeatures
    kid: PictureFeatures


def score(
    generated: GeneratedFolder,
    references: Sequence[Subject],
    networks: Networks,
    *,
    real: Sequence[Path] = (),
    foreground: bool = False,
    progress: Callable[[], object] | None = None,
) -> Scores:
    """Score all pictures of a folder, but for those that the model's safety checker withheld, which are black.

    Args:
        generated: the pictures.
        references: the real photos, of all subjects that were asked for.
        networks: what looks at them.
        real: photos that KID compares with, such as other things of the subject's kind; else the references. One that
            cannot be read is left out, which a note says.
        foreground: of the references, compare the subject alone, cut out with its mask, before grey. KID is computed
            with whole photos all the same.
        progress: called after every picture and photo, `steps_of` times.

    Raises:
        UsageError: a picture shows a subject that `references` does not have.
        PersamError: a picture, a photo of the references, or none of the other photos can be read; all pictures were
            withheld; a mask shows nothing.
    """
    withheld = len(generated.pictures) - len(generated.shown)
    generated = replace(generated, pictures=generated.shown)
    if not generated.pictures:
        raise PersamError(f"All pictures in {generated.folder} were withheld by the model's safety checker.")
    shown = {each: _subjects_of(each, references) for each in generated.pictures}
    photos = {subject.name: _of_photos(subject, networks, foreground, progress) for subject in references}
    others, unread = _of_others(real, networks.kid, progress) if real else (None, [])
    texts = list(dict.fromkeys(each.caption for each in generated.pictures))
    words = dict(zip(texts, _unit(networks.clip.of_texts(texts)), strict=True))
    pictures = (read_image(each.file, what="picture") for each in generated.pictures)
    clip, dino, for_kid = _features(pictures, (networks.clip, networks.dino, networks.kid), progress)
    scored = []
    for number, picture in enumerate(generated.pictures):
        clips, dinos = (np.concatenate([photos[one.name][place] for one in shown[picture]]) for place in (0, 1))
        vector = _unit(clip[number])
        likeness = float((_unit(clips) @ vector).mean()), float((_unit(dinos) @ _unit(dino[number])).mean())
        scored.append(PictureScore(picture, float(words[picture.caption] @ vector), *likeness))

    def distance(key: Key) -> KernelDistance | None:
        chosen = [number for number, each in enumerate(scored) if _answers(each, key)]
        names = dict.fromkeys(one.name for number in chosen for one in shown[generated.pictures[number]])
        compared = np.concatenate([photos[name][2] for name in names]) if others is None else others
        few = min(len(chosen), len(compared)) < FEWEST
        return None if few else kernel_distance(for_kid[chosen], compared)

    keys = _keys(generated)
    kid = {key: distance(key) for key in keys}
    return Scores(
        generated,
        tuple(scored),
        {key: _means([each for each in scored if _answers(each, key)]) for key in keys},
        kid,
        _changes(scored, list(dict.fromkeys(run for run, _ in keys))),
        _about(generated, references, networks, len(real) - len(unread), foreground),
        (
            *_left_out(withheld, unread, len(real)),
            *_few(kid, (len(real) - len(unread)) or min(len(subject.photos) for subject in references)),
        ),
    )


def steps_of(generated: GeneratedFolder, references: Sequence[Subject], real: Sequence[Path] = ()) -> int:
    """How often `score` calls its progress."""
    return len(generated.shown) + len(real) + sum(len(subject.photos) for subject in references)


def _keys(generated: GeneratedFolder) -> list[Key]:
    runs = [run for run in generated.runs if generated.of(run)]
    prompts = range(len(generated.prompts))
    by_prompt = [(run, prompt) for prompt in prompts for run in runs if generated.of(run, prompt)]
    return [*((run, ALL) for run in runs), *by_prompt]


def _answers(scored: PictureScore, key: Key) -> bool:
    return scored.picture.run == key[0] and key[1] in (ALL, scored.picture.prompt)


def _subjects_of(picture: GeneratedPicture, references: Sequence[Subject]) -> list[Subject]:
    """Whose photos a picture is compared with: those of the subjects that it was asked for, or of the only one."""
    known = {subject.name: subject for subject in references}
    if not picture.subjects:
        return list(references)
    missing = [name for name in picture.subjects if name not in known]
    if missing:
        raise UsageError(
            f"{picture.file} shows {missing[0]}, of which the references have no photos ({', '.join(known)}); "
            "give the folder that the run was trained with as --references."
        )
    return [known[name] for name in picture.subjects]


# ------------------------------------------------------------------------------------------ features


def _features(
    pictures: Iterator[np.ndarray],
    networks: Sequence[PictureFeatures],
    progress: Callable[[], object] | None,
) -> list[np.ndarray]:
    """The vectors (N, d) of pictures for each network, of which one that comes twice is asked once."""
    different = list(dict.fromkeys(networks))
    found: dict[PictureFeatures, list[np.ndarray]] = {network: [] for network in different}
    for picture in pictures:
        for network in different:
            found[network].append(network.of_pictures([picture])[0])
        if progress is not None:
            progress()
    return [np.stack(found[network]) for network in networks]


def _of_others(
    files: Sequence[Path], network: PictureFeatures, progress: Callable[[], object] | None
) -> tuple[np.ndarray, list[Path]]:
    """Vectors (N, d) of the photos of others that can be read, and the files of those that cannot."""
    unread: list[Path] = []

    def readable() -> Iterator[np.ndarray]:
        for file in files:
            try:
                photo = read_image(file)
            except PersamError as error:
                unread.append(file)
                if len(unread) == len(files):
                    raise PersamError(f"None of the {len(files)} other real photos can be read: {error}") from error
                if progress is not None:
                    progress()
            else:
                yield photo

    return _features(readable(), (network,), progress)[0], unread


def _of_photos(
    subject: Subject, networks: Networks, foreground: bool, progress: Callable[[], object] | None
) -> list[np.ndarray]:
    """CLIP's, DINO's and KID's vectors of a subject's photos, (M, d) each."""
    if not subject.photos:
        raise PersamError(f"The references have no photo of {subject.name}: prepare the folder again.")
    compared = (networks.clip, networks.dino)
    if not foreground:
        return _features((read_image(photo.image) for photo in subject.photos), (*compared, networks.kid), progress)
    alone = _features((_alone(photo) for photo in subject.photos), compared, progress)
    return [*alone, *_features((read_image(photo.image) for photo in subject.photos), (networks.kid,), None)]


def _alone(photo: TrainingPhoto) -> np.ndarray:
    """The subject before grey, and little of that around it."""
    image = read_image(photo.image)
    mask = read_mask(photo.mask, (image.shape[0], image.shape[1]), may_be_trivial=True)  # as training takes it
    box = mask_box(mask)
    if box is None:
        raise PersamError(f"The mask {photo.mask} is empty; draw the subject, or take the photo out of the list.")
    margin = round(_MARGIN * max(box[2] - box[0], box[3] - box[1]))
    left, top = (max(0, start - margin) for start in box[:2])
    part = slice(top, box[3] + margin), slice(left, box[2] + margin)
    return np.where(mask[..., None], image, np.uint8(_GREY))[part]


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1 in float64; one of length 0 stays, and is like nothing."""
    exact = np.asarray(vectors, np.float64)
    return np.asarray(exact / np.maximum(np.linalg.norm(exact, axis=-1, keepdims=True), 1e-12))


# ------------------------------------------------------------------------------------------- figures


def _means(scored: Sequence[PictureScore]) -> dict[str, Interval]:
    """Means over pictures; where they answer several prompts, prompts are drawn with all of their pictures."""
    prompts = [each.picture.prompt for each in scored]
    clusters = prompts if len(set(prompts)) > 1 else None
    return {
        figure: bootstrap_mean([getattr(each, figure) for each in scored], clusters)
        for figure in (*FIGURES, "clip_score")
    }


def _changes(scored: Sequence[PictureScore], runs: Sequence[str]) -> dict[str, dict[str, PairedTest]]:
    """Every run against the first, over the pictures of the same prompt and seed, prompts drawn as in `_means`."""
    by_run: dict[str, dict[tuple[int, int], PictureScore]] = {run: {} for run in runs}
    for each in scored:
        by_run[each.picture.run][each.picture.prompt, each.picture.seed] = each
    first = by_run[runs[0]]

    def change(own: Mapping[tuple[int, int], PictureScore], figure: str) -> PairedTest:
        both = [pair for pair in own if pair in first]
        prompts = {pair: pair[0] for pair in both}
        before, after = ({pair: getattr(scores[pair], figure) for pair in both} for scores in (first, own))
        return paired_test(before, after, prompts if len(set(prompts.values())) > 1 else None)

    return {
        run: {
            figure: change(by_run[run], figure)
            for figure in (*FIGURES, "clip_score")
            if not first.keys().isdisjoint(by_run[run])
        }
        for run in runs[1:]
    }


def _left_out(withheld: int, unread: Sequence[Path], real: int) -> Iterator[str]:
    if withheld:
        yield f"Left out: pictures that the model's safety checker withheld ({withheld})."
    if unread:
        yield f"Left out: real photos that cannot be read ({len(unread)} of {real}), such as {unread[0]}."


def _few(kid: Mapping[Key, KernelDistance | None], photos: int) -> tuple[str, ...]:
    """What is to be said where there are too few pictures for KID."""
    missing = sum(each is None for each in kid.values())
    if not missing:
        return ()
    if photos < FEWEST:
        why = f"there is {photos} real photo"
        mend = "prepare more, or name others of its kind with --real"
    else:
        why, mend = "a run has a single picture of a prompt", "generate more seeds"
    return (f"KID needs {FEWEST} generated pictures and {FEWEST} real photos at least, and {why}: {mend}.",)


def _about(
    generated: GeneratedFolder,
    references: Sequence[Subject],
    networks: Networks,
    real: int,
    foreground: bool,
) -> dict[str, Any]:
    named = {"clip": networks.clip, "dino": networks.dino, "kid": networks.kid}
    return {
        "generated": str(generated.folder),
        "pictures": len(generated.pictures),
        "prompts": len(generated.prompts),
        "references": {subject.name: len(subject.photos) for subject in references},
        "real": real,
        "foreground": foreground,
        **{key: network.name for key, network in named.items()},
        **{f"{key}_fingerprint": network.fingerprint for key, network in named.items()},
        "versions": versions(),
    }
