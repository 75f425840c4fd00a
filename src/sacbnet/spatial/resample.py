"""Resampling of images in the world, from their original voxels onto another grid, in one step.

The result agrees with ITK: an image ends at the outer faces of its voxels, half a voxel beyond the
outermost centres. In this outer half voxel, the value of the nearest voxel centre holds. Outside
the image the result is 0, or another value that the caller gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from sacbnet.kernels.cpu import maps as compiled

from .grid import Grid, slabs
from .smooth import Cubic, Lanczos
from .transforms import PointMap, steps_of
from .trilinear import CORNERS, interpolate
from .warp import sample

Interpolation = Literal["linear", "nearest", "cubic", "lanczos", "onehot"]
SMOOTH: tuple[Interpolation, ...] = ("linear", "cubic", "lanczos")  # their results are float32
# voxel coordinates (n, 3) and whether they lie inside (n,) -> values (n,), which count inside only
Sampler = Callable[[NDArray[np.float64], NDArray[np.bool_]], NDArray[np.generic]]


def resample(
    data: NDArray[np.generic],
    source: Grid,
    target: Grid,
    point_map: PointMap,
    interpolation: Interpolation = "linear",
    fill: float = 0.0,
) -> NDArray[np.generic]:
    """Resample an image onto a grid through a map of points.

    Computes ``out(p) = data(point_map(p))`` at each voxel p of the target.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The image, on the grid `source`.
    source : Grid
        Grid of the image.
    target : Grid
        Grid of the result.
    point_map : callable
        Maps world mm of the target to world mm of the source.
    interpolation : {"linear", "nearest", "cubic", "lanczos", "onehot"}, default "linear"
        "linear", "cubic" and "lanczos" (`sacbnet.spatial.smooth`) give float32. "nearest" keeps the
        type and every value. "onehot" warps each label linearly as an image of its own; the label
        with the largest share wins, the smallest label among equals. It keeps the type.
    fill : float, default 0
        The value outside the source. The type of the result must hold it.

    Returns
    -------
    ndarray, shape of the target
        The resampled image.
    """
    return resample_counted(data, source, target, point_map, interpolation, fill)[0]


def resample_counted(
    data: NDArray[np.generic],
    source: Grid,
    target: Grid,
    point_map: PointMap,
    interpolation: Interpolation = "linear",
    fill: float = 0.0,
) -> tuple[NDArray[np.generic], int]:
    """Resample an image as `resample` does, and count the voxels outside it.

    Parameters
    ----------
    data, source, target, point_map, interpolation, fill
        As for `resample`.

    Returns
    -------
    out : ndarray, shape of the target
        The resampled image.
    outside : int
        Number of voxels of the target that are mapped outside the source.
    """
    steps = steps_of(point_map)
    if steps is not None and compiled.takes(steps) and compiled.resamples(data, interpolation):
        return compiled.resample(
            data, source.inverse_affine, steps, target.shape, target.affine, interpolation, fill
        )
    out = np.empty(target.shape, dtype=np.float32 if interpolation in SMOOTH else data.dtype)
    sampler = _SAMPLERS[interpolation](data)
    outside = 0
    for low, points in slabs(target):
        voxels = source.voxels(point_map(points)).reshape(-1, 3)
        inside = _inside(data.shape, voxels)
        values = np.where(inside, sampler(voxels, inside), out.dtype.type(fill))
        out[low : low + points.shape[0]] = values.reshape(points.shape[:-1])
        outside += inside.size - int(np.count_nonzero(inside))
    return out, outside


def _inside(shape: tuple[int, ...], voxels: NDArray[np.float64]) -> NDArray[np.bool_]:
    # slightly wider than the faces: a grid mapped onto itself must not lose its rim by rounding
    low, high = -0.5 - 1e-6, np.array(shape) - 0.5 + 1e-6
    return np.asarray(np.all((voxels >= low) & (voxels <= high), axis=-1))


def _linear(data: NDArray[np.generic]) -> Sampler:
    image = torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))[None, None]

    def at(voxels: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.generic]:
        coordinates = torch.from_numpy(voxels.T.astype(np.float32)).reshape(1, 3, -1, 1, 1)
        return np.asarray(sample(image, coordinates, padding="border").reshape(-1).numpy())

    return at


def _nearest(data: NDArray[np.generic]) -> Sampler:
    size = np.array(data.shape)

    def at(voxels: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.generic]:
        index = np.floor(voxels + 0.5).astype(np.int64)
        np.clip(index, 0, size - 1, out=index)
        return np.asarray(data[tuple(index.T)])

    return at


def _onehot(data: NDArray[np.generic]) -> Sampler:
    """Trilinear votes of the eight surrounding labels, in one pass for any number of labels."""
    nearest, size = _nearest(data), np.array(data.shape)
    padded = np.pad(data, ((0, 1),) * 3, mode="edge")
    mixed_cell = ~_uniform_cells(padded)

    def at(voxels: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.generic]:
        out = nearest(voxels, inside)
        clamped = np.clip(voxels, 0, size - 1)
        low = np.floor(clamped).astype(np.int64)
        mixed = np.flatnonzero(mixed_cell[tuple(low.T)] & inside)
        low, f = low[mixed], (clamped - low)[mixed]
        labels = np.stack([padded[tuple((low + corner).T)] for corner in CORNERS])  # (8, n)
        out[mixed] = _largest_vote(labels, f.T)
        return out

    return at


def _uniform_cells(padded: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Whether all corners of a cell have one label; each size is one less than in `padded`."""
    same: NDArray[np.bool_] = padded[:-1] == padded[1:]
    same = same[:, :-1] & same[:, 1:] & (padded[:-1, :-1] == padded[:-1, 1:])
    same_k = same[:, :, :-1] & same[:, :, 1:]
    return np.asarray(same_k & (padded[:-1, :-1, :-1] == padded[:-1, :-1, 1:]))


def _largest_vote(
    labels: NDArray[np.generic], fraction: NDArray[np.float64]
) -> NDArray[np.generic]:
    """Of the labels (8, n) of each cell's corners, the one with the largest share at the points.

    The points are given by their fractions (3, n). Of equal shares, the smallest label wins.
    """
    best: NDArray[np.generic] = labels[0].copy()
    best_vote = np.full(labels.shape[1], -1.0)
    for candidate in labels:
        mask = (labels == candidate).astype(np.float64).reshape(2, 2, 2, -1)
        vote = interpolate(mask, fraction)
        better = (vote > best_vote + 1e-9) | (
            (np.abs(vote - best_vote) <= 1e-9) & (candidate < best)
        )
        best = np.where(better, candidate, best)
        best_vote = np.where(better, vote, best_vote)
    return best


_SAMPLERS: dict[Interpolation, Callable[[NDArray[np.generic]], Sampler]] = {
    "linear": _linear,
    "nearest": _nearest,
    "cubic": Cubic,
    "lanczos": Lanczos,
    "onehot": _onehot,
}
