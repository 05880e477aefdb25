"""`persam bench compare`: whether two runs differ, by how much, and where."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from persam.cli.console import out, print_json, say, table
from persam.cli.options import Json
from persam.errors import UsageError

if TYPE_CHECKING:
    from persam.benchmark.compare import Comparison
    from persam.metrics import PairedTest


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN_A", help="Folder of a run (--output).", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="RUN_B", help="Folder of another.", show_default=False)],
    methods: Annotated[
        str | None, typer.Option(help="A,B: this method of the first with that of the second; default: equal names.")
    ] = None,
    json: Json = False,
) -> None:
    """Compare two runs photo by photo: difference of the IoU, its interval, a p value, and where they differ most.

    [bold]Example[/bold]: persam bench compare runs/official runs/persam
    """
    from persam.benchmark.compare import compare_runs

    found = compare_runs(first, second, _pair(methods))
    if json:
        print_json([asdict(each) for each in found])
        return
    for each in found:
        _print(each, first, second)


def _pair(methods: str | None) -> tuple[str, str] | None:
    if methods is None:
        return None
    parts = [part.strip() for part in methods.split(",")]
    if len(parts) != 2 or not all(parts):
        raise UsageError(
            f"--methods takes two names with a comma between them, such as persam,persam-f, not {methods!r}."
        )
    return parts[0], parts[1]


def _print(found: Comparison, first: Path, second: Path) -> None:
    console = out()
    one, other = f"{first.name}: {found.first}", f"{second.name}: {found.second}"
    console.print(escape(f"{other} less {one}, IoU per image, {found.photos} photos"), style="bold")
    grid = table("drawn", one, other, "difference", "95 % interval", "p", "units", right=("difference", "p", "units"))
    rows: list[tuple[str, PairedTest | None]] = [("photos", found.over_photos), ("objects", found.over_objects)]
    for what, test in rows:
        if test is not None:
            grid.add_row(
                what,
                f"{100 * found.means[0]:.1f}",
                f"{100 * found.means[1]:.1f}",
                f"{100 * test.difference:+.1f}",
                escape(f"[{100 * test.low:+.1f}, {100 * test.high:+.1f}]"),
                f"{test.p_value:.4f}",
                str(test.units),
            )
    console.print(grid)
    console.print(
        "Paired, on the same photos: the interval is a bootstrap of the difference, p a sign-flip permutation test; "
        "photos or whole objects are drawn.",
        style="dim",
    )
    if found.most_different:
        grid = table("where they differ most", one, other, "difference", right=("difference",))
        for name, left, right in found.most_different:
            grid.add_row(escape(name), f"{left:.3f}", f"{right:.3f}", f"{right - left:+.3f}")
        console.print(grid)
    for names, what in (
        (found.only_first, f"only in {first}"),
        (found.only_second, f"only in {second}"),
        (found.changed, "with other pixels or another truth in the two runs"),
    ):
        if names:
            more = ", ..." if len(names) > 10 else ""
            say(f"{len(names)} photos are {what} and were left out: {', '.join(names[:10])}{more}.")
