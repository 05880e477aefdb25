"""What `persam album` says of a run: a line, a table, JSON, and what to correct next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from persam.cli.console import out, say, table
from persam.errors import printable
from persam.places import Place

if TYPE_CHECKING:
    from persam.album.run import AlbumReport
    from persam.concept import Concept

WORTH_SAYING = 0.05  # expected gain from which on a photo is said to be worth a correction
MOST_TOLD = 10  # of them with --json; correct.csv has more


def what_was_done(report: AlbumReport, output: Place, seconds: float) -> str:
    """One line on a run."""
    parts = [f"{report.done_now} photos done"]
    if report.known:
        parts.append(f"{report.known} of them without looking again")
    if report.done_before:
        parts.append(f"{report.done_before} were done before")
    if report.kept:
        parts.append(f"left as you corrected them: {len(report.kept)}")
    if report.gone:
        parts.append(f"gone: {len(report.gone)}")
    return f"{', '.join(parts)}; {seconds:.1f} s; all of it in {output}/"


def say_what_next(report: AlbumReport, folder: Place, files: Mapping[str, str], concepts: Sequence[Concept]) -> None:
    """Name the photo that is most worth correcting, of the concepts with these files; none, if none is."""
    closed = {each.name for each in concepts if each.tuned and not each.keeps_references}
    for one in report.worth:
        if one.concept in files and one.gain >= WORTH_SAYING:
            what = f"{one.concept}: {one.verdict}, score {one.score:.2f}"
            command = f"persam album fix {quote(str(folder))} {quote(files[one.concept])}"
            say(f"Most worth correcting next: {one.image} ({what}); correct {folder}/{one.mask} and run {command}.")
            if one.concept in closed:
                say(
                    f"For that {one.concept}, being tuned, has to keep its photo: learn it again with --keep-reference."
                )
            return


def print_table(report: AlbumReport) -> None:
    """How many photos show each thing."""
    grid = table("object", "present", "unsure", "absent", right=("present", "unsure", "absent"))
    for name, verdicts in sorted(report.verdicts.items()):
        grid.add_row(escape(printable(name)), *(str(verdicts[each]) for each in ("present", "unsure", "absent")))
    out().print(grid)
    if any(verdicts["unsure"] for verdicts in report.verdicts.values()):
        out().print("The unsure ones are listed in unsure.csv; have a look.", markup=False)


def summary_of(report: AlbumReport, output: Place, seconds: float, *, stopped: bool) -> dict[str, Any]:
    """All of it as JSON values."""
    return {
        "output": str(output),
        "photos": report.photos,
        "done_now": report.done_now,
        "done_before": report.done_before,
        "known": report.known,
        "kept": report.kept,
        "gone": report.gone,
        "worth_correcting": [vars(one) for one in report.worth[:MOST_TOLD]],
        "verdicts": {name: dict(verdicts) for name, verdicts in report.verdicts.items()},
        "failed": failed_ones(report.failures),
        "stopped": stopped,
        "seconds": round(seconds, 2),
    }


def failed_ones(failures: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """Photos that could not be done, as JSON values."""
    return [{"image": photo, "error": problem} for photo, problem in failures]
