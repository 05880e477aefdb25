"""`persam album views`: do the masks of a thing agree in 3D?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from persam.cli.console import complain, out, print_json, say, table
from persam.cli.options import Json
from persam.cli.photos import refuse_failures
from persam.cli.progress import progress_bar
from persam.errors import PersamError, UsageError, printable

_SHOWN = 20  # views on the screen; views.csv has all


def views(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The album's folder, or a folder of masks.", show_default=False)
    ],
    poses: Annotated[
        Path, typer.Option("--poses", help="COLMAP's model (sparse/0) or transforms.json.", show_default=False)
    ],
    concept: Annotated[str | None, typer.Option(help="Whose masks, where there are those of several things.")] = None,
    photos: Annotated[Path | None, typer.Option(help="Where the photos are, for the picture.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for views.csv and views.png.")] = Path("views"),
    by: Annotated[str, typer.Option(help="points, hull, or auto: points where enough are on the thing.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are not persam's.")] = False,
    json: Json = False,
) -> None:
    """Say which views' masks disagree in 3D with the others', the worst first, before something is reconstructed.

    A thing that stood still was photographed from all around, and COLMAP or nerfstudio found where from. Masks come by
    [bold]persam album export DIR --format colmap[/bold].

    [bold]Examples[/bold]

    persam album views album --poses sparse/0 --photos photos -o views

    persam album views masks --poses transforms.json --json
    """
    from persam.album.views.agreement import compare_views, worst_first
    from persam.album.views.masks import masks_folder, read_masks
    from persam.album.views.poses import read_poses
    from persam.album.views.report import claimed_views, view_row, words_of_view, write_views
    from persam.files import expanded

    if by not in ("auto", "points", "hull"):
        raise UsageError(f"--by takes points, hull or auto, not {by!r}.")
    place = masks_folder(folder, concept)
    known = read_poses(poses)
    with claimed_views(output, overwrite=overwrite):
        with progress_bar("Masks", len(known)) as advance:
            masked = read_masks(known, place, advance)
        if not masked.views and not masked.failures:
            raise PersamError(
                f"{place} has no mask of any view, such as {known[0].name}.png; masks are named as the photos in "
                f"{poses} are."
            )
        for _, problem in masked.failures:
            complain(problem)
        with progress_bar("Comparing") as advance:
            worst = worst_first(compare_views(masked.views, by, progress=advance))
        write_views(worst, masked.views, expanded(output), None if photos is None else expanded(photos))
    refuse = partial(refuse_failures, masked.failures, len(masked.views) + len(masked.failures), "compared")
    if json:
        failed = [{"view": name, "error": problem} for name, problem in masked.failures]
        print_json({"views": [view_row(one) for one in worst], "without_mask": list(masked.without), "failed": failed})
        refuse()
        return
    grid = table("view", "agreement", "beyond", "lacking", "", right=("agreement", "beyond", "lacking"))
    for one in worst[:_SHOWN]:
        shares = ("–" if each is None else f"{each:.0%}" for each in (one.agreement, one.beyond, one.lacking))
        grid.add_row(escape(printable(one.name)), *shares, "" if one.agreement is not None else words_of_view(one))
    out().print(grid)
    if masked.without:
        say(f"{len(masked.without)} views have no mask: {', '.join(masked.without[:5])}{_more(masked.without, 5)}.")
    ways = [way for way in ("points", "hull") if any(one.method == way for one in worst)]
    say(f"{len(worst)} views compared by {' and '.join(ways)}; all of them, and the worst as a picture, in {output}/")
    refuse()


def _more(names: Sequence[str], shown: int) -> str:
    return ", ..." if len(names) > shown else ""
