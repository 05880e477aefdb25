"""Albums: thousands of photos, several concepts, and an index that remembers what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from persam.lazy import lazy_names

if TYPE_CHECKING:
    from persam.album.album import Album as Album
    from persam.album.fix import learned_with as learned_with
    from persam.album.formats import write_formats as write_formats
    from persam.album.run import AlbumReport as AlbumReport
    from persam.album.worth import expected_gain as expected_gain

# What the service and the studio stand on. No `__all__`: the reference shows all of an album's modules.
__getattr__, _ = lazy_names(
    __name__,
    {
        "persam.album.album": "Album",
        "persam.album.fix": "learned_with",
        "persam.album.formats": "write_formats",
        "persam.album.run": "AlbumReport",
        "persam.album.worth": "expected_gain",
    },
)
