"""Between Label Studio and persam: annotations become references of concepts, concepts become predictions.

A concept is named after its project and label. It keeps its references, each called after its task and annotation, so
that an annotation that is changed or deleted is unlearned: the concept file is all that is kept here.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from persam.concept import Concept
from persam.errors import PersamError
from persam.files import safe_name
from persam.geometry import Size, fit_mask
from persam.masks import read_mask, read_mask_values
from persam.persam import PerSAM
from persam.reference import Reference
from persam.segmentation import Segmentation
from persam.server.engine import Engine
from persam.server.label_studio.fetch import PhotoFetcher
from persam.server.label_studio.labelling import Control, Drawn, Labelling, drawn_by_label, label_of, regions_of
from persam.server.prompting import mask_under
from persam.server.refusals import told
from persam.server.store import ConceptStore, NoConceptError
from persam.server.telemetry import log
from persam.server.uploads import Upload, UploadFolder, stored

MOST_SHOTS = 8  # references of a concept; of more, the last ones
_SCRIBBLE_POINTS = 8
_NOTHING = "persam: nothing learned yet"

Prediction = dict[str, Any]


@dataclass(frozen=True)
class Project:
    """A project of Label Studio: its number, and how its tasks are labelled."""

    number: str
    labelling: Labelling

    @classmethod
    def of(cls, uid: Any, config: Any) -> Project:
        """Read it from what requests say.

        Args:
            uid: its number, or ``NUMBER.TIME``.
            config: its labelling configuration.

        Raises:
            PersamError: something else.
        """
        number = str(uid).partition(".")[0]
        if not re.fullmatch(r"[0-9]{1,12}", number) or not isinstance(config, str):
            raise PersamError("The request names no project of Label Studio and its labelling configuration.")
        return cls(number, Labelling.read(config))

    @property
    def prefix(self) -> str:
        """With which the names of its concepts begin."""
        return f"label-studio-{self.number}-"

    def concept(self, label: str) -> str:
        """Name of a label's concept; labels that would have the same file get names of their own."""
        clean = safe_name(label)[:80]
        other = "" if clean == label else f"-{hashlib.sha256(label.encode('utf-8', 'replace')).hexdigest()[:6]}"
        return f"{self.prefix}{clean}{other}"


