"""Transforms as immutable values: an affine and a dense displacement, both maps of world points (mm, RAS).

A transform maps points of the fixed image to points of the moving image (contract 1). Calling it maps points; chaining
is written outermost first, as in mathematics: `chain(outer, inner)(p) == outer(inner(p))`.
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

from .grid import Grid, as_affine, slabs, transform_points
from .warp import sample

PointMap = Callable[[NDArray[np.floating]], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Affine:
    """A 4x4 affine between worlds: world point (mm, RAS) -> world point (mm, RAS).

    >>> shift = Affine.translation([1, 2, 3])
    >>> shift(np.zeros(3)).tolist(), shift.inverse(np.zeros(3)).tolist()
    ([1.0, 2.0, 3.0], [-1.0, -2.0, -3.0])
    """

    matrix: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", as_affine(self.matrix, "affine transform"))

    @classmethod
    def translation(cls, mm: object) -> Affine:
        matrix = np.eye(4)
        matrix[:3, 3] = np.asarray(mm, dtype=np.float64)
        return cls(matrix)

    def __call__(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map points (..., 3)."""
        return transform_points(self.matrix, points)

    def __matmul__(self, inner: Affine) -> Affine:
        """self ∘ inner."""
        return Affine(self.matrix @ inner.matrix)

    @property
    def inverse(self) -> Affine:
        return Affine(np.asarray(np.linalg.inv(self.matrix), dtype=np.float64))


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """A dense map p -> p + u(p), u given at the voxels of a grid and linear between them.

    displacement_mm: (i, j, k, 3) float32, components along the world's axes (R, A, S), in mm. Outside the grid the
    displacement of its nearest edge holds (ITK takes zero there): a map without a jump.
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
            raise InputError("the displacement field holds NaN or infinite values")
        u.setflags(write=False)
        object.__setattr__(self, "displacement_mm", u)

    @classmethod
    def zeros(cls, grid: Grid) -> DisplacementField:
        return cls(grid, np.zeros((*grid.shape, 3), dtype=np.float32))

    @classmethod
    def from_map(cls, point_map: PointMap, grid: Grid) -> DisplacementField:
        """Any map of points, written down at the voxels of a grid: u(p) = map(p) - p."""
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
        """Displacement in mm at world points (..., 3)."""
        voxels = self.grid.voxels(points).reshape(-1, 3)
        coordinates = torch.from_numpy(voxels.T.astype(np.float32)).reshape(1, 3, -1, 1, 1)
        values = sample(self._tensor(), coordinates, padding="border")
        return values.reshape(3, -1).T.reshape(np.shape(points)).numpy().astype(np.float64)

    def _tensor(self) -> torch.Tensor:
        """(1, 3, i, j, k), sharing memory; torch warns of arrays that are read-only, and this one is only read."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(self.displacement_mm).permute(3, 0, 1, 2)[None]

    def displacement_vox(self) -> NDArray[np.float32]:
        """(i, j, k, 3) float32: the displacement along the voxel axes (i, j, k), in voxels of its own grid."""
        linear = self.grid.inverse_affine[:3, :3]
        if compiled.takes():
            return compiled.along_axes(self.displacement_mm, linear)
        return (self.displacement_mm @ linear.T).astype(np.float32)

    @classmethod
    def from_voxels(cls, grid: Grid, displacement_vox: NDArray[np.floating]) -> DisplacementField:
        """From displacements (i, j, k, 3) along the voxel axes, in voxels."""
        return cls(grid, np.asarray(displacement_vox @ grid.affine[:3, :3].T, dtype=np.float32))


Transform = Affine | DisplacementField


@dataclass(frozen=True)
class Chain:
    """Maps of points, one after the other, the last of them first."""

    maps: tuple[PointMap, ...]

    def __call__(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        for m in reversed(self.maps):
            points = m(points)
        return np.asarray(points, dtype=np.float64)


def chain(*maps: PointMap) -> Chain:
    """The map that applies the last given first: chain(a, b)(p) = a(b(p))."""
    return Chain(maps)


def steps_of(point_map: PointMap) -> list[compiled.Step] | None:
    """The map as the compiled kernels take it; None for one that is not made of affines and displacements."""
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
