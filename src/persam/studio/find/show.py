"""What the tab "Find" shows: its parts, and the actions that look at results without asking the model again.

Every action is a generator of updates, a dictionary by part. A problem is a sentence in the line of the status, and
all else stays as it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import gradio as gr

from persam.errors import UsageError
from persam.studio.cards import Updates, telling
from persam.studio.find import downloads
from persam.studio.find.cards import count_choices, facts_of, gallery_of, large_of, status, summary
from persam.studio.find.results import SearchedPhoto
from persam.studio.find.searching import look
from persam.studio.find.session import FindSession, FindSessions
from persam.studio.workshop import Workshop

_EVERY = 0.4  # seconds between two updates of the page while something goes on


@dataclass
class FindParts:
    """The parts of the tab that change; their ids stand in `tab.py`."""

    status: Any
    spoken: Any
    run: Any
    stop: Any
    results: Any
    states: Any
    only: Any
    order: Any
    least: Any
    threshold: Any
    kind: Any
    gallery: Any
    page: Any
    back: Any
    on: Any
    worth: Any
    large: Any
    facts: Any
    views: Any
    steps: Any
    canvas: Any
    save_as: Any
    learn: Any
    keep: Any
    absent: Any
    changes: Any
    note: Any
    parcel: Any
    prepare: Any
    download: Any
    clip: Any
    preview: Any
    clip_links: Any

    @property
    def changing(self) -> list[Any]:
        """Those that actions change."""
        names = (
            "status spoken stop results states only gallery page back on large facts steps canvas note changes "
            "download clip preview clip_links"
        )
        return [getattr(self, name) for name in names.split()]


#: An action whose problems are said as it says all else, see `FindShown.say`.
told = telling(lambda sentence, given: given[0].say(sentence, problem=True))


class Tenths:
    """Tells when a tenth more is done: so often it is read aloud."""

    def __init__(self) -> None:
        self._last = 0

    def is_new(self, share: float) -> bool:
        """Whether a share, 0 to 1, is in another tenth than the last one."""
        last, self._last = self._last, int(10 * share)
        return self._last != last


class FindShown:
    """What is shown, and all that only shows it differently or gives it away.

    Args:
        workshop: what the tabs share.
        sessions: the browser tabs.
        parts: of the page.
    """

    def __init__(self, workshop: Workshop, sessions: FindSessions, parts: FindParts) -> None:
        self.workshop, self.sessions, self.parts = workshop, sessions, parts

    # ------------------------------------------------------------------------------------------------ what is shown

    def shown(self, session: FindSession, kind: str) -> Updates:
        """The gallery, and what is said around it."""
        parts, gallery = self.parts, gallery_of(session.search, kind)
        choices = count_choices(session.search)
        return {
            parts.gallery: gallery,
            parts.states: gr.update(choices=choices, value=sorted(session.search.choice.states)),
            # What was prepared is another set by now.
            parts.download: gr.skip() if session.prepared == session.search.edition else gr.update(visible=False),
            parts.page: f'<span class="page">{gallery["page"]}</span>',
            parts.back: gr.update(visible=bool(gallery["page"])),
            parts.on: gr.update(visible=bool(gallery["page"])),
        }

    def chosen(self, session: FindSession, kind: str) -> Updates:
        """The chosen result, large."""
        one = session.search.get(session.search.shown)
        concept = None if one is None else session.learned.get(one.concept)
        calibrated = concept is not None and concept.fitted is not None
        return {
            self.parts.large: large_of(session.search, one, kind),
            self.parts.facts: facts_of(session.search, one, calibrated=calibrated),
        }

    @told
    def choose_shown(
        self,
        name: str,
        states: Sequence[str],
        only: Sequence[str],
        least: float,
        order: str,
        threshold: float,
        kind: str,
    ) -> Iterator[Updates]:
        """Show others, in another order, decided with another threshold; scores are in percent, as on the page."""
        session = self.sessions.get(name)
        search = session.search
        wanted = replace(
            search.choice,
            states=frozenset(states),
            concepts=frozenset(only),
            least_score=least / 100,
            order=order,
            threshold=threshold / 100,
        )
        if wanted != search.choice:
            search.choice = replace(wanted, page=0)
        yield {**self.shown(session, kind), **self.chosen(session, kind)}

    @told
    def turn_page(self, by: int, name: str, kind: str) -> Iterator[Updates]:
        """Show another page of the gallery. Both buttons can always be pressed: one that cannot loses the keyboard."""
        session = self.sessions.get(name)
        wanted = session.search.choice.page + by
        session.search.choice = replace(session.search.choice, page=wanted)
        shown = self.shown(session, kind)  # it puts the page right
        end = f"This is the {'last' if by > 0 else 'first'} page."
        yield shown if session.search.choice.page == wanted else {**shown, **self.say(end)}

    def look(
        self, session: FindSession, photos: Sequence[SearchedPhoto], names: Sequence[str], kind: str, doubts: str = ""
    ) -> Iterator[Updates]:
        """Look, and show results as they come, but not more often than one can see; doubts are said at the end."""
        concepts = {name: session.learned[name] for name in names}
        aloud, last, ended = Tenths(), 0.0, ""
        try:
            for so_far in look(self.workshop.engine, session.search, concepts, photos, most=session.most):
                ended = f" {so_far}" if so_far.stopped else ""
                if time.monotonic() - last >= _EVERY:
                    last, share = time.monotonic(), so_far.done / so_far.total
                    yield {**self.shown(session, kind), **self.line(f"{so_far}.", share, aloud=aloud.is_new(share))}
        except Exception:
            yield self.shown(session, kind)
            raise
        yield self.line(f"{summary(session.search)}{ended}{doubts}")

    def line(self, text: str, share: float | None = None, *, aloud: bool = True, problem: bool = False) -> Updates:
        """Say something in the line of the status, and read it aloud or not."""
        said = {self.parts.spoken: text} if aloud else {}
        return {self.parts.status: status(text, problem=problem, share=share), **said}

    def say(self, text: str, *, problem: bool = False, share: float | None = None, aloud: bool = True) -> Updates:
        """Say something in the line of the status, and again below the chosen result, where that line is out of sight;
        it is read aloud once."""
        kind = "status problem" if problem else "status"
        return {
            **self.line(text, share, aloud=aloud, problem=problem),
            self.parts.note: f'<p class="{kind}" aria-hidden="true">{escape(text)}</p>',
        }

    def running(self, session: FindSession, work: Iterator[Updates], otherwise: str) -> Iterator[Updates]:
        """Do what may be done once at a time; Stop can be pressed no longer however it ends.

        Args:
            session: whose.
            work: what is done.
            otherwise: the sentence for whoever wants to do it while it is done.
        """
        if not session.running.acquire(blocking=False):
            raise UsageError(otherwise)
        try:
            try:
                yield from work
            finally:
                session.running.release()
        except Exception:
            yield self.busy(False)
            raise

    def busy(self, busy: bool) -> Updates:
        """Whether Stop can be pressed. Find always can, see `running`: it keeps the keyboard's focus."""
        return {self.parts.stop: gr.update(interactive=busy)}

    # ---------------------------------------------------------------------------------------------------- downloads

    @told
    def choose_parcel(self, name: str, kind: str) -> Iterator[Updates]:
        """Choose what to download; what was prepared before is something else, and what is being packed is given up.

        The page may tell of a choice only after its parcel was made: then that stays.
        """
        session = self.sessions.get(name)
        changed, session.parcel = session.parcel != kind, kind
        yield {self.parts.download: gr.update(visible=False) if changed else gr.skip()}

    @told
    def prepare(self, name: str, kind: str) -> Iterator[Updates]:
        """Make a download of what is shown."""
        session, parts = self.sessions.get(name), self.parts
        search, session.prepared, session.parcel = session.search, session.search.edition, kind
        yield {parts.download: gr.update(visible=False)}
        target = self.workshop.download(downloads.PARCELS[kind].file)
        aloud, last = Tenths(), 0.0
        with closing(downloads.prepare(search, kind, target)) as packing:
            for done, total in packing:
                self._check_wanted(session, kind)
                if time.monotonic() - last >= _EVERY:
                    last, share = time.monotonic(), done / total
                    said = f"Packing {target.name}: {done} of {total}."
                    yield self.say(said, share=share, aloud=aloud.is_new(share))
        self._check_wanted(session, kind)
        size = target.stat().st_size
        told = f"{size / 1e6:.1f} MB" if size > 5e5 else f"{max(1, round(size / 1e3))} kB"
        yield {
            **self.say(f"{target.name} is ready: {total} results."),
            parts.download: gr.update(value=str(target), label=f"Download {target.name} ({told})", visible=True),
        }

    @staticmethod
    def _check_wanted(session: FindSession, kind: str) -> None:
        """See that what is packed is still what would be asked for."""
        if session.parcel != kind:
            raise UsageError("Another download was chosen while this one was packed; press Prepare again.")
        if session.search.edition != session.prepared:
            raise UsageError("What is shown changed while it was packed; press Prepare again.")
