"""The place of an image's voxels in the world: shape and affine, as an immutable value.

World coordinates are millimetres in RAS+, as nibabel gives them. The LPS convention of ITK exists
only in `sacbnet.io`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from sacbnet.errors import GridError

from .matrix import as_affine, transform_points

Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Grid:
    """A box of voxels in the world.

    Two grids are equal if their shapes and affines are equal.

    Parameters
    ----------
    shape : tuple of 3 int
        Number of voxels along (i, j, k).
    affine : ndarray of float64, shape (4, 4)
        Maps a voxel index (i, j, k, 1) to world mm (RAS). It may be oblique, left-handed or
        sheared, but not singular.

    Raises
    ------
    GridError
        If the shape is not three positive numbers, or the affine cannot be used (see `as_affine`).

    Examples
    --------
    >>> g = Grid((10, 20, 30), np.diag([2.0, 1.0, 1.0, 1.0]))
    >>> g.spacing.tolist()
    [2.0, 1.0, 1.0]
    >>> g.world([1, 1, 1]).tolist()
    [2.0, 1.0, 1.0]
    """

    shape: Shape
    affine: NDArray[np.float64] = field(repr=False)

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise GridError(
                f"the grid has shape {tuple(self.shape)}; three positive sizes were expected"
            )
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", as_affine(self.affine))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Grid)
            and self.shape == other.shape
            and bool((self.affine == other.affine).all())
        )

    def __hash__(self) -> int:
        return hash((self.shape, (self.affine + 0.0).tobytes()))  # -0.0 equals 0.0

    # -- properties and points --------------------------------------------------------------------
    @property
    def spacing(self) -> NDArray[np.float64]:
        """Distance between neighbouring voxels along (i, j, k), in mm."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def direction(self) -> NDArray[np.float64]:
        """(3, 3): the unit vectors of the voxel axes in the world (RAS), as columns."""
        return self.affine[:3, :3] / self.spacing

    @property
    def inverse_affine(self) -> NDArray[np.float64]:
        """(4, 4): the map from world mm to voxel indices."""
        return np.asarray(np.linalg.inv(self.affine), dtype=np.float64)

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def is_orthogonal(self) -> bool:
        """Whether the voxel axes are perpendicular, within the tolerance of ITK's file readers."""
        d = self.direction
        return bool(np.abs(d.T @ d - np.eye(3)).max() < 1e-4)

    def world(self, voxels: object) -> NDArray[np.float64]:
        """World coordinates of voxel coordinates.

        Parameters
        ----------
        voxels : array_like, shape (..., 3)
            Voxel coordinates; voxel centres have whole numbers.

        Returns
        -------
        ndarray of float64, shape (..., 3)
            World coordinates in mm.
        """
        return transform_points(self.affine, np.asarray(voxels, dtype=np.float64))

    def voxels(self, world: object) -> NDArray[np.float64]:
        """Voxel coordinates of world coordinates.

        Parameters
        ----------
        world : array_like, shape (..., 3)
            World coordinates in mm.

        Returns
        -------
        ndarray of float64, shape (..., 3)
            Voxel coordinates; voxel centres have whole numbers.
        """
        return transform_points(self.inverse_affine, np.asarray(world, dtype=np.float64))

    @property
    def centre(self) -> NDArray[np.float64]:
        """World mm of the centre of the box."""
        return self.world((np.array(self.shape) - 1) / 2)

    @property
    def corners(self) -> NDArray[np.float64]:
        """(8, 3): world mm of the centres of the eight corner voxels."""
        ends = np.stack(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij"), -1).reshape(
            -1, 3
        )
        return self.world(ends)

    def contains(self, world: object, margin_voxels: float = 0.5) -> NDArray[np.bool_]:
        """Find which points lie inside the box.

        Parameters
        ----------
        world : array_like, shape (..., 3)
            World coordinates in mm.
        margin_voxels : float, default 0.5
            The box ends this many voxels beyond the outermost voxel centres. With the default, its
            faces are the outer faces of the voxels.

        Returns
        -------
        ndarray of bool, shape (...)
            True for points inside the box or on its faces.
        """
        v = self.voxels(world)
        last = np.array(self.shape) - 1
        return np.asarray(np.all((v >= -margin_voxels) & (v <= last + margin_voxels), axis=-1))

    def meets(self, other: Grid) -> bool:
        """Test whether two grids overlap, roughly.

        Parameters
        ----------
        other : Grid
            The other grid.

        Returns
        -------
        bool
            Whether the bounding boxes of both grids, along the world's axes, have a point in
            common.
        """
        a, b = self.corners, other.corners
        return bool(
            (a.min(axis=0) <= b.max(axis=0)).all() and (b.min(axis=0) <= a.max(axis=0)).all()
        )

    def matches(self, other: Grid, tolerance_mm: float = 1e-3) -> bool:
        """Test whether two grids have the same voxels.

        Parameters
        ----------
        other : Grid
            The other grid.
        tolerance_mm : float, default 1e-3
            Largest difference in mm, per coordinate, between corresponding corners of the two
            boxes.

        Returns
        -------
        bool
            Whether the shapes are equal and the corners agree within the tolerance.
        """
        if self.shape != other.shape:
            return False
        ends = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in self.shape], indexing="ij"), -1)
        return bool(np.abs(self.world(ends) - other.world(ends)).max() <= tolerance_mm)

    # -- other grids derived from this one --------------------------------------------------------
    def cropped(self, low: object, high: object) -> Grid:
        """Another box of the same lattice.

        Parameters
        ----------
        low : array_like of 3 int
            The first voxel of the new box along each axis. It may lie outside this grid.
        high : array_like of 3 int
            One more than the last voxel of the new box along each axis. It may lie outside this
            grid.

        Returns
        -------
        Grid
            The new box.

        Raises
        ------
        GridError
            If `high` is not larger than `low` along each axis.
        """
        low_, high_ = np.asarray(low, dtype=int), np.asarray(high, dtype=int)
        affine = self.affine.copy()
        affine[:3, 3] = self.world(low_)
        return Grid(tuple(int(n) for n in high_ - low_), affine)  # type: ignore[arg-type]

    def canonical(self) -> tuple[Grid, tuple[int, int, int], tuple[int, int, int]]:
        """The same voxels, with the axes permuted and flipped until they are closest to (R, A, S).

        Among all orders of the axes, the one with the largest sum of absolute cosines is taken.
        This choice is stable near 45°.

        Returns
        -------
        grid : Grid
            The grid with canonical axes.
        axes : tuple of 3 int
            The order of the axes: ``data.transpose(axes)`` moves the data of an array.
        signs : tuple of 3 int
            1 or -1 for each new axis: after the transposition, an axis of sign -1 must be flipped.
        """
        d = self.direction
        axes = max(permutations(range(3)), key=lambda p: sum(abs(d[r, a]) for r, a in enumerate(p)))
        signs = tuple(1 if d[r, a] >= 0 else -1 for r, a in enumerate(axes))
        shape = tuple(self.shape[a] for a in axes)
        matrix = np.zeros((4, 4))  # canonical index -> this grid's index
        matrix[3, 3] = 1
        for r, (a, s) in enumerate(zip(axes, signs, strict=True)):
            matrix[a, r] = s
            matrix[a, 3] = 0 if s > 0 else self.shape[a] - 1
        return Grid(shape, self.affine @ matrix), axes, signs  # type: ignore[arg-type, return-value]

    def with_spacing(self, spacing: object) -> Grid:
        """A grid over the same box with another spacing.

        Parameters
        ----------
        spacing : float or array_like of 3 float
            The new spacing along (i, j, k), in mm.

        Returns
        -------
        Grid
            A grid with the same axes and centre. It covers the box of this grid, up to the outer
            faces of the voxels.
        """
        new = np.broadcast_to(np.asarray(spacing, dtype=np.float64), (3,))
        extent = np.array(self.shape) * self.spacing
        shape = np.maximum(np.ceil(extent / new - 1e-3), 1).astype(int)
        affine = np.eye(4)
        affine[:3, :3] = self.direction * new
        affine[:3, 3] = self.centre - affine[:3, :3] @ ((shape - 1) / 2)
        return Grid(tuple(int(n) for n in shape), affine)  # type: ignore[arg-type]

    def covering(self, points: object) -> Grid:
        """This grid, extended by whole voxels until it contains the given points.

        Parameters
        ----------
        points : array_like, shape (n, 3)
            World coordinates in mm.

        Returns
        -------
        Grid
            The smallest such box that also contains this grid.
        """
        v = self.voxels(points)
        low = np.minimum(np.floor(v.min(axis=0) + 1e-6), 0)
        high = np.maximum(np.ceil(v.max(axis=0) - 1e-6) + 1, self.shape)
        return self.cropped(low, high)

    def orthogonal(self) -> Grid:
        """A grid with perpendicular axes that covers this grid.

        ITK reads no sheared grid.

        Returns
        -------
        Grid
            This grid itself if it is orthogonal. Otherwise a grid with the nearest perpendicular
            axes and the same spacing.
        """
        if self.is_orthogonal:
            return self
        u, _, vt = np.linalg.svd(self.direction)  # nearest orthogonal matrix (polar decomposition)
        affine = np.eye(4)
        affine[:3, :3] = (u @ vt) * self.spacing
        affine[:3, 3] = self.affine[:3, 3]
        return Grid((1, 1, 1), affine).covering(self.corners)


def slabs(grid: Grid, points_at_once: int = 1 << 19) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """World points of a grid, in slabs along i, so that few points are in memory at once.

    Parameters
    ----------
    grid : Grid
        The grid.
    points_at_once : int, default 2**19
        Target number of points in one slab. A slab has at least one plane.

    Yields
    ------
    low : int
        Index along i of the first plane of the slab.
    points : ndarray of float64, shape (n, j, k, 3)
        World coordinates in mm of the voxels of the slab.
    """
    j, k = np.meshgrid(np.arange(grid.shape[1]), np.arange(grid.shape[2]), indexing="ij")
    plane = grid.world(np.stack([np.zeros_like(j), j, k], axis=-1))
    step = grid.affine[:3, 0]
    rows = max(1, points_at_once // (grid.shape[1] * grid.shape[2]))
    for low in range(0, grid.shape[0], rows):
        i = np.arange(low, min(low + rows, grid.shape[0]), dtype=np.float64)
        yield low, plane[None] + i[:, None, None, None] * step
