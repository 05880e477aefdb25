"""The words of subjects: the rare one that means each, what kind of thing it is, and captions made of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from persam.dreambooth.subjects import IDENTIFIER, Subject
from persam.errors import UsageError

CAPTION = "a photo of {identifier} {class}"
#: Given to subjects in this order: no language has such words, so they mean nothing yet.
IDENTIFIERS = (IDENTIFIER, "s@z", "k@q", "p@x", "w@j", "f@b")


def next_identifier(taken: Iterable[str]) -> str:
    """The first identifier that no other subject has.

    Raises:
        UsageError: all are taken.
    """
    used = set(taken)
    free = next((each for each in IDENTIFIERS if each not in used), None)
    if free is None:
        raise UsageError(f"There are more subjects than identifiers of persam's ({len(IDENTIFIERS)}); name your own.")
    return free


def class_word_of(name: str) -> str:
    """A name as the word for a kind of thing: ``coffee_mug`` is a "coffee mug"."""
    return re.sub(r"[_\s-]+", " ", name).strip()


def check_words(subjects: Sequence[Subject]) -> None:
    """See that each subject has words of its own.

    Raises:
        UsageError: an identifier has blanks, or two subjects have the same one; a class word is empty.
    """
    seen: dict[str, str] = {}
    for subject in subjects:
        word = subject.identifier
        if not word or not word.isprintable() or len(word.split()) != 1 or word != word.strip():
            raise UsageError(f"An identifier is one rare word such as {IDENTIFIER}, without blanks, not {word!r}.")
        if not subject.class_word.strip() or not subject.class_word.isprintable():
            raise UsageError(
                f"The class of {subject.name} is a word for what it is, such as mug, not {subject.class_word!r}."
            )
        other = seen.setdefault(word.casefold(), subject.name)
        if other != subject.name:
            raise UsageError(
                f"{other} and {subject.name} have one identifier, {word}; give each its own with --identifier."
            )


def caption_of(subject: Subject, template: str | None) -> str:
    """What a photo of a subject shows.

    Raises:
        UsageError: the template does not name the identifier, has another name in braces, or several lines.
    """
    text = CAPTION if template is None else template
    try:
        told = text.format_map({"identifier": subject.identifier, "class": subject.class_word}).strip()
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise UsageError(
            f"The caption {text!r} cannot be filled in: besides words it may have {{identifier}} and {{class}}."
        ) from error
    if subject.identifier not in told:
        raise UsageError(f"The caption {text!r} does not name the subject; put {{identifier}} {{class}} into it.")
    if not told.isprintable():
        raise UsageError(f"The caption {text!r} has line ends or other signs that cannot be shown; write one line.")
    return told


def reworded(
    subjects: Sequence[Subject], identifiers: Sequence[str], class_words: Sequence[str], caption: str | None
) -> list[Subject]:
    """Subjects with other words, where such are given, in their captions too.

    Args:
        subjects: as they were.
        identifiers: none, or one for each.
        class_words: likewise.
        caption: for all photos; None: their captions stay, but for the words that change.

    Raises:
        UsageError: there are not as many words as subjects, or one will not do.
    """
    check_counts(len(subjects), identifiers, class_words, [subject.name for subject in subjects])
    changed = []
    for number, old in enumerate(subjects):
        new = replace(
            old,
            identifier=identifiers[number] if identifiers else old.identifier,
            class_word=class_words[number] if class_words else old.class_word,
        )
        photos = tuple(
            replace(photo, caption=_retold(photo.caption, old, new) if caption is None else caption_of(new, caption))
            for photo in old.photos
        )
        changed.append(replace(new, photos=photos))
    check_words(changed)
    return changed


def _retold(caption: str, old: Subject, new: Subject) -> str:
    """A caption in which a subject has its new words: the class word only where it follows the identifier."""
    words = re.compile(f"{re.escape(old.identifier)}( {re.escape(old.class_word)})?")
    return words.sub(lambda found: f"{new.identifier} {new.class_word}" if found[1] else new.identifier, caption)


def check_counts(count: int, identifiers: Sequence[str], class_words: Sequence[str], names: Sequence[str]) -> None:
    """See that there are as many words as subjects, or none.

    Raises:
        UsageError: there are not.
    """
    for option, words in (("--identifier", identifiers), ("--class", class_words)):
        if words and len(words) != count:
            several = f"{count} subjects ({', '.join(names)})" if count > 1 else f"one subject, {names[0]}"
            raise UsageError(f"{option} was given {len(words)} times for {several}; give it once for each, in order.")