class Bridge:
    """Learns from annotations, and predicts.

    Args:
        engine: runs the model.
        concepts: of the service.
        uploads: where photos lie while they are looked at.
        fetcher: gets them.
    """

    def __init__(self, engine: Engine, concepts: ConceptStore, uploads: UploadFolder, fetcher: PhotoFetcher) -> None:
        self.engine, self.concepts, self.uploads, self.fetcher = engine, concepts, uploads, fetcher
        self.last_problem: str | None = None  # of learning, which nobody waits for
        self._one_change = threading.Lock()  # a concept is read, changed and written

    # ---------------------------------------------------------------- what was learned

    def version(self, project: Project) -> str:
        """What predictions are made with: name and content hash of each concept, so that it changes with them."""
        known = self._known(project)
        return ", ".join(f"{each.name}@{each.content_hash}" for each in known.values()) or _NOTHING

    def _known(self, project: Project) -> dict[str, Concept]:
        """The labels of a project that were learned."""
        found = {}
        for label in project.labelling.labels:
            concept = self._load(project.concept(label))
            if concept is not None and project.labelling.of_label(label) is not None:
                found[label] = concept
        return found

    def _load(self, name: str) -> Concept | None:
        try:
            return self.concepts.load(name)
        except NoConceptError:
            return None

    # ---------------------------------------------------------------- learning

    def learn(self, project: Project, task: Mapping[str, Any], annotation: Mapping[str, Any]) -> None:
        """Learn from an annotation, in place of what the same task taught before. Blocks.

        Raises:
            PersamError: the photo is not to be had, a region is damaged, the model finds nothing under a box.
        """
        if annotation.get("was_cancelled"):  # the task was skipped
            return
        source = f"task-{_number(task.get('id'))}-annotation-{_number(annotation.get('id'))}"
        with self._photo(project.labelling.address(task)) as upload:
            pixels, size = upload.read(self._longest)
            drawn = drawn_by_label(annotation.get("result"), size)
            controls = {label: project.labelling.of_label(label) for label in drawn}
            shots = {
                label: self._shot(pixels, size, drawn[label], control, source, upload.sha256)
                for label, control in controls.items()
                if control is not None
            }
        self._replace(project, shots, lambda old: _task(old) == _task(source) or old.endswith("-draft"))

    def learn_draft(self, project: Project, task: Mapping[str, Any], label: str, shot: Reference) -> None:
        """Learn from a region that is being drawn, where nothing submitted says more. Blocks."""
        concept = self._load(project.concept(label))
        if concept is None or all(each.source.endswith("-draft") for each in concept.references):
            source = f"task-{_number(task.get('id'))}-draft"
            self._replace(project, {label: replace(shot, source=source)}, lambda old: old == source, others=False)

    def forget(self, project: Project, annotations: Sequence[int]) -> None:
        """Unlearn annotations that were deleted. Blocks."""
        ends = tuple(f"-annotation-{number}" for number in annotations)
        self._replace(project, {}, lambda old: old.endswith(ends))

    def learn_all(self, project: Project, tasks: Any = None) -> None:
        """Learn anew from annotated tasks of a project; by default from all, as Label Studio exports them. Blocks.

        Raises:
            PersamError: Label Studio does not give them, or something of one cannot be learned.
        """
        if tasks is None:
            tasks = _json(self.fetcher.fetch(f"/api/projects/{project.number}/export?exportType=JSON"))
        annotated = [
            (task, annotation) for task in _mappings(tasks) for annotation in _mappings(task.get("annotations"))
        ]
        problem = None
        for task, annotation in annotated[-MOST_SHOTS * len(project.labelling.labels) :]:
            try:
                self.learn(project, task, annotation)
            except PersamError as error:  # the others teach all the same
                problem = error
        if problem is not None:
            raise problem

    def task(self, number: Any) -> Mapping[str, Any]:
        """A task, where an event does not bring it along. Blocks."""
        task = _json(self.fetcher.fetch(f"/api/tasks/{_number(number)}/"))
        if not isinstance(task, Mapping):
            raise PersamError("Label Studio answers with something else than a task.")
        return task

    def in_background(self, what: str, work: Callable[[], None]) -> None:
        """Do what Label Studio does not wait for; what goes wrong is logged, and told by `last_problem`."""
        try:
            work()
            self.last_problem = None
        except PersamError as error:
            self.last_problem = told(error)
            log("label_studio", level=logging.WARNING, what=what, problem=str(error))

    def _shot(
        self, pixels: np.ndarray, size: Size, drawn: Drawn, control: Control, source: str, sha256: str
    ) -> Reference:
        masks = [] if drawn.mask is None or control.strokes else [drawn.mask]
        prompts = _prompts(drawn)
        if masks:  # clicks say no more than what was painted
            prompts |= {"points": [], "signs": []}
        if prompts["boxes"] or not masks:
            masks.append(self._ask(lambda model: mask_under(model, pixels, size, **prompts)))
        return shot_of(pixels, np.logical_or.reduce(masks), source, sha256)

    def _replace(
        self, project: Project, shots: Mapping[str, Reference], goes: Callable[[str], bool], *, others: bool = True
    ) -> None:
        """Put references in the place of others, in all concepts of a project or only in those that get one."""
        known = [name for name in self.concepts.names() if others and name.startswith(project.prefix)]
        names: dict[str, Reference | None] = dict.fromkeys(known)
        names |= {project.concept(label): shot for label, shot in shots.items()}
        for name, shot in names.items():
            with self._one_change:
                self._change(name, shot, goes)

    def _change(self, name: str, shot: Reference | None, goes: Callable[[str], bool]) -> None:
        old = self._load(name)
        kept = [] if old is None or not old.keeps_references else old.kept_references()
        stays = [not goes(each.source) for each in kept]
        if shot is None and all(stays):
            return
        if shot is None and not any(stays):
            self.concepts.delete(name)
            return

        def work(model: PerSAM) -> Concept:
            adds_only = shot is not None and bool(kept) and all(stays) and len(kept) < MOST_SHOTS
            if adds_only and shot is not None and old is not None and _fits(model, old):
                return model.learn(shot, name=name, base=old, keep_references=True)  # the others stay as they are
            left = [each for each, keep in zip(kept, stays, strict=True) if keep] + ([] if shot is None else [shot])
            return model.learn(left[-MOST_SHOTS:], name=name, keep_references=True)

        self.concepts.save(self._ask(work), overwrite=True)

    def _ask(self, work: Callable[[PerSAM], Any]) -> Any:
        return self.engine.call(work, patient=True).result()

    # ---------------------------------------------------------------- predicting

    async def predict(self, project: Project, tasks: Sequence[Mapping[str, Any]]) -> list[Prediction]:
        """What is proposed in tasks: a prediction for each, in order; of several, one that fails has an ``error``.

        Raises:
            PersamError: the only task's photo is not to be had.
        """
        known = await asyncio.to_thread(self._known, project)
        version = await asyncio.to_thread(self.version, project)
        at_once = asyncio.Semaphore(self.engine.batch)

        async def one(task: Mapping[str, Any]) -> Prediction:
            async with at_once:
                try:
                    return {"model_version": version, **await self._predict(project, known, task)}
                except PersamError as error:
                    if len(tasks) == 1:
                        raise
                    log("label_studio", level=logging.WARNING, what="predict", problem=str(error))
                    return {"model_version": version, "score": 0.0, "result": [], "error": told(error)}

        return list(await asyncio.gather(*map(one, tasks)))

    async def _predict(self, project: Project, known: Mapping[str, Concept], task: Mapping[str, Any]) -> Prediction:
        controls = {label: project.labelling.of_label(label) for label in known}
        wanted = [(label, known[label], control) for label, control in controls.items() if control is not None]
        if not wanted:
            return {"score": 0.0, "result": []}
        most = max(control.max_instances for _, _, control in wanted)
        threshold = min(control.threshold for _, _, control in wanted)
        async with self._photo_of(project, task) as upload:
            concepts = [concept for _, concept, _ in wanted]
            asked = self.engine.segment(upload, concepts, max_instances=most, threshold=threshold)
            found = await asyncio.wrap_future(asked)
        return await asyncio.to_thread(_prediction, wanted, found)

    async def propose(
        self, project: Project, task: Mapping[str, Any], regions: Sequence[Any]
    ) -> tuple[Prediction, Callable[[], None] | None]:
        """A mask under what is being drawn, and the work of learning from it, to be done afterwards.

        Raises:
            PersamError: the photo is not to be had, a region is damaged, the model finds nothing there.
        """
        async with self._photo_of(project, task) as upload:
            pixels, size = await asyncio.to_thread(upload.read, self._longest)
            sha256 = upload.sha256
        version = await asyncio.to_thread(self.version, project)
        nothing = {"model_version": version, "score": 0.0, "result": []}
        drawn = await asyncio.to_thread(drawn_by_label, _of_last_label(regions), size)
        if not drawn:
            return nothing, None
        label, one = next(iter(drawn.items()))
        control = project.labelling.of_label(label)
        if control is None:
            return nothing, None
        prompts = _prompts(one)
        asked = self.engine.call(lambda model: mask_under(model, pixels, size, **prompts))
        mask = await asyncio.wrap_future(asked)
        shot = shot_of(pixels, mask, "", sha256)
        result = await asyncio.to_thread(regions_of, mask, control, label, 1.0)
        return nothing | {"score": 1.0, "result": result}, lambda: self.learn_draft(project, task, label, shot)

    # ---------------------------------------------------------------- photos

    @property
    def _longest(self) -> int | None:
        """Pixels of a photo's longest side that the model can see; the published modes read a photo whole."""
        model = self.engine.model
        return model.longest_side if model.settings.mode == "persam" else None

    def _photo(self, address: str) -> AbstractContextManager[Upload]:
        """A task's photo, in a file while the block lasts."""
        name = "photo" if address[:5].lower() == "data:" else address.partition("?")[0]
        return stored(self.uploads, name, self.fetcher.fetch(address))

    @asynccontextmanager
    async def _photo_of(self, project: Project, task: Mapping[str, Any]) -> AsyncIterator[Upload]:
        """The same, got in another thread."""
        address = project.labelling.address(task)
        with ExitStack() as stack:
            yield await asyncio.to_thread(lambda: stack.enter_context(self._photo(address)))


