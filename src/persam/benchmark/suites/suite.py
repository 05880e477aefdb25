"""What suites share: the photos that they are run on, rows of figures, and the forms in which people take them away.

A suite is a set of methods on one set of photos. Its tables stand side by side with the paper's numbers where there
are any, and every number comes with what it was measured on.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from persam.benchmark.datasets import catalog
from persam.benchmark.episodes import Episode, data_hash, limited
from persam.benchmark.methods.base import Method
from persam.benchmark.methods.ours import names_of
from persam.benchmark.records import Record, grouped
from persam.benchmark.reporting.protocols import PERSEG
from persam.benchmark.reporting.summary import Summary, summarise
from persam.benchmark.reporting.tables import percent
from persam.benchmark.running.run import SURVIVABLE, run
from persam.errors import UsageError, first_line
from persam.files import check_folder, expanded, write_bytes, write_text
from persam.ledger import claimed
from persam.method.settings import Settings
from persam.metrics import PairedTest, paired_test
from persam.models.base import FeatureEncoder, PromptableModel
from persam.models.encode_once import encode_once
from persam.models.fitted import Fitted
from persam.persam import PerSAM
from persam.reports.provenance import versions, weights_hash
from persam.reports.tables import Table

PROTOCOL = (
    "every photo on its own, the references left out; mIoU: intersection and union pooled over an object's photos, "
    "mean over objects, as published for PerSeg; IoU per image: mean over photos; located: share of photos in which "
    "the peak of the confidence map lies on the object; a photo without an answer counts as an empty mask"
)
INTERVALS = (
    "In percent; [..] is a 95 % bootstrap interval: over objects for mIoU, over photos for IoU per image and located; "
    "for a change of IoU per image whole objects are drawn, the same in both rows (photos, if there is one object)"
)
RESULTS, TABLE = "metrics.json", "table.md"
# Of suites that draw some.
PICTURES = {
    "robustness": ("robustness.png",),
    "presence": ("reliability.png",),
    "corrections": ("corrections.png",),
    "serve": ("serve.png",),
}


@dataclass(frozen=True)
class PhotoSet:
    """What a suite is run on.

    Attributes:
        episodes: of one data set or several.
        source: which data sets they are of.
        limit: that the number of photos was cut to, or None for all.
    """

    episodes: tuple[Episode, ...]
    source: str
    limit: int | None = None

    @property
    def count(self) -> int:
        """Photos in which an object is looked for."""
        return sum(len(episode.tests) for episode in self.episodes)

    def about(self) -> dict[str, Any]:
        """What every number of a suite was measured on, and how."""
        return {
            "data": self.source,
            "data_fingerprint": data_hash(self.episodes),
            "photos": self.count,
            "limit": self.limit,
            "objects": len({(episode.data_set, episode.object) for episode in self.episodes}),
            "protocol": PROTOCOL,
            "versions": versions(),
        }


def read_photos(root: Path, data_set: str | None = None, limit: int | None = None, **options: Any) -> PhotoSet:
    """One data set of the catalogue, or, without a name, what a folder turns out to be.

    Args:
        root: the data set's folder, or the one that holds ``perseg/``, ``fss/``, ``davis/``.
        data_set: its name, or None for all of those three that are there, or else for what `root` itself is laid out
            as: photos with their masks, PerSeg, FSS-1000 or DAVIS.
        limit: no more photos than this, in turns from every object; None for all.
        options: of the data set that was named.

    Raises:
        UsageError: no such data set, no such option of it, or the folder is laid out otherwise.
    """
    home = expanded(root)
    loaded = catalog.read_recognised(home) if data_set is None else catalog.read(data_set, home, **options)
    episodes = tuple(catalog.read_together(home) if loaded is None else loaded.episodes)
    if limit is not None:
        episodes = tuple(episode for episode in limited(episodes, limit) if episode.tests)
    if loaded is not None:
        return PhotoSet(episodes, f"{loaded.name}: {loaded.protocol}", limit)
    names = dict.fromkeys(episode.data_set for episode in episodes)
    together = ", ".join({"davis": "davis (every 8th frame)"}.get(name, name) for name in names)
    return PhotoSet(episodes, f"{together}; the first photo of an object is its reference", limit)


# -------------------------------------------------------------------------- run


@dataclass(frozen=True)
class Trial:
    """What a suite of one model is run on and with.

    Attributes:
        photos: on which.
        model: the promptable model.
        encoder: another encoder for the confidence map, or None.
        solver: of PerSAM-F.
        progress: called after every photo.
        fitted: numbers of model and encoder; by default the packaged ones, if any.
    """

    photos: PhotoSet
    model: PromptableModel
    encoder: FeatureEncoder | None = None
    solver: str = "direct"
    progress: Callable[[], object] | None = None
    fitted: Fitted | None = None

    @cached_property
    def shared(self) -> dict[str, Any]:
        """Options that all methods of the suite have, for `PersamMethod`; a photo is encoded once for all of them."""
        matcher = None if self.encoder is None else encode_once(self.encoder)
        return {"model": encode_once(self.model), "encoder": matcher, "solver": self.solver, "fitted": self.fitted}

    def persam(self, mode: str) -> PerSAM:
        """PerSAM in a mode, with all of this."""
        model, encoder = self.shared["model"], self.shared["encoder"]
        return PerSAM(model, encoder=encoder, settings=Settings.of(mode), fitted=self.fitted)

    def run(self, methods: Sequence[Method], **about: Any) -> Results:
        """What the methods find; `about` is what else all of their numbers are measured with, such as the mode."""
        return Results(run(self.photos.episodes, methods, self.progress), self.about(**about))

    def about(self, **more: Any) -> dict[str, Any]:
        """What every number is measured with and on; `more` is what else belongs to it, such as the mode."""
        weights = {
            "weights_sha256": weights_hash(self.model),
            "encoder_weights_sha256": self.encoder and weights_hash(self.encoder),
        }
        fitted = {} if self.fitted is None else {"fitted": self.fitted.to_dict()}
        return about_model(self.model, self.encoder) | weights | fitted | more | self.photos.about()


@dataclass(frozen=True)
class Results:
    """What methods found in the photos of a suite: all that its rows and tables are made of.

    Attributes:
        records: of all methods.
        about: what every number was measured with and on.
    """

    records: Sequence[Record]
    about: dict[str, Any]

    @cached_property
    def by_method(self) -> dict[str, list[Record]]:
        """The records of each method. Of several data sets objects are called ``DATA_SET/OBJECT``.

        Two data sets may both have a dog; they are two objects.
        """
        records = self.records
        if len({record.data_set for record in records}) > 1:
            records = [replace(record, object=f"{record.data_set}/{record.object}") for record in records]
        return grouped(records, "method")

    @cached_property
    def summaries(self) -> dict[str, Summary]:
        """Every method's figures, by its name."""
        return {name: summarise(records, PERSEG)[0] for name, records in self.by_method.items()}

    def difference(self, method: str, against: str | None) -> PairedTest | None:
        """IoU per image of a method less that of another on the same photos, whole objects drawn; of nothing, None.

        Raises:
            ValueError: the methods were not asked the same.
        """
        if against is None:
            return None
        first, second = ({record.query: record.iou for record in self.by_method[name]} for name in (against, method))
        objects = {record.query: record.object for record in self.by_method[against]}
        return paired_test(first, second, objects if len(set(objects.values())) > 1 else None)

    def score(self, method: str, key: str) -> str:
        """A method's figure in percent with its interval, ``51.2 [41.0, 62.3]``; a dash where it was not measured."""
        return percent(self.summaries[method].figures.get(key))

    def numbers(self, method: str) -> dict[str, Any]:
        """A method's figures as flat JSON values: ``miou``, ``miou_interval``, and so on."""
        summary = self.summaries[method]
        row: dict[str, Any] = {"method": method, "photos": summary.photos, "objects": summary.objects}
        for key in ("miou", "iou", "located"):
            if key in summary.figures:
                figure = summary.figures[key]
                row |= {key: figure.value, f"{key}_interval": figure.over_images or figure.over_objects}
        by_object = {name: figures["iou_pooled"] for name, figures in summary.by_object.items()}
        return row | {"by_data_set": summary.by_data_set, "by_object": by_object, "missing": summary.missing}

    def missing(self) -> list[str]:
        """A sentence for every method that gave no answer on some photos."""
        return [
            f"{name} gave no answer on {len(summary.missing)} of {summary.photos} photos, such as "
            f"{next(iter(summary.missing))}: {next(iter(summary.missing.values()))}"
            for name, summary in self.summaries.items()
            if summary.missing
        ]

    def findings(
        self,
        suite: str,
        rows: Mapping[str, dict[str, Any]],
        tables: Sequence[Table],
        notes: Sequence[str] = (),
    ) -> Findings:
        """All of it, to be taken away; `rows` are values by name of a method that stand beside its figures."""
        whole = [self.numbers(name) | more for name, more in rows.items()]
        return Findings(suite, self.about, whole, tables, [*notes, *self.missing()])


