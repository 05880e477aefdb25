"""Prompts with a place for the subject: ``a photo of {subject} in the snow``.

``{subject}`` stands for the subject of the run, ``{NAME}`` for the one of that name, where a run has learned several.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from persam.dreambooth.subjects import Subject
from persam.errors import PersamError, UsageError

SUBJECT = "subject"
# By what they ask for: the subject as it is, other places, other ground, other looks.
DEFAULT_PROMPTS = (
    "a photo of {subject}",
    "a photo of {subject} in a forest",
    "a photo of {subject} in deep snow",
    "a photo of {subject} on a sandy beach by the sea",
    "a photo of {subject} on a wooden table",
    "a photo of {subject} on a blue carpet",
    "a photo of {subject} in front of a brick wall",
    "a photo of {subject} on a busy street at night",
    "a photo of {subject} floating on a lake",
    "a watercolour painting of {subject}",
)
_PLACE = re.compile(r"\{([^{}]*)\}")
_COMMENT = "#"


@dataclass(frozen=True)
class FilledPrompt:
    """A prompt with its places filled.

    Attributes:
        asked: with identifiers, for a model that was taught them.
        caption: without them, for any other.
        subjects: names of those that it asks for.
    """

    asked: str
    caption: str
    subjects: tuple[str, ...]


def fill(prompt: str, subjects: Sequence[Subject], main: str | None = None) -> FilledPrompt:
    """Put subjects into a prompt.

    An identifier that somebody wrote out, ``a photo of t@y mug``, is found, too, and left out of the caption. Subjects
    that were prepared apart may have one identifier, so the class word behind it says whose it is.

    >>> mug = Subject("my_mug", "t@y", "mug", ())
    >>> fill("a photo of {subject} in the snow", [mug]).asked
    'a photo of t@y mug in the snow'
    >>> fill("a t@y mug on a table", [mug]).caption
    'a mug on a table'
    >>> fill('a book titled "{subject}"', [mug]).caption
    'a book titled "mug"'

    Args:
        prompt: with any number of places.
        subjects: that there are.
        main: name of the one that ``{subject}`` means; None: there is one only.

    Raises:
        UsageError: a place that stands for nothing here, or ``{subject}`` where there are several.
    """
    named = {each.name: each for each in subjects}
    used: dict[str, None] = {}

    def subject_of(place: str) -> Subject:
        name = (main or _only(prompt, subjects)) if place == SUBJECT else place
        if name not in named:
            known = ", ".join(f"{{{each}}}" for each in (SUBJECT, *named)) if named else "none"
            raise UsageError(
                f'The prompt "{prompt}" has the place {{{place}}}, which stands for nothing; use: {known}.'
            )
        used[name] = None
        return named[name]

    asked = _PLACE.sub(lambda found: _words(subject_of(found[1])), prompt)
    parts = _PLACE.split(prompt)  # what somebody wrote out, and places, in turn
    for number, part in enumerate(parts):
        if number % 2:
            parts[number] = subject_of(part).class_word
        else:
            parts[number], named_here = _without_identifiers(part, asked, subjects)
            used |= dict.fromkeys(named_here)
    return FilledPrompt(asked, "".join(parts).strip(), tuple(used))


def _words(subject: Subject) -> str:
    return f"{subject.identifier} {subject.class_word}"


def _without_identifiers(text: str, asked: str, subjects: Sequence[Subject]) -> tuple[str, list[str]]:
    """A part of a prompt without the identifiers in it, and the names of the subjects that they stand for."""
    found: list[str] = []
    for words in sorted({_words(each) for each in subjects}, key=len, reverse=True):
        alike = [each for each in subjects if _words(each) == words]
        whole = _alone(rf"{re.escape(alike[0].identifier)}\s+{re.escape(alike[0].class_word)}")
        if whole.search(text):
            found += [each.name for each in alike]
            text = _put(whole, alike[0].class_word, text)
    for identifier in sorted({each.identifier for each in subjects}, key=len, reverse=True):
        bare = _alone(re.escape(identifier))
        if bare.search(text):
            alike = [each for each in subjects if each.identifier == identifier]
            word = alike[0].class_word if len(alike) == 1 else ""
            found += [alike[0].name] if word else []
            is_said = not word or _alone(re.escape(word)).search(asked)  # ``a t@y red mug``, not ``a photo of t@y``
            text = re.sub(rf"{bare.pattern}\s*", "", text) if is_said else _put(bare, word, text)
    return text, found


def _alone(pattern: str) -> re.Pattern[str]:
    """What no letter touches: quotes and brackets may."""
    return re.compile(rf"(?<!\w){pattern}(?!\w)")


def _put(pattern: re.Pattern[str], words: str, text: str) -> str:
    return pattern.sub(lambda _: words, text)


def _only(prompt: str, subjects: Sequence[Subject]) -> str:
    if not subjects:
        raise UsageError(
            f'Nothing says what {{subject}} in the prompt "{prompt}" is: name a folder of a training run, too, or '
            "prompts without a place."
        )
    if len(subjects) > 1:
        names = ", ".join(each.name for each in subjects)
        raise UsageError(f"There are several subjects ({names}): say with --subject which of them {{subject}} is.")
    return subjects[0].name


def read_prompts(file: Path) -> tuple[str, ...]:
    """The prompts of a text file, one a line; empty lines and lines that begin with ``#`` are left out.

    Raises:
        UsageError: there is no such file, or no prompt in it.
        PersamError: it cannot be read as text.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UsageError(f"There is no file of prompts {file}; give a text file with one prompt a line.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise PersamError(f"{file} cannot be read as UTF-8 text; give a text file with one prompt a line.") from error
    prompts = check_prompts([line for line in lines if not line.startswith(_COMMENT)])
    if not prompts:
        raise UsageError(f"{file} has no prompt; write one a line, such as: a photo of {{subject}} in the snow.")
    return prompts


def check_prompts(prompts: Sequence[str]) -> tuple[str, ...]:
    """Without blanks around them, empty ones and repetitions."""
    return tuple(dict.fromkeys(text for prompt in prompts if (text := " ".join(prompt.split()))))
