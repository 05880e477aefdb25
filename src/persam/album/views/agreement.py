"""Which views' masks disagree with the others: by matched points where there are some, else by the visual hull.

Points: a point that was matched in several photos is on the thing in all of them, or in none. A view is asked for the
points of which the majority of the other views says one or the other.

Hull: the places of the world that lie in the other views' masks. A mask that shows more than their hull covers shows
something that they do not; and where a view's own mask takes off the hull what the others' masks show, it lacks that.
(That the hull projects beyond a mask is no fault by itself: every view carves more off a hull.) The view that agrees
least is then no longer asked about the others, and so on, down to two thirds of the views.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from persam.album.views.cameras import CameraView
from persam.errors import PersamError

FEWEST = 3  # views: of two nobody knows which is wrong
GRID = 64  # voxels along an edge of the cube around the thing
_ENOUGH = 8  # points that one of both has on the thing, so that a share of them says something
_MOST_OTHERS = 16  # views in which it is looked what a mask takes off the hull
_BELIEVED = 0.05  # of a mask may be beyond the hull for it to say what another mask takes off the hull
_TRUSTED = 0.9  # agreement below which a view is no longer asked about the others, the worst first
_ROOM = 1.25  # of the cube, beyond what the masks show of the thing


@dataclass(frozen=True, eq=False)
class MaskedView:
    """A view and the mask of the thing in it, (H, W) bool at the camera's size."""

    view: CameraView
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class ViewAgreement:
    """How far a view's mask agrees with the others'.

    Attributes:
        name: of the view.
        agreement: 0 to 1; None where nothing tells: no point on the thing, or the thing is not in the photo.
        beyond: share of what the mask shows that the others say is not the thing.
        lacking: share of what the others say is the thing that the mask lacks; of the hull: the largest share of
            another view's mask that is lost by it.
        counted: points that this view or the others have on the thing; of the hull: pixels of the mask.
        method: ``points`` or ``hull``.
        pixels: of points that were counted, (N, 2), to look at.
        kinds: of each, (N,): 0 both say it is the thing, 1 only this view, 2 only the others.
    """

    name: str
    agreement: float | None
    beyond: float | None
    lacking: float | None
    counted: int
    method: str
    pixels: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    kinds: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


def worst_first(found: Sequence[ViewAgreement]) -> list[ViewAgreement]:
    """The views that agree least, first; those of which nothing is known last."""
    return sorted(found, key=lambda one: (one.agreement is None, one.agreement or 0.0, one.name))


def compare_views(
    views: Sequence[MaskedView],
    method: str = "auto",
    *,
    grid: int = GRID,
    progress: Callable[[], object] = lambda: None,
) -> list[ViewAgreement]:
    """Compare every view's mask with the others'.

    Args:
        views: three or more.
        method: ``points``, ``hull``, or ``auto``: points where more than half of the views have enough of them on the
            thing, and the hull for the others; else the hull.
        grid: voxels along an edge of the hull's cube.
        progress: called now and then.

    Raises:
        PersamError: fewer than three views, no point was matched though ``points`` are wanted, or no hull can be made.
    """
    if len(views) < FEWEST:
        raise PersamError(
            f"{len(views)} views have a mask and a pose; {FEWEST} are needed, for of two nobody knows which is wrong."
        )
    if method == "hull":
        return by_hull(views, grid=grid, progress=progress)
    found = by_points(views)
    told = sum(one.agreement is not None for one in found)
    if method == "points":
        if told == 0:
            raise PersamError(
                "No matched point is on the thing in any view, so points tell nothing; leave out --by points."
            )
        return found
    if 2 * told <= len(views):
        return by_hull(views, grid=grid, progress=progress)
    return found if told == len(views) else _with_hull(found, views, grid, progress)


def _with_hull(
    found: list[ViewAgreement], views: Sequence[MaskedView], grid: int, progress: Callable[[], object]
) -> list[ViewAgreement]:
    """By the hull what the points leave without a judgement; without one where no hull can be made."""
    try:
        hull = by_hull(views, grid=grid, progress=progress)
    except PersamError:
        return found
    return [
        other if one.agreement is None and other.agreement is not None else one
        for one, other in zip(found, hull, strict=True)
    ]


# ------------------------------------------------------------------------------------------------------- points


def by_points(views: Sequence[MaskedView]) -> list[ViewAgreement]:
    """Compare by matched points: see the module."""
    on_thing = [_inside(one.mask, one.view.observed) for one in views]
    numbers, place = np.unique(np.concatenate([one.view.points for one in views]), return_inverse=True)
    seen = np.bincount(place, minlength=len(numbers))
    on = np.bincount(place, weights=np.concatenate(on_thing), minlength=len(numbers))
    found, start = [], 0
    for one, own in zip(views, on_thing, strict=True):
        of_view = place[start : start + len(own)]
        start += len(own)
        others, others_on = seen[of_view] - 1, on[of_view] - own
        theirs = 2 * others_on > others
        told = (others > 0) & (2 * others_on != others) & (own | theirs)
        found.append(_of_points(one.view, own[told], theirs[told], told))
    return found


