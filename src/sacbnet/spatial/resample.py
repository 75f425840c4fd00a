"""Resampling of images in the world: from original voxels onto another grid, through a map of points, once.

Agrees with ITK: a point is inside an image up to the outer faces of its voxels (half a voxel beyond the centres); in
that rim the nearest voxel centre's value holds, and outside it the result is 0.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from .grid import Grid, slabs
from .transforms import PointMap
from .warp import sample

Interpolation = Literal["linear", "nearest", "onehot"]


def resample(
    data: NDArray[np.generic], source: Grid, target: Grid, point_map: PointMap, interpolation: Interpolation = "linear"
) -> NDArray[np.generic]:
    """out(p) = data(point_map(p)) for each voxel p of `target`.

    data: (i, j, k) on `source`. point_map: world mm of the target -> world mm of the source.
    interpolation: "linear" (float32), "nearest" (keeps the type and every value), "onehot" (each label warped linearly as
    an image of its own, the largest wins; keeps the type; background outside is label 0; of equals the smallest label).
    """
    out = np.empty(target.shape, dtype=np.float32 if interpolation == "linear" else data.dtype)
    if interpolation == "linear":
        data = np.ascontiguousarray(data, dtype=np.float32)
    at = {"linear": _linear, "nearest": _nearest, "onehot": _onehot}[interpolation]
    for low, points in slabs(target):
        voxels = source.voxels(point_map(points)).reshape(-1, 3)
        values = at(data, voxels)
        out[low : low + points.shape[0]] = values.reshape(points.shape[:-1])
    return out


def _inside(shape: tuple[int, ...], voxels: NDArray[np.float64]) -> NDArray[np.bool_]:
    # a hair wider than the faces, so that a grid mapped onto itself does not lose its rim to rounding
    return np.all((voxels >= -0.5 - 1e-6) & (voxels <= np.array(shape) - 0.5 + 1e-6), axis=-1)


def _linear(data: NDArray[np.generic], voxels: NDArray[np.float64]) -> NDArray[np.generic]:
    coordinates = torch.from_numpy(voxels.T.astype(np.float32)).reshape(1, 3, -1, 1, 1)
    values = sample(torch.from_numpy(data)[None, None], coordinates, padding="border").reshape(-1).numpy()
    return np.where(_inside(data.shape, voxels), values, np.float32(0))


def _nearest(data: NDArray[np.generic], voxels: NDArray[np.float64]) -> NDArray[np.generic]:
    index = np.floor(voxels + 0.5).astype(np.int64)
    np.clip(index, 0, np.array(data.shape) - 1, out=index)
    return np.where(_inside(data.shape, voxels), data[tuple(index.T)], data.dtype.type(0))


def _onehot(data: NDArray[np.generic], voxels: NDArray[np.float64]) -> NDArray[np.generic]:
    """Trilinear votes of the eight surrounding labels: one pass however many labels there are."""
    out = _nearest(data, voxels)
    size = np.array(data.shape)
    clamped = np.clip(voxels, 0, size - 1)
    low = np.minimum(np.floor(clamped).astype(np.int64), np.maximum(size - 2, 0))
    corners = [np.minimum(low + np.array([a, b, c]), size - 1) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    labels = np.stack([data[tuple(index.T)] for index in corners])  # (8, n)
    mixed = np.flatnonzero((labels != labels[0]).any(axis=0) & _inside(data.shape, voxels))
    labels, f = labels[:, mixed], (clamped - low)[mixed]
    axis = [np.stack([1 - f[:, a], f[:, a]]) for a in range(3)]
    weights = np.stack([axis[0][a] * axis[1][b] * axis[2][c] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    best, best_vote = labels[0].copy(), np.full(len(mixed), -1.0)
    for corner in range(8):
        vote = (weights * (labels == labels[corner])).sum(axis=0)
        better = (vote > best_vote + 1e-9) | ((np.abs(vote - best_vote) <= 1e-9) & (labels[corner] < best))
        best = np.where(better, labels[corner], best)
        best_vote = np.where(better, vote, best_vote)
    out[mixed] = best
    return out
