"""Maps of points in C++: written down on a grid, inverted, and images resampled through them, voxel by voxel.

Definitions: `sacbnet.spatial.transforms`, `sacbnet.spatial.resample` and `sacbnet.spatial.invert`, which dispatch here.
A map is a sequence of steps, the first one applied first. All 4x4 are float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from . import native

Matrix = NDArray[np.float64]
Step = tuple[
    NDArray[np.float32] | None, Matrix
]  # None and an affine; or mm (i, j, k, 3) and world -> its voxels
Shape = tuple[int, int, int]
WAYS = {"linear": 0, "nearest": 1, "onehot": 2}


def takes(*maps: Sequence[Step] | None) -> bool:
    """Whether the functions below can take these maps; None is one that is not made of such steps."""
    return None not in maps and native.usable()


def displacement(steps: Sequence[Step], shape: Shape, to_world: Matrix) -> NDArray[np.float32]:
    """map(p) - p in mm at the voxels p of a grid: (i, j, k, 3)."""
    out = np.empty((*shape, 3), dtype=np.float32)
    native.call(
        "displacement", *_described(steps), _rows(to_world), *shape, out, torch.get_num_threads()
    )
    return out


def along_axes(displacement_mm: NDArray[np.float32], linear: Matrix) -> NDArray[np.float32]:
    """Displacements (i, j, k, 3) times `linear` (3, 3): the same shape, each component dense in memory."""
    out = np.empty((3, *displacement_mm.shape[:3]), dtype=np.float32)
    linear = np.ascontiguousarray(linear)
    native.call("along_axes", displacement_mm, linear, out[0].size, out, torch.get_num_threads())
    return np.moveaxis(out, 0, -1)


def resamples(data: NDArray[np.generic], interpolation: str) -> bool:
    """Whether `resample` can take voxels of this type."""
    kinds = {"linear": "biuf", "nearest": "biu", "onehot": "biu"}[interpolation]
    return data.dtype.kind in kinds and (interpolation == "linear" or data.dtype.isnative)


def resample(
    data: NDArray[np.generic],
    to_voxels: Matrix,
    steps: Sequence[Step],
    shape: Shape,
    to_world: Matrix,
    interpolation: str,
) -> NDArray[np.generic]:
    """`sacbnet.spatial.resample`, onto the grid of `shape` and `to_world`; to_voxels: world -> those of `data`."""
    data = np.ascontiguousarray(data, dtype=np.float32 if interpolation == "linear" else None)
    out = np.empty(shape, dtype=data.dtype)
    sizes = np.array([*data.shape, *shape], dtype=np.int64)
    native.call(
        "resample", data, data.itemsize, data.dtype.kind == "i", sizes, _rows(to_voxels), _rows(to_world),
        *_described(steps), WAYS[interpolation], out, torch.get_num_threads(),
    )  # fmt: skip
    return out


def invert(
    steps: Sequence[Step],
    start: Sequence[Step],
    back: Matrix,
    domain: tuple[Shape, Matrix],
    on: tuple[Shape, Matrix],
    tolerance_mm: float,
    rounds: int,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """As `sacbnet.spatial.invert` says: u (i, j, k, 3) in mm, and the sum, number and maximum of the residuals.

    domain: shape, and world -> voxels. on: shape, and voxels -> world.
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
    """What a kernel reads of a map: kinds (n, 4), with the addresses of the fields; affines (n, 12); n."""
    for field, _ in steps:
        if field is not None and not (field.dtype == np.float32 and field.flags.c_contiguous):
            raise TypeError(
                f"a displacement of shape {field.shape} is {field.dtype} with strides {field.strides}; "
                "float32, dense with its last axis contiguous, was expected"
            )
    kinds = [
        [0] * 4 if field is None else [field.ctypes.data, *field.shape[:3]] for field, _ in steps
    ]
    matrices = [_rows(matrix).ravel() for _, matrix in steps]
    return np.array(kinds, dtype=np.int64), np.array(matrices), len(steps)


def _rows(matrix: Matrix) -> Matrix:
    """The upper three, dense."""
    return np.ascontiguousarray(matrix[:3])
