"""Images and points through a map of points, with sentences where the result is not sure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sacbnet.errors import InputError
from sacbnet.imaging.image import Image
from sacbnet.imaging.resampling import Filled, carry_counted
from sacbnet.spatial.composition import linear_fit
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.invert import solve
from sacbnet.spatial.resample import Interpolation
from sacbnet.spatial.transforms import Affine, Chain, DisplacementField, PointMap, chain

MUCH = 50.0  # per cent of a result at which nothing of the image arrived: a warning says so


@dataclass(frozen=True, eq=False)
class Backwards:
    """The inverse of a displacement field, solved anew at each point.

    Parameters
    ----------
    field : DisplacementField
        The field.
    guess : Affine
        An affine near it.
    """

    field: DisplacementField
    guess: Affine

    @classmethod
    def of(cls, field: DisplacementField) -> Backwards:
        """Take a field; the affine is fitted to some of its voxels.

        Parameters
        ----------
        field : DisplacementField
            The field.

        Returns
        -------
        Backwards
            Its inverse.
        """
        steps = [np.linspace(0, n - 1, min(n, 9)) for n in field.grid.shape]
        voxels = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 3)
        return cls(field, linear_fit(field, field.grid.world(voxels)))

    def __call__(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map points (..., 3)."""
        found, _ = solve(self.field, np.reshape(points, (-1, 3)), self.guess)
        return found.reshape(np.shape(points))


@dataclass(frozen=True, eq=False)
class GoingOn:
    """A field that goes on outside its grid as its affine part, without a jump.

    Parameters
    ----------
    field : DisplacementField
        The field.
    affine : Affine
        Its affine part.
    """

    field: DisplacementField
    affine: Affine

    @cached_property
    def everywhere(self) -> Chain:
        """The same map up to rounding: the affine after the displacement that remains.

        Outside the grid, the latter keeps the value of the nearest edge.
        """
        rest = DisplacementField.from_map(chain(self.affine.inverse, self.field), self.field.grid)
        return chain(self.affine, rest)

    def __call__(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map points (..., 3)."""
        found = self.field(points)
        beyond = ~self.field.grid.contains(points)
        if beyond.any():
            found[beyond] = self.everywhere(np.asarray(points)[beyond])
        return found


def carry_onto(
    image: Image,
    like: Image,
    point_map: PointMap,
    interpolation: Interpolation,
    fill: float,
    *,
    world: str,
    off_mm: Callable[[], float],
) -> tuple[Image, Filled]:
    """Resample an image, refuse a result at which nothing arrives, and warn of one with little.

    Parameters
    ----------
    image : Image
        The image or label map.
    like : Image
        Gives the grid and the header of the result.
    point_map : callable
        Maps points of `like` to points of `image`, mm (RAS).
    interpolation : {"linear", "nearest", "cubic", "lanczos", "onehot"}
        How values between voxels are found.
    fill : float
        The value where nothing of the image arrives.
    world : str
        Whose world the image should belong to, for the sentences.
    off_mm : callable
        How far the image's centre is mapped from that of the result, mm; called if it is refused.

    Returns
    -------
    image : Image
        The image, interpolated once, with a warning if most of the result lies outside it.
    filled : Filled
        How many voxels of the result lie outside the image, and what they hold.

    Raises
    ------
    InputError
        If nothing of the image arrives.
    """
    carried, filled = carry_counted(image, like, point_map, interpolation, fill)
    if filled.voxels == carried.data.size:
        raise InputError(
            f"nothing of {image.name} arrives on the grid of the result: its centre lands"
            f" {off_mm():.0f} mm from that of the grid; check that it belongs to the world of"
            f" {world}"
        )
    if filled.percent > MUCH:
        said = (
            f"{filled.percent:.0f} % of the result lie outside {image.name}; check that it"
            f" belongs to the world of {world}"
        )
        return replace(carried, warnings=(said,)), filled
    return carried, filled


def reach_beyond(field: DisplacementField, points: NDArray[np.floating]) -> float:
    """Say how far points lie beyond the grid of a field.

    Parameters
    ----------
    field : DisplacementField
        The field.
    points : ndarray, shape (n, 3)
        World points, mm.

    Returns
    -------
    float
        The largest distance from the nearest voxel centre of the edge, mm; 0 if all lie inside.
    """
    if field.grid.contains(points).all():
        return 0.0
    edge = np.clip(field.grid.voxels(points), 0, np.array(field.grid.shape) - 1)
    return float(np.linalg.norm(field.grid.world(edge) - points, axis=1).max())


def apart_mm(back: PointMap, image: Grid, target: Grid) -> float:
    """Say how far the centre of an image is mapped from the centre of a result.

    Parameters
    ----------
    back : callable
        Maps points of the image to points of the result.
    image, target : Grid
        Their grids.

    Returns
    -------
    float
        The distance, mm.
    """
    return float(np.linalg.norm(back(image.centre[None])[0] - target.centre))
