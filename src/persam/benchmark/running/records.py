"""Records: one method's answer on one photo, measured. All tables and plots are computed from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from persam.metrics import Counts


@dataclass(frozen=True)
class Record:
    """One method's answer on one photo, measured.

    Attributes:
        method: name of the method.
        data_set: name of the data set.
        object: what was looked for.
        sample: name of the photo within its data set.
        references: names of the photos that showed the object.
        fold: of the data set's protocol, or None.
        counts: of the mask against the truth.
        on_object: whether the method's peak lies on the object; None where it names none or there is no object.
        score: how sure the method is that the object is there; None if it did not answer.
        present: the method's own verdict on that, or None.
        seconds: for this photo, without the encoding if another method had made it.
        boundary: of the boundaries of both masks, for boundary IoU; None where it was not measured.
        contour: boundary F of DAVIS, in [0, 1]; None where it was not measured.
        query: name of the question in its run: the sample's, with a number where a photo is asked more than once.
        digest: of photo and truth as read, so that two runs can be told to be about the same pixels.
        failure: why there is no answer, or None. What failed counts as an empty mask.
    """

    method: str
    data_set: str
    object: str
    sample: str
    references: tuple[str, ...]
    fold: int | None
    counts: Counts
    on_object: bool | None
    score: float | None
    present: bool | None
    seconds: float
    boundary: Counts | None = None
    contour: float | None = None
    query: str = ""
    digest: str = ""
    failure: str | None = None

    @property
    def iou(self) -> float:
        """Of this photo, in [0, 1]; 0 if the method failed, even where nothing was to be found."""
        return 0.0 if self.failure is not None else self.counts.iou

    @property
    def boundary_iou(self) -> float | None:
        """Boundary IoU of this photo, in [0, 1]; None where it was not measured."""
        if self.boundary is None:
            return None
        return 0.0 if self.failure is not None else self.boundary.iou

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"references": list(self.references)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Record:
        """Undo `to_dict`.

        Raises:
            TypeError, KeyError: a part is missing, or there is one that a record does not have.
        """
        parts = dict(values)
        parts["references"] = tuple(parts["references"])
        parts["counts"] = Counts(**parts["counts"])
        parts["boundary"] = None if parts["boundary"] is None else Counts(**parts["boundary"])
        return cls(**parts)