def shot_of(pixels: np.ndarray, mask: np.ndarray, source: str, sha256: str) -> Reference:
    """A reference of a photo (h, w, 3), perhaps a smaller copy, and a mask (H, W) of it.

    Raises:
        PersamError: the mask is empty, or covers everything.
    """
    small = read_mask(fit_mask(mask, pixels), what="annotation")
    return Reference(pixels, mask=small, mask_values=read_mask_values(small), source=source, sha256=sha256)


def _prediction(wanted: Sequence[tuple[str, Concept, Control]], found: Sequence[Segmentation]) -> Prediction:
    result, scores = [], []
    for (label, _, control), one in zip(wanted, found, strict=True):
        for instance in one.instances[: control.max_instances]:
            if instance.score >= control.threshold:
                scores.append(instance.score)
                result += regions_of(instance.mask, control, label, instance.score)
    # Where nothing is proposed, how near it came: tasks are sorted by it.
    score = float(np.mean(scores)) if scores else max(one.score for one in found)
    return {"score": round(score, 6), "result": result}


def _of_last_label(regions: Sequence[Any]) -> list[Any]:
    """Of all that is drawn at the moment, what has the label of the region that was drawn last."""
    labels = [(label_of(each), each) for each in regions]
    last = next((label for label, _ in reversed(labels) if label is not None), None)
    return [each for label, each in labels if label is not None and label == last]


def _prompts(drawn: Drawn) -> dict[str, Any]:
    """Boxes and clicks; strokes become clicks all over them."""
    points, signs = list(drawn.points), list(drawn.signs)
    if drawn.mask is not None:
        height, width = drawn.mask.shape
        strokes = Reference(np.zeros((height, width, 3), np.uint8), scribble=drawn.mask)
        points += strokes.scribble_points(_SCRIBBLE_POINTS).tolist()
        signs += [1] * (len(points) - len(signs))
    return {"boxes": drawn.boxes, "points": points, "signs": signs}


def _fits(model: PerSAM, concept: Concept) -> bool:
    try:
        model.check(concept)
    except PersamError:  # the service has another model now
        return False
    return concept.settings == model.settings


def _task(source: str) -> str:
    return source.partition("-annotation-")[0]


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**15:
        raise PersamError("A task or annotation of Label Studio has no number.")
    return value


def _mappings(values: Any) -> list[Mapping[str, Any]]:
    """The objects of a list in JSON; none of something else."""
    return [each for each in values if isinstance(each, Mapping)] if isinstance(values, list) else []


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PersamError("Label Studio answers with something that is no JSON; check its address and key.") from error
