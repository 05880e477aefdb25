"""Words of subjects and captions: one rare word each, and captions that follow when words change."""

from __future__ import annotations

from pathlib import Path

import pytest

from persam.dreambooth.subjects import Subject, TrainingPhoto
from persam.dreambooth.wording import IDENTIFIERS, caption_of, check_words, next_identifier, reworded
from persam.errors import UsageError


def subject(name: str = "mug", identifier: str = "t@y", kind: str = "mug", *captions: str) -> Subject:
    photos = tuple(TrainingPhoto(Path("a.png"), Path("b.png"), caption) for caption in captions)
    return Subject(name, identifier, kind, photos)


def test_identifiers_differ_and_end_in_a_sentence() -> None:
    taken: list[str] = []
    for _ in IDENTIFIERS:
        taken.append(next_identifier(taken))
    assert taken[0] == "t@y"
    assert len(set(taken)) == len(IDENTIFIERS)
    with pytest.raises(UsageError, match="more subjects than identifiers"):
        next_identifier(taken)


@pytest.mark.parametrize("word", ["", "t y", " t@y", "t@y\n", "a\tb"])
def test_an_identifier_is_one_word(word: str) -> None:
    with pytest.raises(UsageError, match="without blanks"):
        check_words([subject(identifier=word)])


def test_two_subjects_need_two_identifiers() -> None:
    with pytest.raises(UsageError, match="mug and cat have one identifier, T@Y"):
        check_words([subject(), subject("cat", "T@Y", "cat")])


def test_a_caption_names_the_subject() -> None:
    mug = subject()
    assert caption_of(mug, None) == mug.prompt == "a photo of t@y mug"
    assert caption_of(mug, "{identifier} {class}, on oak ") == "t@y mug, on oak"
    for wrong in ("a photo of a mug", "{identifier} {colour}", "{identifier", "{}", "{identifier}\n{class}"):
        with pytest.raises(UsageError, match="caption"):
            caption_of(mug, wrong)


def test_captions_follow_words_and_keep_what_a_person_wrote() -> None:
    mug = subject("mug", "t@y", "mug", "a photo of t@y mug", "t@y mug beside another mug", "only t@y")
    (changed,) = reworded([mug], ["t@yx"], ["cup"], None)
    assert [photo.caption for photo in changed.photos] == [
        "a photo of t@yx cup",
        "t@yx cup beside another mug",
        "only t@yx",
    ]
    (all_alike,) = reworded([mug], [], [], "{identifier} on a table")
    assert {photo.caption for photo in all_alike.photos} == {"t@y on a table"}
    assert reworded([mug], [], [], None) == [mug]


def test_as_many_words_as_subjects() -> None:
    with pytest.raises(UsageError, match="--class was given 2 times for one subject, mug"):
        reworded([subject()], [], ["mug", "cup"], None)
