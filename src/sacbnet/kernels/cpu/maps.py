"""Maps of points in C++: their displacement on a grid, their inverse, and resampling through them.

`sacbnet.spatial.transforms`, `sacbnet.spatial.invert` and `sacbnet.spatial.resample` define the
results and choose these forms. A map is a sequence of steps, the first one applied first. A step is
a pair: None and an affine; or a displacement in mm (i, j, k, 3) and the affine from the world to
its voxels. All affines are 4x4 in float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from . import native

Matrix = NDArray[np.float64]
# None and an affine, or a displacement in mm (i, j, k, 3) and the affine from world to its voxels
Step = tuple[NDArray[np.float32] | None, Matrix]
Shape = tuple[int, int, int]
WAYS = {"linear": 0, "nearest": 1, "onehot": 2}


def takes(*maps: Sequence[Step] | None) -> bool:
    """Whether the functions of this module can take these maps.

    Parameters
    ----------
    *maps : sequence of steps, or None
        The maps. None stands for a map that does not consist of steps.

    Returns
    -------
    bool
        True if all consist of steps, and compiled kernels are usable.
    """
    return None not in maps and native.usable()


def displacement(steps: Sequence[Step], shape: Shape, to_world: Matrix) -> NDArray[np.float32]:
    """Displacement map(p) - p at the voxels p of a grid.

    Parameters
    ----------
    steps : sequence of steps
        The map.
    shape : tuple of 3 int
        Shape of the grid.
    to_world : ndarray of float64, shape (4, 4)
        Affine of the grid: voxels to world.

    Returns
    -------
    ndarray of float32, shape (i, j, k, 3)
        The displacement in mm.
    """
    out = np.empty((*shape, 3), dtype=np.float32)
    native.call(
        "displacement", *_described(steps), _rows(to_world), *shape, out, torch.get_num_threads()
    )
    return out


def along_axes(displacement_mm: NDArray[np.float32], linear: Matrix) -> NDArray[np.float32]:
    """Displacements times a linear map.

    Parameters
    ----------
    displacement_mm : ndarray of float32, shape (i, j, k, 3)
        The displacements.
    linear : ndarray of float64, shape (3, 3)
        The linear map.

    Returns
    -------
    ndarray of float32, shape (i, j, k, 3)
        The mapped displacements. Each component is dense in memory.
    """
    out = np.empty((3, *displacement_mm.shape[:3]), dtype=np.float32)
    linear = np.ascontiguousarray(linear)
    native.call("along_axes", displacement_mm, linear, out[0].size, out, torch.get_num_threads())
    return np.moveaxis(out, 0, -1)


def resamples(data: NDArray[np.generic], interpolation: str) -> bool:
    """Whether `resample` can take voxels of this type.

    Parameters
    ----------
    data : ndarray
        The image.
    interpolation : str
        As in `sacbnet.spatial.resample.resample`.

    Returns
    -------
    bool
        True if it can.
    """
    kinds = {"linear": "biuf", "nearest": "biu", "onehot": "biu"}.get(interpolation, "")
    return data.dtype.kind in kinds and (interpolation == "linear" or data.dtype.isnative)


def resample(
    data: NDArray[np.generic],
    to_voxels: Matrix,
    steps: Sequence[Step],
    shape: Shape,
    to_world: Matrix,
    interpolation: str,
    fill: float,
) -> tuple[NDArray[np.generic], int]:
    """Resample an image onto a grid, as `sacbnet.spatial.resample.resample` defines it.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The image.
    to_voxels : ndarray of float64, shape (4, 4)
        Affine from the world to the voxels of `data`.
    steps : sequence of steps
        The map from the world of the result to the world of the image.
    shape : tuple of 3 int
        Shape of the result.
    to_world : ndarray of float64, shape (4, 4)
        Affine of the result: voxels to world.
    interpolation : {"linear", "nearest", "onehot"}
        How values between voxels are found.
    fill : float
        The value outside the image.

    Returns
    -------
    out : ndarray
        The resampled image: float32 for "linear", else of the type of the image.
    outside : int
        Number of voxels of the result that lie outside the image.
    """
    data = np.ascontiguousarray(data, dtype=np.float32 if interpolation == "linear" else None)
    out = np.empty(shape, dtype=data.dtype)
    sizes = np.array([*data.shape, *shape], dtype=np.int64)
    outside = native.call(
        "resample", data, data.itemsize, data.dtype.kind == "i", sizes,
        _rows(to_voxels), _rows(to_world),
        *_described(steps), WAYS[interpolation], float(fill), out,
        torch.get_num_threads(),
    )  # fmt: skip
    return out, outside


def invert(
    steps: Sequence[Step],
    start: Sequence[Step],
    back: Matrix,
    domain: tuple[Shape, Matrix],
    on: tuple[Shape, Matrix],
    tolerance_mm: float,
    rounds: int,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Invert a map at the voxels of a grid, as `sacbnet.spatial.invert.invert` defines it.

    Parameters
    ----------
    steps : sequence of steps
        The map.
    start : sequence of steps
        An approximation of the inverse, from which the iteration starts.
    back : ndarray of float64, shape (4, 4)
        An affine near the inverse.
    domain : tuple of shape and ndarray
        Shape of the domain, and the affine from the world to its voxels.
    on : tuple of shape and ndarray
        Shape of the grid of the inverse, and the affine from its voxels to the world.
    tolerance_mm : float
        Residual at which a point is solved, in mm.
    rounds : int
        Largest number of iterations before the Newton steps.

    Returns
    -------
    displacement_mm : ndarray of float32, shape (i, j, k, 3)
        The displacement of the inverse, in mm.
    residuals : ndarray of float64, shape (3,)
        Sum, number and maximum of the residuals inside the domain, in mm.
    """
    shape, to_world = on
    out, told = np.empty((*shape, 3), dtype=np.float32), np.empty((*shape[:2], 3))
    native.call(
        "invert", *_described(steps), *_described(start), _rows(back), _rows(domain[1]),
        np.array(domain[0], dtype=np.int64), _rows(to_world), *shape, float(tolerance_mm), rounds,
        out, told, torch.get_num_threads(),
    )  # fmt: skip
    total, count = told[..., :2].sum(axis=(0, 1))
    return out, np.array([total, count, told[..., 2].max()])


def _described(steps: Sequence[Step]) -> tuple[NDArray[np.int64], Matrix, int]:
    """A map as the kernels read it: kinds (n, 4), affines (n, 12), and n.

    The kinds hold the addresses and shapes of the displacements; zeros stand for an affine alone.
    """
    for field, _ in steps:
        if field is not None and not (field.dtype == np.float32 and field.flags.c_contiguous):
            raise TypeError(
                f"a displacement of shape {field.shape} is {field.dtype} "
                f"with strides {field.strides}; "
                "float32, dense with its last axis contiguous, was expected"
            )
    kinds = [
        [0] * 4 if field is None else [field.ctypes.data, *field.shape[:3]] for field, _ in steps
    ]
    matrices = [_rows(matrix).ravel() for _, matrix in steps]
    return np.array(kinds, dtype=np.int64), np.array(matrices), len(steps)


def _rows(matrix: Matrix) -> Matrix:
    """The upper three rows, dense."""
    return np.ascontiguousarray(matrix[:3])
