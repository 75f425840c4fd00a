"""Cases as they were read, to be scored: kept in memory, and moved in the world."""

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
from .packing import lattice_offset
from .read import check_labels, load_case

KEPT_CASES, KEPT_BYTES = 8, 2 * 10**9  # so many cases stay in memory, and more while they fit


@dataclass(frozen=True)
class Subject:
    """A case as it was read; its labels and points are None where it has none."""

    case: Case
    image: Image
    labels: Image | None
    points: Points | None

    @property
    def bytes(self) -> int:
        return self.image.data.nbytes + (0 if self.labels is None else self.labels.data.nbytes)


def _read(case: Case) -> Subject:
    image, labels = load_case(case)
    if labels is not None:
        check_labels(image, labels)
    return Subject(case, image, labels, None if case.points is None else load_points(case.points))


class Reader:
    """Subjects by the number of their case; those used last are kept, as far as they fit in `KEPT_BYTES`."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases = cases
        self._kept: dict[int, Subject] = {}  # the one used last stands last

    def __call__(self, n: int) -> Subject:
        subject = self._kept.pop(n, None) or _read(self.cases[n])
        self._kept[n] = subject
        while (
            len(self._kept) > KEPT_CASES and sum(s.bytes for s in self._kept.values()) > KEPT_BYTES
        ):
            self._kept.pop(next(iter(self._kept)))
        return subject


def centred(moving: Subject, onto: Grid) -> Subject:
    """The subject, its labels and its points, moved in the world so that the centre of its box is that of `onto`.

    As in a pack made with align = "centre" (docs/data.md): to whole voxels, where both have one spacing and direction.
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
