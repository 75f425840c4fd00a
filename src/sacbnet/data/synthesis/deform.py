"""Where a synthetic image looks into its label map: a random affine and a random smooth displacement."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from sacbnet.config.synthesis import SynthesisOptions

STEEPEST = 0.8  # largest difference between neighbouring knots, of their distance: from 1 on a line could fold


def random_affine(
    o: SynthesisOptions, part: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """4×4, mm about the centre -> mm: rotation after scaling, and a shift, of `part` of the ranges."""
    turn, scale, shift = rng.uniform(-1, 1, (3, 3)) * part
    affine = np.eye(4)
    affine[:3, :3] = (
        Rotation.from_rotvec(np.deg2rad(o.degrees) * turn).as_matrix() * (1 + o.scale) ** scale
    )
    affine[:3, 3] = o.shift_mm * shift
    return affine


def random_box(
    o: SynthesisOptions, map_shape: Sequence[int], spacing_mm: float, rng: np.random.Generator
) -> tuple[list[int], NDArray[np.float64]]:
    """The images' shape, and the shift (4×4, mm) of their centre: a smaller box lies within the map's, a larger one
    holds it."""
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
    """(3, i, j, k): the voxel of the map that each voxel of the image sees through the affine (mm about the centres).

    A voxel of the image is factor³ voxels of the map, of spacing_mm; both boxes have one centre.
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
    """(3, i, j, k) float32, mm: the sum over the distances of cubic B-splines with random coefficients at knots.

    At each distance h the coefficients' SD is drawn up to warp_mm, but no more than keeps neighbouring knots from
    passing each other (independent, their difference has √2 SD, and three SD hold nearly all).
    """
    out = torch.zeros(3, *shape)
    for h in o.warp_knots_mm:
        sd = min(rng.uniform(0, o.warp_mm), STEEPEST * h / (3 * 2**0.5))
        out += sd * spline_field(shape, h / spacing_mm, 3, rng)[0]
    return out


def spline_field(
    shape: Sequence[int], step: float, channels: int, rng: np.random.Generator
) -> Tensor:
    """(1, channels, i, j, k) float32: cubic B-splines with normal coefficients at knots `step` voxels apart."""
    knots = [ceil(n / step) + 4 for n in shape]
    values = torch.from_numpy(rng.standard_normal((1, channels, *knots), dtype=np.float32))
    return _cubic(values, shape, step, rng.random(3))


def _cubic(
    values: Tensor, shape: Sequence[int], step: float, offset: NDArray[np.float64]
) -> Tensor:
    """Knots (1, c, a, b, c') -> (1, c, i, j, k): uniform cubic B-splines, one axis after the other.

    step: voxels between knots; offset: where in its first interval the lattice begins, in [0, 1).
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