def _of_points(view: CameraView, own: np.ndarray, theirs: np.ndarray, told: np.ndarray) -> ViewAgreement:
    both, count = int((own & theirs).sum()), len(own)
    return ViewAgreement(
        view.name,
        both / count if count >= _ENOUGH else None,
        1 - both / own.sum() if own.any() else None,
        1 - both / theirs.sum() if theirs.any() else None,
        count,
        "points",
        view.observed[told],
        np.where(own & theirs, 0, np.where(own, 1, 2)),
    )


def _inside(mask: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Which pixels (N, 2) as (x, y) are in a mask; none that lies outside the photo."""
    x, y = np.floor(pixels).astype(np.int64).T
    within = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
    found = np.zeros(len(pixels), bool)
    found[within] = mask[y[within], x[within]]
    return found


# --------------------------------------------------------------------------------------------------------- hull


@dataclass(frozen=True, eq=False)
class _VoxelsSeen:
    """The voxels as one view sees them.

    Attributes:
        cells: (row, column) of each voxel in the coarse picture, (V, 2) int.
        is_seen: whether it is in the photo, (V,).
        is_in: whether it may be in the mask, (V,); a voxel touches more pixels than its middle.
        mask: the mask as a coarse picture, (rows, columns) bool.
    """

    cells: np.ndarray
    is_seen: np.ndarray
    is_in: np.ndarray
    mask: np.ndarray

    def shadow(self, hull: np.ndarray) -> np.ndarray:
        """Where a hull, (V,) bool, is seen: (rows, columns) bool, a cell larger on each side than its middles."""
        shown = self.cells[hull & self.is_seen]
        picture = np.zeros(self.mask.shape, np.uint8)
        picture[shown[:, 0], shown[:, 1]] = 1
        return cv2.dilate(picture, np.ones((3, 3), np.uint8)) > 0


def by_hull(
    views: Sequence[MaskedView], *, grid: int = GRID, progress: Callable[[], object] = lambda: None
) -> list[ViewAgreement]:
    """Compare by the visual hull: see the module.

    Raises:
        PersamError: the masks have no place in common, or a lens's distortion is not computed here.
    """
    middle, half = _cube([one for one in views if one.mask.any()])
    voxel = 2 * half / grid
    steps = (np.arange(grid) + 0.5) * voxel - half
    places = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3) + middle
    seen = [_see(one, places, middle, voxel) for one in views]
    trusted = set(range(len(views)))
    while True:
        found = _by_trusted(views, seen, trusted)
        progress()
        doubted = sorted(
            (agreement, number)
            for number in trusted
            if (agreement := found[number].agreement) is not None and agreement < _TRUSTED
        )
        most = min(max(1, len(views) // 20), len(trusted) - max(FEWEST + 1, 2 * len(views) // 3))
        if not doubted or most < 1:
            return found
        trusted -= {number for _, number in doubted[:most]}


def _by_trusted(views: Sequence[MaskedView], seen: Sequence[_VoxelsSeen], trusted: set[int]) -> list[ViewAgreement]:
    """Each view against the hull of the others that are trusted."""
    visible = np.sum([seen[each].is_seen for each in trusted], axis=0)
    misses = np.sum([seen[each].is_seen & ~seen[each].is_in for each in trusted], axis=0)
    hulls, beyond = [], []
    for number, own in enumerate(seen):
        of_others, missed = visible, misses
        if number in trusted:
            of_others, missed = visible - own.is_seen, misses - (own.is_seen & ~own.is_in)
        # One view in five may be wrong, and one where there are few: else a single bad mask would carve all off.
        allowed = np.where(of_others >= FEWEST, np.maximum(1, of_others // 5), 0)
        hulls.append((of_others >= 2) & (missed <= allowed))
        beyond.append(_share(own.mask & ~own.shadow(hulls[-1]), own.mask))
    witnesses = [number for number in trusted if (share := beyond[number]) is not None and share < _BELIEVED]
    found = []
    for number, one in enumerate(views):
        lacking = _lost(hulls[number], seen[number], [seen[each] for each in witnesses if each != number])
        told = [share for share in (beyond[number], lacking) if share is not None]
        agreement = 1 - max(told) if told else None
        count = int(one.mask.sum())
        found.append(ViewAgreement(one.view.name, agreement, beyond[number], lacking, count, "hull"))
    return found


def _lost(hull: np.ndarray, own: _VoxelsSeen, witnesses: Sequence[_VoxelsSeen]) -> float | None:
    """The largest share of another view's mask that a view's own mask takes off the hull that covers it.

    The largest, for what is cut off is hidden in most views by what is left of the hull.
    """
    if not (hull & own.is_seen).any():
        return None
    left = hull & ~(own.is_seen & ~own.is_in)
    some = np.linspace(0, len(witnesses) - 1, min(_MOST_OTHERS, len(witnesses))).astype(int)
    lost = []
    for other in (witnesses[place] for place in some):
        shown = other.mask & other.shadow(hull)
        if (share := _share(shown & ~other.shadow(left), shown)) is not None:
            lost.append(share)
    return max(lost) if lost else None


def _share(part: np.ndarray, whole: np.ndarray) -> float | None:
    total = int(whole.sum())
    return int(part.sum()) / total if total else None


def _see(one: MaskedView, places: np.ndarray, middle: np.ndarray, voxel: float) -> _VoxelsSeen:
    """The voxels in one view; cells of the coarse picture are as large as a voxel in the cube's middle looks."""
    view, (height, width) = one.view, one.mask.shape
    pixels, is_seen = view.project(places)
    distance = max(float((view.rotation @ middle + view.translation)[2]), 1e-9)
    size = min(max(1.0, max(view.camera.focal) * voxel / distance), max(1.0, max(one.mask.shape) / 8))
    reach = int(np.ceil(size * np.sqrt(3) / 2))
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    is_in = _inside(cv2.dilate(one.mask.astype(np.uint8), around) > 0, np.where(is_seen[:, None], pixels, -1))
    shape = max(1, int(np.ceil(height / size))), max(1, int(np.ceil(width / size)))
    scale = np.array([shape[0] / height, shape[1] / width])
    cells = np.where(is_seen[:, None], pixels[:, ::-1] * scale, 0).astype(np.int32)
    cells = np.clip(cells, 0, np.array(shape, np.int32) - 1)  # bounds of 64 bits would make the cells so, too
    return _VoxelsSeen(cells, is_seen, is_in, coarser(one.mask, shape))


def coarser(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask (H, W) bool at a smaller size (h, w).

    A cell is in it that is covered half as far as the one that is covered most: where a cell is all covered, those of
    a half, as usual; and of a thing that is thinner than a cell those along it, where a fixed half would leave nothing.
    """
    shares = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    most = float(shares.max())
    kept: np.ndarray = shares >= (0.5 * most or 1.0)
    return kept


def _cube(views: Sequence[MaskedView]) -> tuple[np.ndarray, float]:
    """Middle and half of the edge of a cube around the thing: where the rays through the masks' middles come nearest.

    The nearest place to the rays by the sum of distances, not of their squares, so that a wrong mask draws it little;
    and the masks' sizes as the third quarter of the views has them.

    Raises:
        PersamError: fewer than three masks have anything, or the thing would be behind the cameras.
    """
    nowhere = PersamError(
        "The masks have no place in common that the cameras look at; check that poses and masks are of the same photos."
    )
    if len(views) < FEWEST:
        raise nowhere
    centres = np.array([one.view.centre for one in views])
    rays = np.array([_ray(one) for one in views])
    across = np.eye(3) - rays[:, :, None] * rays[:, None, :]  # takes off a ray's own direction
    weights = np.ones(len(views))
    middle = centres.mean(0)
    for _ in range(30):
        system = (weights[:, None, None] * across).sum(0)
        middle = np.linalg.lstsq(
            system, (weights[:, None] * (across @ centres[:, :, None])[:, :, 0]).sum(0), rcond=None
        )[0]
        away = np.linalg.norm((across @ (middle - centres)[:, :, None])[:, :, 0], axis=1)
        weights = 1 / np.maximum(away, 1e-6 * (1 + np.linalg.norm(middle - centres, axis=1)))
    halves = []
    for one in views:
        depth = float((one.view.rotation @ middle + one.view.translation)[2])
        if depth > 0:
            rows, columns = np.nonzero(one.mask)
            reach = max(np.ptp(rows) / one.view.camera.focal[1], np.ptp(columns) / one.view.camera.focal[0])
            halves.append(0.5 * (reach + 1 / max(one.view.camera.focal)) * depth)
    if 2 * len(halves) < len(views):
        raise nowhere
    return middle, _ROOM * float(min(max(halves), 2 * np.quantile(halves, 0.75)))


def _ray(one: MaskedView) -> np.ndarray:
    """Direction from the camera through the middle of a mask, in the world, (3,) of length 1; lenses are taken as
    straight, for it only says where to look."""
    rows, columns = np.nonzero(one.mask)
    numbers, (fx, fy) = one.view.camera.numbers, one.view.camera.focal
    x, y = columns.mean() + 0.5 - numbers["cx"], rows.mean() + 0.5 - numbers["cy"]
    ray = one.view.rotation.T @ np.array([x / fx, y / fy, 1.0])
    return ray / np.linalg.norm(ray)
