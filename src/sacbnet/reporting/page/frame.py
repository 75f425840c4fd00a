"""How the voxels of a grid lie in a picture: planes of the body, upright and to scale."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacbnet.spatial.grid import Grid

CONVENTION = (
    "Radiological convention: the patient's right is at the left of axial and coronal pictures,"
    " and anterior is at the left of sagittal pictures."
)
Index = tuple[int, int, int]


@dataclass(frozen=True)
class Plane:
    """One of the three planes of the body.

    Parameters
    ----------
    name : {"axial", "coronal", "sagittal"}
        Its name.
    normal : int
        The axis across it: 0 (towards the right), 1 (anterior) or 2 (superior).
    sides : tuple[str, str, str, str]
        Letters at the left, right, top and bottom of the picture.
    """

    name: str
    normal: int
    sides: tuple[str, str, str, str]

    @property
    def within(self) -> tuple[int, int]:
        """The axes that run across and up the picture."""
        first, second = (axis for axis in range(3) if axis != self.normal)
        return first, second


PLANES = (
    Plane("axial", 2, ("R", "L", "A", "P")),
    Plane("coronal", 1, ("R", "L", "S", "I")),
    Plane("sagittal", 0, ("A", "P", "S", "I")),
)


@dataclass(frozen=True, eq=False)
class Frame:
    """The voxels of a grid with their axes towards right, anterior and superior.

    Two files with the same voxels in another order, each with its own header, have the same frame.

    Parameters
    ----------
    grid : Grid
        The grid with its axes in that order.
    axes, signs : tuple[int, int, int]
        Order and direction of the file's axes, as `Grid.canonical` gives them.
    low, high : tuple[int, int, int]
        The first voxel that is shown along each axis, and one more than the last one.
    """

    grid: Grid
    axes: Index
    signs: Index
    low: Index
    high: Index

    @classmethod
    def of(cls, grid: Grid) -> Frame:
        """Find the frame of a grid.

        Parameters
        ----------
        grid : Grid
            The grid of a file.

        Returns
        -------
        Frame
            Its frame.
        """
        upright, axes, signs = grid.canonical()
        return cls(upright, axes, signs, (0, 0, 0), upright.shape)

    def around(self, low: Index, high: Index, margin: float = 0.08) -> Frame:
        """Show only a part.

        Parameters
        ----------
        low, high : tuple[int, int, int]
            The first voxel along each axis, and one more than the last one.
        margin : float, default 0.08
            What is added on each side, as a share of the longest side of the part.

        Returns
        -------
        Frame
            The frame that shows the part and the margin, as far as the grid goes.
        """
        length_mm = np.subtract(high, low) * self.grid.spacing
        more = np.ceil(margin * length_mm.max() / self.grid.spacing).astype(int)
        first = np.maximum(np.subtract(low, more), 0)
        last = np.minimum(np.add(high, more), self.grid.shape)
        return replace(self, low=_index(first), high=_index(last))

    def upright(self, data: NDArray[Any]) -> NDArray[Any]:
        """Turn the voxels of the file into the frame.

        Parameters
        ----------
        data : ndarray, shape (i, j, k)
            Voxels in the order of the file.

        Returns
        -------
        ndarray, shape of the frame's grid
            The same memory.
        """
        turned = data.transpose(self.axes)
        return turned[tuple(slice(None, None, sign) for sign in self.signs)]

    def stored(self, at: Index) -> Index:
        """The index of a voxel in the file.

        Parameters
        ----------
        at : tuple[int, int, int]
            Its index in the frame.

        Returns
        -------
        tuple[int, int, int]
            Its index (i, j, k) in the file, from 0.
        """
        found = [0, 0, 0]
        for n, (axis, sign) in enumerate(zip(self.axes, self.signs, strict=True)):
            found[axis] = at[n] if sign > 0 else self.grid.shape[n] - 1 - at[n]
        return found[0], found[1], found[2]

    def slice(self, plane: Plane, at: Index, thick: int = 0) -> Grid:
        """The voxels of one plane, as a grid.

        Parameters
        ----------
        plane : Plane
            The plane.
        at : tuple[int, int, int]
            A voxel of it.
        thick : int, default 0
            As many neighbouring planes on either side, where the grid has them.

        Returns
        -------
        Grid
            The voxels of the plane that are shown; the axis of its normal is kept.
        """
        low, high = list(self.low), list(self.high)
        n = plane.normal
        low[n] = max(at[n] - thick, 0)
        high[n] = min(at[n] + thick + 1, self.grid.shape[n])
        return self.grid.cropped(low, high)

    def shown(self, plane: Plane, at: Index, data: NDArray[Any]) -> NDArray[Any]:
        """The picture of one plane of a volume.

        Parameters
        ----------
        plane : Plane
            The plane.
        at : tuple[int, int, int]
            A voxel of it.
        data : ndarray, shape (i, j, k)
            The volume, in the order of the file.

        Returns
        -------
        ndarray, shape (rows, columns)
            The same memory.
        """
        n = plane.normal
        where = [slice(a, b) for a, b in zip(self.low, self.high, strict=True)]
        where[n] = slice(at[n], at[n] + 1)
        return picture(plane, self.upright(data)[tuple(where)])

    def size_mm(self, plane: Plane) -> tuple[float, float]:
        """Width and height of the picture of a plane.

        Parameters
        ----------
        plane : Plane
            The plane.

        Returns
        -------
        tuple[float, float]
            Width and height in mm.
        """
        extent = np.subtract(self.high, self.low) * self.grid.spacing
        across, up = plane.within
        return float(extent[across]), float(extent[up])

    @property
    def tilt(self) -> float:
        """The largest angle between an axis of the voxels and its axis of the body, in degrees."""
        cosines = np.abs(np.diag(self.grid.direction)).clip(0, 1)
        return float(np.degrees(np.arccos(cosines)).max())


def picture(plane: Plane, values: NDArray[Any]) -> NDArray[Any]:
    """Lay one plane of voxels as a picture: rows from top to bottom, columns from left to right.

    Parameters
    ----------
    plane : Plane
        The plane.
    values : ndarray, shape (r, a, s) with 1 along the plane's normal
        Values in the frame.

    Returns
    -------
    ndarray, shape (rows, columns)
        The same memory.
    """
    return values.squeeze(plane.normal).T[::-1, ::-1]


def _index(values: Any) -> Index:
    i, j, k = (int(v) for v in values)
    return i, j, k
