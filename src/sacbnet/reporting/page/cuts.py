"""What a result shows in one plane: a few slices of its volumes, at the voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacbnet.imaging.image import Image
from sacbnet.registration.result import Registration
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import resample
from sacbnet.spatial.transforms import Affine, PointMap

from .frame import Frame, Index, Plane, picture
from .pictures import Grey, windowed
from .places import Layout, error_at

STEPS = ("moved", "affine", "start")  # the moving image: at the end, after the affine, before


@dataclass(frozen=True, eq=False)
class Cut:
    """One plane of a result; every array has the shape (rows, columns) of the plane's voxels.

    Parameters
    ----------
    plane : Plane
        The plane.
    size_mm : tuple[float, float]
        Its width and height, mm.
    fixed : ndarray
        The fixed image in [0, 1].
    steps : dict[str, ndarray]
        The moving image in [0, 1], on the fixed grid, at the three steps.
    coordinates : tuple of 2 ndarray
        Where the transform without its affine part takes each voxel, across and up, mm.
    displacement : ndarray
        Length of the displacement without the affine part, mm.
    log_jacobian : ndarray
        Logarithm of the change of volume; NaN where the transform folds.
    error : ndarray or None
        The expected error, mm; None where it is not known.
    fixed_labels : ndarray or None
        Labels of the fixed image.
    labels : dict[str, ndarray]
        Labels of the moving image at the three steps; empty without labels.
    """

    plane: Plane
    size_mm: tuple[float, float]
    fixed: Grey
    steps: dict[str, Grey]
    coordinates: tuple[NDArray[Any], NDArray[Any]]
    displacement: NDArray[Any]
    log_jacobian: NDArray[Any]
    error: NDArray[Any] | None
    fixed_labels: NDArray[Any] | None
    labels: dict[str, NDArray[Any]]


def cut(result: Registration, layout: Layout, plane: Plane, at: Index) -> Cut:
    """Take one plane out of a result.

    Parameters
    ----------
    result : Registration
        A registration that holds its images.
    layout : Layout
        What the page shows.
    plane : Plane
        The plane.
    at : tuple[int, int, int]
        A voxel of the plane, in the frame.

    Returns
    -------
    Cut
        The slices.
    """
    inputs, frame = result.inputs, layout.frame
    assert inputs is not None

    def shown(data: NDArray[Any]) -> NDArray[Any]:
        return frame.shown(plane, at, data)

    here = frame.slice(plane, at)
    filled = result.report.filled
    fill = 0.0 if filled is None else filled.value

    def carried(image: Image, point_map: PointMap, labels: bool = False) -> NDArray[Any]:
        how, outside = ("nearest", 0.0) if labels else ("linear", fill)
        values = resample(image.data, image.grid, here, point_map, how, outside)  # type: ignore[arg-type]
        return picture(plane, values)

    maps = {"affine": result.affine, "start": Affine()}
    moving, fixed_labels, moving_labels = inputs.moving, inputs.fixed_labels, inputs.moving_labels
    steps = {"moved": shown(result.moved.data)}
    steps |= {name: carried(moving, point_map) for name, point_map in maps.items()}
    labels = {}
    if result.moved_labels is not None and moving_labels is not None:
        labels = {"moved": shown(result.moved_labels.data)}
        labels |= {name: carried(moving_labels, m, labels=True) for name, m in maps.items()}
    coordinates, displacement, log_jacobian = _motion(result, frame, plane, at)
    return Cut(
        plane=plane,
        size_mm=frame.size_mm(plane),
        fixed=windowed(shown(inputs.fixed.data), *layout.fixed_ends),
        steps={name: windowed(values, *layout.moving_ends) for name, values in steps.items()},
        coordinates=coordinates,
        displacement=displacement,
        log_jacobian=log_jacobian,
        error=None if result.errors is None else picture(plane, error_at(result.errors, here)),
        fixed_labels=None if fixed_labels is None else shown(fixed_labels.data),
        labels=labels,
    )


def _motion(
    result: Registration, frame: Frame, plane: Plane, at: Index
) -> tuple[tuple[NDArray[Any], NDArray[Any]], NDArray[Any], NDArray[Any]]:
    """Coordinates without the affine, length of the displacement without it, and log det J."""
    slab = frame.slice(plane, at, thick=1)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in slab.shape], indexing="ij"), -1)
    points = slab.world(index)
    mapped = result.transform(points)
    middle = [slice(None)] * 4
    n = min(at[plane.normal], 1)  # a slab at the first face has one plane on one side only
    middle[plane.normal] = slice(n, n + 1)
    here = tuple(middle)
    determinant = jacobian(mapped, slab)[here[:3]]
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.where(determinant > 0, np.log(determinant), np.nan)
    without = result.affine.inverse(mapped[here])
    length = np.linalg.norm(without - points[here], axis=-1)
    mm = frame.grid.voxels(without) * frame.grid.spacing
    across, up = (picture(plane, mm[..., axis]) for axis in plane.within)
    return (across, up), picture(plane, length), picture(plane, log)


def jacobian(mapped: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """Change of volume of a map of points, by central differences, one-sided at the faces.

    Parameters
    ----------
    mapped : ndarray, shape (i, j, k, 3)
        Where the map takes the voxels of the grid, mm.
    grid : Grid
        The grid.

    Returns
    -------
    ndarray, shape (i, j, k)
        The determinant of the Jacobian: 1 without deformation.
    """
    columns = [
        np.gradient(mapped, axis=n)
        if mapped.shape[n] > 1
        else np.broadcast_to(grid.affine[:3, n], mapped.shape)
        for n in range(3)
    ]
    return np.asarray(
        np.linalg.det(np.stack(columns, axis=-1)) / np.linalg.det(grid.affine[:3, :3])
    )
