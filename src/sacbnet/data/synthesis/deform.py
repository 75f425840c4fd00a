"""The deformation of a synthetic image: a random affine and a random smooth displacement."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sacbnet.config.synthesis import SynthesisOptions
from sacbnet.spatial.matrix import rotation

# the largest difference between neighbouring knots, as a part of their distance; from 1 on, a line
# between them could fold
_STEEPEST = 0.8


def random_affine(
    o: SynthesisOptions, part: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw an affine: scaling, then rotation, then shift.

    Parameters
    ----------
    o : SynthesisOptions
        The ranges.
    part : float
        The part of the ranges that is used.
    rng : numpy.random.Generator
        The source of random numbers.

    Returns
    -------
    ndarray, shape (4, 4)
        mm to mm, about the centre of the box.
    """
    turn, scale, shift = rng.uniform(-1, 1, (3, 3)) * part
    affine = np.eye(4)
    affine[:3, :3] = rotation(np.deg2rad(o.degrees) * turn) * (1 + o.scale) ** scale
    affine[:3, 3] = o.shift_mm * shift
    return affine


def random_box(
    o: SynthesisOptions, map_shape: Sequence[int], spacing_mm: float, rng: np.random.Generator
) -> tuple[list[int], NDArray[np.float64]]:
    """Draw the box of the images.

    A smaller box lies within the box of the map. A larger box contains it.

    Parameters
    ----------
    o : SynthesisOptions
        The range of the sides.
    map_shape : sequence of int
        (i, j, k) of the map.
    spacing_mm : float
        Spacing of the map.
    rng : numpy.random.Generator
        The source of random numbers.

    Returns
    -------
    shape : list of int
        (i, j, k) of the images.
    place : ndarray, shape (4, 4)
        The shift of the centre of the box, in mm.
    """
    side, where = rng.uniform(*o.box, 3), rng.uniform(-1, 1, 3)
    whole = np.array([n // o.factor for n in map_shape])
    shape = np.maximum(1, np.round(side * whole)).astype(int)
    place = np.eye(4)
    place[:3, 3] = where * np.abs(shape - whole) / 2 * o.factor * spacing_mm
    return shape.tolist(), place


def coordinates(
    affine: NDArray[np.float64],
    shape: Sequence[int],
    map_shape: Sequence[int],
    factor: int,
    spacing_mm: float,
) -> Tensor:
    """Give the voxel of the map that each voxel of the image sees through an affine.

    Both boxes have one centre.

    Parameters
    ----------
    affine : ndarray, shape (4, 4)
        mm to mm, about the centre.
    shape : sequence of int
        (i, j, k) of the image.
    map_shape : sequence of int
        (i, j, k) of the map.
    factor : int
        A voxel of the image is as long as this many voxels of the map.
    spacing_mm : float
        Spacing of the map.

    Returns
    -------
    Tensor, shape (3, i, j, k)
        Coordinates in voxels of the map, float32.
    """
    linear = factor * affine[:3, :3]
    middle = [(n - 1) / 2 for n in shape]
    start = (
        np.array([(n - 1) / 2 for n in map_shape]) + affine[:3, 3] / spacing_mm - linear @ middle
    )
    i, j, k = (
        torch.arange(n, dtype=torch.float32).reshape([-1 if a == b else 1 for b in range(3)])
        for a, n in enumerate(shape)
    )
    return torch.stack(
        [(row[0] * i + x) + row[1] * j + row[2] * k for row, x in zip(linear, start, strict=True)]
    )


def random_warp(
    o: SynthesisOptions, shape: Sequence[int], spacing_mm: float, rng: np.random.Generator
) -> Tensor:
    """Draw a smooth displacement: a sum of cubic B-splines, one for each distance between knots.

    For each distance the standard deviation of the coefficients is drawn up to `o.warp_mm`. It is
    limited so that neighbouring knots do not pass each other. (Their difference has √2 times this
    standard deviation, and nearly all values lie within three of it.)

    Parameters
    ----------
    o : SynthesisOptions
        The distances and the largest standard deviation.
    shape : sequence of int
        (i, j, k).
    spacing_mm : float
        Spacing of the image.
    rng : numpy.random.Generator
        The source of random numbers.

    Returns
    -------
    Tensor, shape (3, i, j, k)
        The displacement in mm, float32.
    """
    out = torch.zeros(3, *shape)
    for h in o.warp_knots_mm:
        sd = min(rng.uniform(0, o.warp_mm), _STEEPEST * h / (3 * 2**0.5))
        out += sd * spline_field(shape, h / spacing_mm, 3, rng)[0]
    return out


def spline_field(
    shape: Sequence[int], step: float, channels: int, rng: np.random.Generator
) -> Tensor:
    """Draw smooth fields: cubic B-splines with normal coefficients.

    Parameters
    ----------
    shape : sequence of int
        (i, j, k).
    step : float
        Distance between knots in voxels.
    channels : int
        Number of fields.
    rng : numpy.random.Generator
        The source of random numbers.

    Returns
    -------
    Tensor, shape (1, channels, i, j, k)
        float32.
    """
    knots = [ceil(n / step) + 4 for n in shape]
    values = torch.from_numpy(rng.standard_normal((1, channels, *knots), dtype=np.float32))
    return _cubic(values, shape, step, rng.random(3))


def _cubic(
    values: Tensor, shape: Sequence[int], step: float, offset: NDArray[np.float64]
) -> Tensor:
    """Uniform cubic B-splines from knots to voxels, one axis after the other.

    step: voxels between knots. offset: the place, in [0, 1), where the voxels begin in the first
    interval.
    """
    for axis, n in enumerate(shape):
        at = torch.arange(n) / step + float(offset[axis])
        weights = torch.zeros(n, values.shape[axis + 2])
        whole = at.floor().long()
        t = at - whole
        basis = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
        for m, b in enumerate(basis):
            weights[torch.arange(n), whole + m] = b / 6
        values = torch.movedim(torch.movedim(values, axis + 2, -1) @ weights.T, -1, axis + 2)
    return values