@dataclass
class Missed:
    """What a suite could not measure: it goes on without, and tells of it.

    Attributes:
        reasons: a name each, and why.
    """

    reasons: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def over(self, name: str) -> Iterator[None]:
        """Pass over what one photo or concept can do to the block; it ends there."""
        try:
            yield
        except SURVIVABLE as error:
            self.reasons.append(f"{name}: {first_line(error).rstrip('.')}")

    def notes(self, what: str) -> list[str]:
        """A sentence on `what`, such as "scenes could not be measured", if there is anything to tell."""
        return [f"{len(self.reasons)} {what} and are left out, such as {self.reasons[0]}."] if self.reasons else []


def change(test: PairedTest | None) -> str:
    """A paired difference in percent points with its interval; a dash where there is nothing to compare with."""
    if test is None:
        return "–"
    return f"{100 * test.difference:+.1f} [{100 * test.low:+.1f}, {100 * test.high:+.1f}]"


# --------------------------------------------------------------------- taken away


@dataclass(frozen=True)
class Findings:
    """What a suite found.

    Attributes:
        suite: its name.
        about: what all of its numbers were measured with and on: model, encoder, mode, protocol, counts, ... JSON.
        rows: the numbers, JSON values.
        tables: the same for people.
        notes: sentences that belong under the tables.
        plots: pictures by file name, each drawn as PNG bytes when asked for.
    """

    suite: str
    about: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    tables: Sequence[Table]
    notes: Sequence[str] = ()
    plots: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"suite": self.suite, **self.about, "rows": list(self.rows), "notes": list(self.notes)}

    def to_markdown(self) -> str:
        """All tables, and what is to be known about them."""
        notes = "".join(f"- {note}\n" for note in self.below())
        return "\n".join([*(each.markdown() for each in self.tables), notes])

    def below(self) -> list[str]:
        """What is to be read with all of the tables."""
        if "protocol" not in self.about:
            return list(self.notes)
        said = [
            f"Data: {self.about['data'].rstrip('.')}.",
            f"Protocol: {self.about['protocol']}.",
            f"{self.about.get('intervals', INTERVALS)}.",
        ]
        if self.about.get("limit") is not None:
            said.insert(1, f"No more than {self.about['limit']} photos, in turns from every object: a quick look.")
        return [*said, *self.notes]

    def write(self, folder: Path) -> list[Path]:
        """Write ``metrics.json``, ``table.md`` and the pictures; return their paths.

        Raises:
            PersamError: the folder cannot be written.
        """
        folder = expanded(folder)
        drawn = {folder / name: draw() for name, draw in self.plots.items()}
        for path, picture in drawn.items():
            write_bytes(path, picture)
        write_text(folder / RESULTS, json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n")
        write_text(folder / TABLE, self.to_markdown())
        return [folder / RESULTS, folder / TABLE, *drawn]


def check_out(folder: Path, suite: str) -> None:
    """See before a long run that `Findings.write` will be able to, and over nothing but an earlier run of the suite.

    Raises:
        UsageError: it is a file, or holds the results of something else.
        PersamError: it cannot be written.
    """
    with claimed_out(folder, suite):
        pass


@contextlib.contextmanager
def claimed_out(folder: Path | None, suite: str) -> Iterator[None]:
    """Hold the folder of a suite's findings while they are measured; the checks are those of `check_out`."""
    if folder is None:
        yield
        return
    check_folder(folder)
    results = expanded(folder) / RESULTS
    if results.is_file():
        try:
            earlier = json.loads(results.read_text(encoding="utf-8")).get("suite")
        except (OSError, ValueError, AttributeError):
            earlier = None
        if earlier != suite:
            raise UsageError(f"{results} is not of persam bench {suite} and would be lost; choose another --output.")
    files = [RESULTS, TABLE, *PICTURES.get(suite, ())]
    advice = "choose another --output, or move it away"
    with claimed(folder, files, is_ours=lambda home: (home / RESULTS).is_file(), advice=advice):
        yield


def about_model(model: PromptableModel, encoder: FeatureEncoder | None) -> dict[str, Any]:
    """What numbers were measured with."""
    return {**names_of(model, encoder), "device": model.device.type}


def headline(about: Mapping[str, Any]) -> str:
    """What stands over a table: model, encoder, mode and number of photos, as far as they are the same for all rows."""
    words = [f"{about['model']} ({about['fingerprint']})" if about.get("model") else ""]
    words.append(f"encoder {about['encoder'] or 'its own'}" if "encoder" in about else "")
    words.append(f"mode {about['mode']}" if about.get("mode") else "")
    words.append(f"{about['photos']} photos of {about['objects']} objects" if "photos" in about else "")
    words.append(f"{about['questions']} questions" if "questions" in about else "")
    return ", ".join(word for word in words if word)
