"""Which photo is most worth correcting next, as far as what was found there can tell.

A correction makes the mask of its own photo right, for certain, and is one more shot of the concept for the others.
The gain that is expected of it is

    score * (1 - score * predicted IoU)   where the concept was said to be there
    score * score                         where it was said not to be

the chance that the thing is there, since a photo without it teaches nothing, times how wrong the mask is thought to be.
`persam bench corrections` measures this order against others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persam.album.outputs import OutputFolder
from persam.album.worker import corrected
from persam.errors import PersamError
from persam.files import write_csv
from persam.places import place_of
from persam.reference import sha256_of

if TYPE_CHECKING:
    from persam.concept import Concept

CORRECT_LIST = "correct.csv"
MOST_LISTED = 100  # photos: nobody corrects more of them in a row, and after some of them the order is another


@dataclass(frozen=True)
class Worth:
    """A photo whose mask could be corrected.

    Attributes:
        image: the photo.
        concept: of which the mask is.
        score: how sure it is that the concept is there, 0 to 1.
        verdict: ``present``, ``absent`` or ``unsure``.
        predicted_iou: the decoder's own estimate of how good the mask is.
        gain: that is expected, 0 to 1, see `expected_gain`.
        mask: the file to correct, from the album's folder on.
    """

    image: str
    concept: str
    score: float
    verdict: str
    predicted_iou: float | None
    gain: float
    mask: str


def expected_gain(found: Mapping[str, Any]) -> float:
    """What the correction of a photo is expected to be worth, 0 to 1.

    Args:
        found: `Segmentation.to_dict`, or a line of ``results.jsonl``.

    >>> [round(expected_gain({"present": True, "score": 0.9, "predicted_iou": iou}), 2) for iou in (0.9, 0.5)]
    [0.17, 0.5]
    >>> round(expected_gain({"present": False, "score": 0.4, "predicted_iou": 0.9}), 2)
    0.16
    """
    score = float(found["score"])
    if not found["present"]:
        return score * score
    estimate = 1.0 if found["predicted_iou"] is None else float(found["predicted_iou"])
    return score * (1 - score * min(max(estimate, 0.0), 1.0))


def worth_of(line: Mapping[str, Any]) -> Worth | None:
    """What the correction of a line's mask is worth; None where a person gave it."""
    if (line.get("made") or {}).get("find") == corrected(line["concept"]):
        return None
    return Worth(
        line["image"],
        line["concept"],
        line["score"],
        line["verdict"],
        line["predicted_iou"],
        round(expected_gain(line), 4),
        line["files"]["mask"],
    )


def best_first(
    every: Iterable[Worth], output: OutputFolder, concepts: Iterable[Concept] = (), most: int = MOST_LISTED
) -> list[Worth]:
    """The photos that are most worth correcting, the best first.

    Left out are masks that a person changed since they were written, which wait to be learned from, and photos that a
    concept was learned from.

    Args:
        every: of the album.
        output: its folder.
        concepts: whose references are known.
        most: so many at most.
    """
    shots: dict[tuple[str, str], set[str]] = {}
    for concept in concepts:
        for each in concept.references:
            shots.setdefault((concept.name, Path(each.source).name), set()).add(each.sha256)
    ranked = sorted(every, key=lambda one: (-one.gain, one.image, one.concept))
    return list(islice((one for one in ranked if not _waits(one, output) and not _is_shot(one, shots)), most))


def _waits(one: Worth, output: OutputFolder) -> bool:
    return (output.folder / one.mask).is_file() and not output.ledger.is_own(one.mask)


def _is_shot(one: Worth, shots: Mapping[tuple[str, str], set[str]]) -> bool:
    """Whether the concept was learned from this very photo; only one of a reference's name is read to see that."""
    hashes = shots.get((one.concept, Path(one.image).name))
    if hashes is None:
        return False
    try:
        return sha256_of(place_of(one.image)) in hashes
    except (OSError, PersamError):  # it is away now
        return False


def write_list(worth: Sequence[Worth], path: Path) -> None:
    """Write them as a table that any spreadsheet reads.

    Raises:
        PersamError: it cannot be written.
    """
    columns = [each.name for each in fields(Worth)]
    write_csv(path, [["photo", *columns[1:]], *([getattr(one, column) for column in columns] for one in worth)])
