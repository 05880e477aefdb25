"""What the page shows of a clip: its newest frame, then a player, the timeline, and links to what can be taken away."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from persam.files import safe_name
from persam.studio.find.cards import in_short
from persam.studio.find.clip_search import CLIP_PARCELS, ClipSearch
from persam.words import counted

if TYPE_CHECKING:
    from fastapi import APIRouter


def preview_of(picture: str, frame: int) -> str:
    """The newest frame, by its name on the workshop's shelf."""
    return f'<img class="large" src="/pictures/{quote(picture)}" alt="Frame {frame} with what was found">'


def player_of(name: str, clip: ClipSearch) -> str:
    """A player of the clip with its things marked, and when they are on screen."""
    parts = []
    if clip.file("overlay") is not None:
        parts.append(f'<video class="large" controls playsinline src="{_address(name, clip, "overlay")}"></video>')
    if clip.file("timeline") is not None:
        alt = "When each concept is on screen"
        parts.append(f'<img class="large timeline" src="{_address(name, clip, "timeline")}" alt="{alt}">')
    return "".join(parts)


def links_of(name: str, clip: ClipSearch) -> str:
    """Links to all that can be taken away, and all that was warned of where the summary names only the first."""
    links = [
        f'<li><a href="{_address(name, clip, key)}&amp;save=1" download>{escape(about)}</a></li>'
        for key, (about, _) in CLIP_PARCELS.items()
        if key == "labels" or clip.file(key) is not None
    ]
    doubts = "".join(f"<li>{escape(each)}</li>" for each in clip.doubts)
    warned = f'<p>Warnings:</p><ul class="warnings">{doubts}</ul>' if len(clip.doubts) > 2 else ""
    return (f'<ul class="links">{"".join(links)}</ul>' if clip.frames else "") + warned


def clip_summary(clip: ClipSearch) -> str:
    """What came of a clip, in a sentence, and what was warned of."""
    frames = counted(clip.frames, "frame")
    doubts = in_short(clip.doubts)
    if clip.report is None:
        return f"Stopped after {frames}; what was found until then is kept.{doubts}"
    there = [f"{one} in {count}" for one, count in clip.report.present.items()]
    least = [f"least sure in frame {at} ({score:.0%})" for at, score in clip.report.least_sure.values()]
    also = f", {least[0]}" if len(least) == 1 else ""
    return f"{frames}: {', '.join(there)}{also}.{doubts}"


def _address(name: str, clip: ClipSearch, key: str) -> str:
    # Another address for another run, or a browser would show the clip before.
    return f"/search/{quote(name)}/clip/{key}?run={quote(clip.folder.parent.name)}"


def clip_routes(clip_of: Callable[[str], ClipSearch | None]) -> APIRouter:
    """The addresses of a clip's files.

    Args:
        clip_of: finds the clip of a search by its name.
    """
    from fastapi import APIRouter, HTTPException
    from fastapi.responses import FileResponse

    router = APIRouter()

    @router.get("/search/{name}/clip/{key}", include_in_schema=False)
    def file(name: str, key: str, save: bool = False) -> Any:
        clip = clip_of(name)
        place: Path | None = clip.file(key) if clip is not None and key in CLIP_PARCELS else None
        if clip is None or place is None:
            raise HTTPException(404, "There is no such clip; follow it again.")
        called = safe_name(f"{Path(clip.clip.source).stem}-{place.name}")
        kind = "attachment" if save else "inline"
        return FileResponse(place, filename=called, content_disposition_type=kind)

    return router
