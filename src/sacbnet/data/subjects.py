"""Cases in memory, to be scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sacbnet.imaging.image import Image
from sacbnet.imaging.points import Points
from sacbnet.io.points import load_points
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine

from .cases import Case
from .common_grid import lattice_offset
from .read import check_labels, load_case

_KEPT_CASES, _KEPT_BYTES = 8, 2 * 10**9  # this many cases stay in memory; more while they fit


@dataclass(frozen=True)
class Subject:
    """A case, read.

    Parameters
    ----------
    case : Case
        Its files.
    image : Image
        The image.
    labels : Image or None
        The label map, on the grid of the image; None if the case has none.
    points : Points or None
        The landmarks; None if the case has none.
    """

    case: Case
    image: Image
    labels: Image | None
    points: Points | None

    @property
    def bytes(self) -> int:
        """The size of the voxels in memory."""
        return self.image.data.nbytes + (0 if self.labels is None else self.labels.data.nbytes)


def _read(case: Case) -> Subject:
    image, labels = load_case(case)
    if labels is not None:
        check_labels(image, labels)
    return Subject(case, image, labels, None if case.points is None else load_points(case.points))


class Reader:
    """Subjects by the index of their case; those used last are kept in memory.

    Parameters
    ----------
    cases : sequence of Case
        The cases. Calling the reader with an index gives the `Subject`.
    """

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases = cases
        self._kept: dict[int, Subject] = {}  # the one used last stands last

    def __call__(self, n: int) -> Subject:
        subject = self._kept.pop(n, None) or _read(self.cases[n])
        self._kept[n] = subject
        while (
            len(self._kept) > _KEPT_CASES
            and sum(s.bytes for s in self._kept.values()) > _KEPT_BYTES
        ):
            self._kept.pop(next(iter(self._kept)))
        return subject


def centred(moving: Subject, onto: Grid) -> Subject:
    """Move a subject in the world, so that the centre of its box is that of another grid.

    A pack with ``align = "centre"`` does the same. If both grids have one spacing and one
    direction, the shift is a whole number of voxels.

    Parameters
    ----------
    moving : Subject
        The subject; its image, labels and points move together.
    onto : Grid
        The other grid.

    Returns
    -------
    Subject
        The same voxels at other places in the world.
    """
    source, target = moving.image.grid.canonical()[0], onto.canonical()[0]
    shift = target.centre - source.centre
    first = lattice_offset(source, target, -shift, free=True)
    if first is not None:
        shift = target.world(np.zeros(3)) - source.world(first)
    there = Affine.translation(shift)

    def moved(image: Image) -> Image:
        return replace(image, grid=Grid(image.grid.shape, there.matrix @ image.grid.affine))

    return replace(
        moving,
        image=moved(moving.image),
        labels=None if moving.labels is None else moved(moving.labels),
        points=None
        if moving.points is None
        else replace(moving.points, xyz=there(moving.points.xyz)),
    )
