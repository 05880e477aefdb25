"""Between Label Studio and persam: annotations become references of concepts, concepts become predictions.

A concept is named after its project and label. It keeps its references, each called after its task and annotation, so
that an annotation that is changed or deleted is unlearned: the concept file is all that is kept here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from persam.concept import Concept
from persam.errors import PersamError
from persam.geometry import Size, fit_mask
from persam.masks import read_mask, read_mask_values
from persam.persam import PerSAM
from persam.reference import Reference
from persam.segmentation import Segmentation
from persam.server.changes import ConceptChanges
from persam.server.engine import Engine
from persam.server.label_studio.fetch import PhotoFetcher
from persam.server.label_studio.in_order import InOrder
from persam.server.label_studio.labelling import (
    Control,
    Drawn,
    Project,
    by_label,
    check_masks,
    drawn_by_label,
    label_of,
    regions_of,
)
from persam.server.prompting import longest_seen, mask_under
from persam.server.refusals import told
from persam.server.store import ConceptStore, NoConceptError
from persam.server.telemetry import log
from persam.server.uploads import Upload, UploadFolder, stored

MOST_SHOTS = 8  # references of a concept; of more, the last ones
_SCRIBBLE_POINTS = 8
_NOTHING = "persam: nothing learned yet"

_DRAFT = "-draft"  # suffix of the source of what was not submitted yet

Prediction = dict[str, Any]
Annotated = tuple[Mapping[str, Any], Mapping[str, Any]]  # a task and an annotation of it


class Bridge:
    """Learns from annotations, and predicts.

    Args:
        engine: runs the model.
        concepts: of the service.
        uploads: where photos lie while they are looked at.
        fetcher: gets them.
        changes: of concepts, which requests of others change, too.
    """

    def __init__(
        self,
        engine: Engine,
        concepts: ConceptStore,
        uploads: UploadFolder,
        fetcher: PhotoFetcher,
        changes: ConceptChanges,
    ) -> None:
        self.engine, self.concepts, self.uploads, self.fetcher = engine, concepts, uploads, fetcher
        self.changes = changes
        self.learning = InOrder()  # of each project one event after another, as they came
        self.last_problem: str | None = None  # of learning, which nobody waits for

    def close(self, timeout: float | None = None) -> None:
        """Learn from what waits, for `timeout` seconds at most, and then from nothing more."""
        self.learning.close(timeout)

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
        number = _number(annotation.get("id"))
        if annotation.get("was_cancelled"):  # the task was skipped, perhaps after it had taught something
            self.forget(project, [number])
            return
        shots = self._shots(project, task, annotation)
        same = f"task-{_number(task.get('id'))}"
        self._replace(project, shots, lambda old: _task(old) == same or old.endswith(_DRAFT))

    def learn_draft(self, project: Project, task: Mapping[str, Any], label: str, shot: Reference) -> None:
        """Learn from a region that is being drawn, where nothing submitted says more. Blocks."""
        source = f"task-{_number(task.get('id'))}{_DRAFT}"
        shots = [replace(shot, source=source)]
        self._change(project.concept(label), shots, lambda old: old == source, is_draft=True)

    def forget(self, project: Project, annotations: Sequence[int]) -> None:
        """Unlearn annotations that were deleted. Blocks."""
        ends = tuple(f"-annotation-{number}" for number in annotations)
        self._replace(project, {}, lambda old: old.endswith(ends))

    def learn_all(self, project: Project, tasks: Any = None) -> None:
        """Learn anew from annotated tasks of a project, and from nothing else: of each label the last ones. Blocks.

        A label keeps what it has where it is annotated, but none of that can be learned.

        Args:
            project: whose concepts are replaced.
            tasks: with their annotations; by default all, as Label Studio exports them.

        Raises:
            PersamError: Label Studio does not give them, or something of one cannot be learned.
        """
        if tasks is None:
            tasks = self.fetcher.ask(f"/api/projects/{project.number}/export?exportType=JSON")
        annotated = _annotated(tasks)
        problem: PersamError | None = None
        for label in project.labelling.labels:  # one after another: so many photos are in memory as teach one label
            try:
                shots, missed = self._last_shots(project, annotated.get(label, []), label)
                problem = missed or problem
                if shots or missed is None:
                    self._change(project.concept(label), shots, lambda _: True)
            except PersamError as error:  # the others teach all the same
                problem = error
        left = {project.concept(label) for label in project.labelling.labels}
        for name in self.concepts.names():
            if name.startswith(project.prefix) and name not in left:
                self._change(name, [], lambda _: True)
        if problem is not None:
            raise problem

    def _last_shots(
        self, project: Project, annotated: Sequence[Annotated], label: str
    ) -> tuple[list[Reference], PersamError | None]:
        """Of a label the last references that can be had, in order, and what was wrong with another."""
        shots: list[Reference] = []
        problem, missed = None, 0
        for task, annotation in reversed(annotated):
            if len(shots) == MOST_SHOTS or missed > MOST_SHOTS:  # of a host that hangs not every photo is waited for
                break
            try:
                shots += self._shots(project, task, annotation, only=label).values()
            except PersamError as error:
                problem, missed = error, missed + 1
        return shots[::-1], problem

    def _shots(
        self, project: Project, task: Mapping[str, Any], annotation: Mapping[str, Any], only: str | None = None
    ) -> dict[str, Reference]:
        """What an annotation shows of each label, or of one."""
        source = f"task-{_number(task.get('id'))}-annotation-{_number(annotation.get('id'))}"
        regions = {label: those for label, those in by_label(annotation.get("result")).items() if only in (None, label)}
        controls = {label: control for label in regions if (control := project.labelling.of_label(label)) is not None}
        if not controls:
            return {}
        address, shots = project.labelling.address(task), {}
        with stored(self.uploads, _file_name(address), self.fetcher.fetch(address)) as upload:
            pixels, size = upload.read(longest_seen(self.engine.model))
            check_masks([each for label in controls for each in regions[label]], size)
            for label, control in controls.items():  # one mask of the photo's size at a time
                for drawn in drawn_by_label(regions[label], size).values():
                    shots[label] = self._shot(pixels, size, drawn, control, source, upload.sha256)
        return shots

    def task(self, number: Any) -> Mapping[str, Any]:
        """A task, where an event does not bring it along. Blocks."""
        task = self.fetcher.ask(f"/api/tasks/{_number(number)}/")
        if not isinstance(task, Mapping):
            raise PersamError("Label Studio answers with something else than a task.")
        return task

    def in_background(self, project: Project, what: str, work: Callable[[], None]) -> None:
        """Do what Label Studio does not wait for, after all that came before of the project.

        What goes wrong is logged, and told by `last_problem`.

        Args:
            project: that it is done for.
            what: a word for the log.
            work: to be done.

        Raises:
            CrowdedError: too much waits already.
            StoppingError: the service stops.
        """

        def done() -> None:
            try:
                work()
                self.last_problem = None
            except PersamError as error:
                self.last_problem = told(error)
                log("label_studio", level=logging.WARNING, what=what, problem=str(error))
            except Exception:
                self.last_problem = "Something went wrong in the service while it learned; its log says what."
                log("label_studio went wrong", level=logging.ERROR, trace=True, what=what)

        self.learning.add(project.number, done)

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

    def _replace(self, project: Project, shots: Mapping[str, Reference], goes: Callable[[str], bool]) -> None:
        """Put references in the place of others, in all concepts of a project."""
        names: dict[str, Reference | None] = {
            name: None for name in self.concepts.names() if name.startswith(project.prefix)
        }
        names |= {project.concept(label): shot for label, shot in shots.items()}
        for name, shot in names.items():
            self._change(name, [] if shot is None else [shot], goes)

    def _change(
        self, name: str, shots: Sequence[Reference], goes: Callable[[str], bool], *, is_draft: bool = False
    ) -> None:
        """Put references in the place of others in a concept; of a draft, if there are drafts alone."""
        with self.changes.held(name):
            old = self._load(name)
            if is_draft and old is not None and not all(each.source.endswith(_DRAFT) for each in old.references):
                return
            kept = [] if old is None or not old.keeps_references else old.kept_references()
            stays = [not goes(each.source) for each in kept]
            if not shots and all(stays):
                return
            if not shots and not any(stays):
                self.concepts.delete(name)
                return
            left = [each for each, keep in zip(kept, stays, strict=True) if keep]

            def work(model: PerSAM) -> Concept:
                adds_only = bool(shots) and len(left) == len(kept) and 0 < len(kept) <= MOST_SHOTS - len(shots)
                if adds_only and old is not None and _fits(model, old):  # the others stay as they are
                    learned = model.learn(list(shots), name=name, base=old, keep_references=True)
                else:
                    learned = model.learn([*left, *shots][-MOST_SHOTS:], name=name, keep_references=True)
                return model.tune(learned) if old is not None and old.tuned else learned

            self.concepts.save(self._ask(work), overwrite=True)

    def _ask(self, work: Callable[[PerSAM], Any]) -> Any:
        return self.engine.call(work, patient=True).result()

    # ---------------------------------------------------------------- predicting

    async def predict(self, project: Project, tasks: Sequence[Mapping[str, Any]]) -> list[Prediction]:
        """What is proposed in tasks: a prediction for each, in order; of several, one that fails has an ``error``.

        Raises:
            PersamError: the only task's photo is not to be had; or the service is busy, or stops.
        """
        known = await asyncio.to_thread(self._known, project)
        version = await asyncio.to_thread(self.version, project)
        at_once = asyncio.Semaphore(self.engine.batch)

        async def one(task: Mapping[str, Any]) -> Prediction:
            async with at_once:
                try:
                    return {"model_version": version, **await self._predict(project, known, task)}
                except PersamError as error:
                    if len(tasks) == 1 or getattr(error, "retry_after", None) is not None:  # nothing was looked at
                        raise
                    log("label_studio", level=logging.WARNING, what="predict", problem=str(error))
                    return {"model_version": version, "score": 0.0, "result": [], "error": told(error)}

        asks = [asyncio.ensure_future(one(task)) for task in tasks]
        try:
            return list(await asyncio.gather(*asks))
        finally:
            for each in asks:  # of one that failed the others are not wanted any more
                each.cancel()

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
            longest = longest_seen(self.engine.model)
            pixels, size = await self.uploads.decode(lambda: upload.read(longest))
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

    @asynccontextmanager
    async def _photo_of(self, project: Project, task: Mapping[str, Any]) -> AsyncIterator[Upload]:
        """A task's photo, in a file while the block lasts."""
        address = project.labelling.address(task)
        data = await self.fetcher.fetched(address)
        with ExitStack() as stack:
            yield await asyncio.to_thread(stack.enter_context, stored(self.uploads, _file_name(address), data))


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


def _annotated(tasks: Any) -> dict[str, list[Annotated]]:
    """For each label the tasks in which it is annotated, in order; of a task its last annotation counts alone."""
    found: dict[str, list[Annotated]] = {}
    for task in _mappings(tasks):
        done = [each for each in _mappings(task.get("annotations")) if not each.get("was_cancelled")]
        for label in by_label(done[-1].get("result")) if done else ():
            found.setdefault(label, []).append((task, done[-1]))
    return found


def _file_name(address: str) -> str:
    return "photo" if address[:5].lower() == "data:" else address.partition("?")[0]
