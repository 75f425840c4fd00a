"""Affine transforms and displacement fields as immutable values; both map world points (mm, RAS).

A transform maps points of the fixed image to points of the moving image (contract 1). A call of a
transform maps points. In a chain the outermost transform is written first, as in mathematics:
``chain(outer, inner)(p) == outer(inner(p))``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from sacbnet.errors import GridError, InputError
from sacbnet.kernels.cpu import maps as compiled

from .grid import Grid, slabs
from .matrix import as_affine, transform_points
from .warp import sample

PointMap = Callable[[NDArray[np.floating]], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Affine:
    """An affine map from world points to world points (mm, RAS).

    Parameters
    ----------
    matrix : ndarray of float64, shape (4, 4), default identity
        The map.

    Raises
    ------
    GridError
        If the matrix is not 4x4 and finite, or cannot be inverted.

    Examples
    --------
    >>> shift = Affine.translation([1, 2, 3])
    >>> shift(np.zeros(3)).tolist(), shift.inverse(np.zeros(3)).tolist()
    ([1.0, 2.0, 3.0], [-1.0, -2.0, -3.0])
    """

    matrix: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", as_affine(self.matrix, "affine transform"))

    @classmethod
    def translation(cls, mm: object) -> Affine:
        """A translation.

        Parameters
        ----------
        mm : array_like, shape (3,)
            The translation along (R, A, S), in mm.

        Returns
        -------
        Affine
            The map that adds `mm` to each point.
        """
        matrix = np.eye(4)
        matrix[:3, 3] = np.asarray(mm, dtype=np.float64)
        return cls(matrix)

    def __call__(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map points (..., 3)."""
        return transform_points(self.matrix, points)

    def __matmul__(self, inner: Affine) -> Affine:
        """The composition: the inner map is applied first."""
        return Affine(self.matrix @ inner.matrix)

    @property
    def inverse(self) -> Affine:
        """The inverse map."""
        return Affine(np.asarray(np.linalg.inv(self.matrix), dtype=np.float64))


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """A dense map p -> p + u(p), with u given at the voxels of a grid and linear between them.

    Outside the grid, the displacement of the nearest edge holds, so that the map has no jump. ITK
    takes zero there.

    Parameters
    ----------
    grid : Grid
        The grid of the displacement.
    displacement_mm : ndarray of float32, shape (i, j, k, 3)
        The displacement u along the world's axes (R, A, S), in mm.

    Raises
    ------
    GridError
        If the displacement does not have the shape of the grid.
    InputError
        If a value of the displacement is NaN or infinite.
    """

    grid: Grid
    displacement_mm: NDArray[np.float32] = field(repr=False)

    def __post_init__(self) -> None:
        u = np.ascontiguousarray(self.displacement_mm, dtype=np.float32)
        if u.shape != (*self.grid.shape, 3):
            raise GridError(
                f"the displacement has shape {u.shape}; {(*self.grid.shape, 3)} was expected"
            )
        if not np.isfinite(u).all():
            bad = int((~np.isfinite(u).all(axis=-1)).sum())
            raise InputError(
                f"the displacement field holds NaN or infinite values at {bad} voxels; finite "
                "displacements were expected: check the program that made it"
            )
        u.setflags(write=False)
        object.__setattr__(self, "displacement_mm", u)

    @classmethod
    def zeros(cls, grid: Grid) -> DisplacementField:
        """The identity, as a displacement of zeros.

        Parameters
        ----------
        grid : Grid
            The grid of the displacement.

        Returns
        -------
        DisplacementField
            The identity.
        """
        return cls(grid, np.zeros((*grid.shape, 3), dtype=np.float32))

    @classmethod
    def from_map(cls, point_map: PointMap, grid: Grid) -> DisplacementField:
        """The displacement of any map of points, at the voxels of a grid.

        Parameters
        ----------
        point_map : callable
            Maps world points (..., 3) to world points (..., 3), in mm.
        grid : Grid
            The grid of the displacement.

        Returns
        -------
        DisplacementField
            The displacement ``point_map(p) - p`` at each voxel p.

        Raises
        ------
        InputError
            If the map gives a point that is NaN or infinite.
        """
        steps = steps_of(point_map)
        if steps is not None and compiled.takes(steps):
            return cls(grid, compiled.displacement(steps, grid.shape, grid.affine))
        u = np.empty((*grid.shape, 3), dtype=np.float32)
        for low, points in slabs(grid):
            u[low : low + len(points)] = point_map(points) - points
        return cls(grid, u)

    def __call__(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map points (..., 3)."""
        points = np.asarray(points, dtype=np.float64)
        return points + self.at(points)

    def at(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Displacement at world points.

        Parameters
        ----------
        points : ndarray, shape (..., 3)
            World coordinates in mm.

        Returns
        -------
        ndarray of float64, shape (..., 3)
            The displacement in mm.
        """
        voxels = self.grid.voxels(points).reshape(-1, 3)
        coordinates = torch.from_numpy(voxels.T.astype(np.float32)).reshape(1, 3, -1, 1, 1)
        values = sample(self._tensor(), coordinates, padding="border")
        return values.reshape(3, -1).T.reshape(np.shape(points)).numpy().astype(np.float64)

    def _tensor(self) -> torch.Tensor:
        """The displacement as a tensor (1, 3, i, j, k) that shares its memory.

        The array is read-only, and torch warns about that. The tensor is only read, so the warning
        is suppressed.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(self.displacement_mm).permute(3, 0, 1, 2)[None]

    def displacement_vox(self) -> NDArray[np.float32]:
        """The displacement in voxels of its own grid.

        Returns
        -------
        ndarray of float32, shape (i, j, k, 3)
            The displacement along the voxel axes (i, j, k), in voxels.
        """
        linear = self.grid.inverse_affine[:3, :3]
        if compiled.takes():
            return compiled.along_axes(self.displacement_mm, linear)
        return (self.displacement_mm @ linear.T).astype(np.float32)

    @classmethod
    def from_voxels(cls, grid: Grid, displacement_vox: NDArray[np.floating]) -> DisplacementField:
        """A displacement field from a displacement in voxels.

        Parameters
        ----------
        grid : Grid
            The grid of the displacement.
        displacement_vox : ndarray, shape (i, j, k, 3)
            The displacement along the voxel axes (i, j, k), in voxels of the grid.

        Returns
        -------
        DisplacementField
            The same displacement in mm.

        Raises
        ------
        GridError
            If the displacement does not have the shape of the grid.
        InputError
            If a value of the displacement is NaN or infinite.
        """
        return cls(grid, np.asarray(displacement_vox @ grid.affine[:3, :3].T, dtype=np.float32))


Transform = Affine | DisplacementField


@dataclass(frozen=True)
class Chain:
    """Several maps of points, one after the other.

    Parameters
    ----------
    maps : tuple of callables
        The maps, outermost first: the last one is applied first.
    """

    maps: tuple[PointMap, ...]

    def __call__(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        for m in reversed(self.maps):
            points = m(points)
        return np.asarray(points, dtype=np.float64)


def chain(*maps: PointMap) -> Chain:
    """Compose maps of points.

    Parameters
    ----------
    *maps : callable
        The maps, outermost first: ``chain(a, b)(p) == a(b(p))``.

    Returns
    -------
    Chain
        The composition.
    """
    return Chain(maps)


def steps_of(point_map: PointMap) -> list[compiled.Step] | None:
    """Describe a map for the compiled kernels.

    Parameters
    ----------
    point_map : callable
        Any map of points.

    Returns
    -------
    list of steps, or None
        The steps (see `sacbnet.kernels.cpu.maps`), first applied first. None if the map consists of
        anything else than affines and displacement fields.
    """
    if isinstance(point_map, Affine):
        return [(None, point_map.matrix)]
    if isinstance(point_map, DisplacementField):
        return [(point_map.displacement_mm, point_map.grid.inverse_affine)]
    if not isinstance(point_map, Chain):
        return None
    steps: list[compiled.Step] = []
    for m in reversed(point_map.maps):
        if (inner := steps_of(m)) is None:
            return None
        steps += inner
    return steps
