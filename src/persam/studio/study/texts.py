"""What the tab "Study" tells an annotator: what is left, where one is, what is asked."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from typing import Any

from persam.studio.study.sitting import Sitting
from persam.study import README, Annotation, Study, read
from persam.words import counted

_BAR = "height: .35rem; border-radius: 1rem; background: var(--border-color-primary); margin: .3rem 0"
_FILL = "height: 100%; border-radius: 1rem; background: var(--color-accent);"


def categories(study: Study, annotator: str) -> dict[str, Any]:
    """The choices of a category, with how much of each is done; the first that is not done is chosen."""
    choices, chosen = [], None
    for category in study.categories:
        count = len(category.photos)
        done = 0
        if annotator in study.annotators and count:
            done = len(Annotation.of(study, category.name, annotator).done())
        told = f"{done} of {count} done" if done else counted(count, "photo")
        choices.append((f"{category.name}: {told}", category.name))
        if chosen is None and done < count:
            chosen = category.name
    return {"choices": choices, "value": chosen or (choices[0][1] if choices else None)}


def size(study: Study) -> str:
    """How much there is to do in all."""
    categories = counted(len(study.categories), "category", "categories")
    return f"The study has {counted(study.photo_count, 'photo')} in {categories}."


def instructions(study: Study) -> str:
    """The study's README.txt, which tells annotators what to do."""
    file = study.folder / README
    try:
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
    except (OSError, ValueError):
        text = ""
    return f"<pre style='white-space: pre-wrap'>{escape(text or 'This study has no README.txt.')}</pre>"


def progress(sitting: Sitting) -> str:
    """Where one is: ``disc: photo 3 of 12, 2 done``."""
    work, done = sitting.work, sitting.work.done()
    photo = work.photos[sitting.place]
    marks = []
    if photo == work.reference:
        marks.append("The model will be shown your mask of this photo: take special care.")
    if photo in done:
        marks.append("You have done this photo already.")
    name, who = escape(work.category.name), escape(work.annotator)
    return (
        f"<p><b>{name}</b>: photo {sitting.place + 1} of {sitting.count} "
        f"<span>({len(done)} done, {who})</span> {' '.join(marks)}</p>"
        f'<div role="progressbar" aria-label="Photos that are done" aria-valuemin="0" aria-valuemax="{sitting.count}" '
        f'aria-valuenow="{len(done)}" style="{_BAR}">'
        f'<div style="{_FILL} width: {100 * len(done) / sitting.count:.1f}%"></div></div>'
    )


def welcome(work: Annotation) -> str:
    """Said to whoever sits down: somebody with the name of another would mend that person's masks."""
    done = len(work.done())
    if not done:
        return ""
    return (
        f"You go on as {work.annotator}, who has done {done} of {counted(len(work.photos), 'photo')} of "
        f'{work.category.name}. If that is not you, choose "Change name or category".'
    )


def ending(sitting: Sitting) -> str:
    """What is said at the end of a category."""
    said = f"All of {sitting.work.category.name} ({counted(sitting.count, 'photo')}) is done"
    if not sitting.unreadable:
        return f"{said}."
    names = ", ".join(sorted(photo.name for photo in sitting.unreadable))
    return f"{said} but for {names}, which cannot be read; tell the person who runs the study."


def kept(sitting: Sitting) -> str:
    """What is drawn and not saved by somebody who goes away for a while; "" if nothing is."""
    unsaved = sitting.unsaved()
    if not unsaved:
        return ""
    return (
        f"What is drawn on {', '.join(unsaved)} is not saved yet; it is kept as long as this page is open: "
        "begin again with the same name, category and way of masking."
    )


def within(folder: str | Path, told: object) -> str:
    """A sentence that names files as they are called in the study, wherever on the machine that lies."""
    root = str(folder)
    inside = str(told).replace(root + os.sep, "")
    return inside.replace(root, "the study's folder") if os.sep in root else inside  # not a word of the sentence


def thanks(sitting: Sitting) -> str:
    """The end of a category, and what is left for this annotator."""
    work = sitting.work
    study = read(work.study_folder)
    left = []
    for category in study.categories:
        if category.photos:
            own = Annotation.of(study, category.name, work.annotator)
            missing = len(own.photos) - len(own.done())
            if missing:
                left.append(f"{escape(category.name)}: {missing} of {counted(len(own.photos), 'photo')}")
    rest = f"<p>What is left: {'; '.join(left)}.</p>" if left else "<p>That was all; nothing is left for you to do.</p>"
    return (
        f"<h3>Done, thank you, {escape(work.annotator)}</h3>"
        f"<p>You have been through all of {escape(work.category.name)}: {counted(len(work.photos), 'photo')}.</p>{rest}"
    )
