"""Interpolation that is smoother than linear: cubic B-splines, and Lanczos' windowed sinc.

Both can overshoot at edges: a result may be a little brighter or darker than every voxel of the
image. In the outer half voxel the value of the face holds, as for the linear interpolation.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

LOBES = 3  # voxels on either side that Lanczos' kernel reaches, as in antsApplyTransforms
_AT_ONCE = 1 << 17  # points, so that the weights stay in the processor's memory


class Cubic:
    """Interpolating cubic B-splines, mirrored at the faces, as ITK's BSplineInterpolate.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The image.
    """

    def __init__(self, data: NDArray[np.generic]) -> None:
        from scipy.ndimage import spline_filter

        whole = np.asarray(data, dtype=np.float64)
        self._knots = np.asarray(spline_filter(whole, 3, np.float32, mode="mirror"))

    def __call__(
        self, voxels: NDArray[np.float64], inside: NDArray[np.bool_]
    ) -> NDArray[np.generic]:
        """Values (n,) at voxel coordinates (n, 3); outside they mean nothing."""
        from scipy.ndimage import map_coordinates

        at = np.clip(voxels, 0, np.array(self._knots.shape) - 1.0).T
        found = map_coordinates(self._knots, at, np.float32, 3, mode="mirror", prefilter=False)
        return np.asarray(found)


class Lanczos:
    """Lanczos' windowed sinc over 6 x 6 x 6 voxels; the weights add up to 1, also at the faces.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The image.
    """

    def __init__(self, data: NDArray[np.generic]) -> None:
        self._data = np.ascontiguousarray(data, dtype=np.float32)

    def __call__(
        self, voxels: NDArray[np.float64], inside: NDArray[np.bool_]
    ) -> NDArray[np.generic]:
        """Values (n,) at voxel coordinates (n, 3); outside they mean nothing."""
        out = np.empty(len(voxels), dtype=np.float32)
        for low in range(0, len(voxels), _AT_ONCE):
            out[low : low + _AT_ONCE] = self._some(voxels[low : low + _AT_ONCE])
        return out

    def _some(self, voxels: NDArray[np.float64]) -> NDArray[np.float32]:
        shape = np.array(self._data.shape)
        at = np.clip(voxels, 0, shape - 1.0)
        low = np.floor(at).astype(np.int64)
        index, weight = [], []
        for axis in range(3):
            near = low[:, axis, None] + np.arange(1 - LOBES, LOBES + 1)
            off = at[:, axis, None] - near
            w = np.where(np.abs(off) < LOBES, np.sinc(off) * np.sinc(off / LOBES), 0.0)
            weight.append((w / w.sum(axis=1, keepdims=True)).astype(np.float32).T)
            index.append(np.clip(near, 0, shape[axis] - 1).T)
        strides = shape[1] * shape[2], shape[2]
        flat = self._data.reshape(-1)
        total = np.zeros(len(voxels), dtype=np.float32)
        for a, b in product(range(2 * LOBES), repeat=2):
            rows = index[0][a] * strides[0] + index[1][b] * strides[1]
            line = np.zeros(len(voxels), dtype=np.float32)
            for c in range(2 * LOBES):
                line += weight[2][c] * flat[rows + index[2][c]]
            total += weight[0][a] * weight[1][b] * line
        return total
