"""Does it know when the thing is not there, and which photos have it?  Everything is looked for in all photos."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from persam.benchmark.absence.plots import draw_reliability
from persam.benchmark.absence.report import RELIABILITY, AbsentReport
from persam.benchmark.methods.ours import PersamMethod
from persam.benchmark.records import presence_queries
from persam.benchmark.running.run import ask
from persam.benchmark.suites.suite import Findings, Trial, headline
from persam.errors import UsageError
from persam.method.cues import fuses_cues
from persam.method.settings import Settings

PROTOCOL = "every object is looked for in the photos of all objects, the references left out, each photo on its own"
INTERVALS = "[..] is a 95 % bootstrap interval: over photos for whether a thing is there, over things for searches"


def ask_presence(trial: Trial, mode: str = "persam") -> Findings:
    """The score of PerSAM and PerSAM-F; of the similarity alone, which is all that there is without fitted numbers.

    Args:
        trial: on what and with what.
        mode: of the method; ``official`` stands beside it.

    Raises:
        UsageError: no such mode; one object alone, so that it is absent nowhere.
    """
    settings = Settings.of(mode)
    forms: dict[str, dict[str, Any]] = {
        f"{mode} PerSAM": {"settings": settings},
        f"{mode} PerSAM-F": {"settings": settings, "tuned": True},
    }
    if fuses_cues(settings):
        plain = settings.but(nearest_cue=False, background_cue=False, colour_cue=False, refine=False)
        forms["similarity alone"] = {"settings": plain}
    if mode != "official":
        forms["official PerSAM"] = {"settings": Settings.of("official")}
    methods = [PersamMethod(name, **trial.shared, **form) for name, form in forms.items()]
    # Two data sets may both have a dog; they are two things.
    episodes = [replace(each, object=f"{each.data_set}/{each.object}") for each in trial.photos.episodes]
    if len({each.object for each in episodes}) < 2:
        raise UsageError("There is one object alone; presence looks for each in the photos of the others.")
    answers = ask(presence_queries(episodes), methods, trial.progress, masks=False)
    about = trial.about(mode=mode, solver=trial.solver) | {"protocol": PROTOCOL, "intervals": INTERVALS}
    report = AbsentReport(headline(about), answers, about)
    rankings = {ranking.method: asdict(ranking) for ranking in report.rankings}
    rows = [asdict(summary) | {"ranking": rankings[summary.method]} for summary in report.summaries]
    calibrated = any(summary.calibration is not None for summary in report.summaries)
    plots = {RELIABILITY: lambda: draw_reliability(report.summaries, report.title) or b""} if calibrated else {}
    return Findings("presence", about, rows, [report.table(), report.ranking_table()], (), plots)
