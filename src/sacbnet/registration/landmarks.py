"""Landmarks that a user placed in both images: they guide refinement, and they judge the result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sacbnet.errors import InputError
from sacbnet.imaging.points import Points
from sacbnet.io.points import load_points
from sacbnet.spatial.transforms import PointMap

PointSource = str | Path | Points | ArrayLike


@dataclass(frozen=True, eq=False)
class Landmarks:
    """The same places in both images.

    Parameters
    ----------
    fixed, moving : float64 array, shape (n, 3)
        World coordinates, mm (RAS).
    left_out : tuple of str, default ()
        Names of landmarks that only one of the images has.
    """

    fixed: NDArray[np.float64]
    moving: NDArray[np.float64]
    left_out: tuple[str, ...] = ()

    def distances_mm(self, transform: PointMap) -> NDArray[np.float64]:
        """Measure how far a transform misses the landmarks.

        Parameters
        ----------
        transform : PointMap
            World coordinates of the fixed image -> world coordinates of the moving image.

        Returns
        -------
        float64 array, shape (n,)
            Distance of each landmark of the moving image from where the transform says, mm.
        """
        apart: NDArray[np.float64] = np.linalg.norm(transform(self.fixed) - self.moving, axis=1)
        return apart


@dataclass(frozen=True)
class LandmarkFacts:
    """How far a transform misses the landmarks.

    Parameters
    ----------
    count : int
        Number of landmarks.
    mean_mm, max_mm : float
        Mean and largest distance, mm.
    """

    count: int
    mean_mm: float
    max_mm: float

    @classmethod
    def of(cls, landmarks: Landmarks, transform: PointMap) -> LandmarkFacts:
        """Measure a transform.

        Parameters
        ----------
        landmarks : Landmarks
            The landmarks.
        transform : PointMap
            World coordinates of the fixed image -> world coordinates of the moving image.

        Returns
        -------
        LandmarkFacts
            The distances.
        """
        apart = landmarks.distances_mm(transform)
        return cls(len(apart), float(apart.mean()), float(apart.max()))


def read_landmarks(*, fixed: PointSource, moving: PointSource) -> Landmarks:
    """Read the landmarks of both images, and find which belong together.

    Landmarks of one name belong together. Where the images share no name, as with "F-1" and "M-1",
    the first belongs to the first, and so on.

    Parameters
    ----------
    fixed, moving : str, Path, Points or array_like of shape (n, 3)
        A file (`sacbnet.io.points.load_points`), or world coordinates in mm (RAS).

    Returns
    -------
    Landmarks
        The landmarks that both images have.

    Raises
    ------
    InputError
        If a file cannot be read, a name stands twice in one image, or the images share no name and
        have unequal numbers of landmarks.
    """
    f, m = _points(fixed), _points(moving)
    for name, points in (("fixed", f), ("moving", m)):
        if twice := [x for x in dict.fromkeys(points.labels) if points.labels.count(x) > 1]:
            raise InputError(
                f"the {name} landmarks have the name {twice[0]!r} more than once; give each a name"
                " of its own"
            )
    shared = [name for name in f.labels if name in m.labels]
    if shared:
        here, there = ([p.labels.index(name) for name in shared] for p in (f, m))
        left_out = tuple(name for name in (*f.labels, *m.labels) if name not in shared)
        return Landmarks(f.xyz[here], m.xyz[there], left_out)
    if len(f.xyz) != len(m.xyz):
        raise InputError(
            f"{len(f.xyz)} fixed and {len(m.xyz)} moving landmarks share no name; give those of one"
            " place the same name, or as many in the same order"
        )
    return Landmarks(f.xyz, m.xyz)


def _points(source: PointSource) -> Points:
    if isinstance(source, Points):
        return source
    return load_points(source) if isinstance(source, str | Path) else Points(source)  # type: ignore[arg-type]
