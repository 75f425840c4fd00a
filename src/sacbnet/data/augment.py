"""Random changes to a pair in training: mirror, rotate, scale, shift; gamma, bias field, noise.

The changes depend on the seed alone. Sample n of a run is therefore the same in every process.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sacbnet.config.augmentation import Augmentation
from sacbnet.spatial.matrix import rotation
from sacbnet.spatial.warp import identity, sample

Pair = tuple[Tensor, Tensor]  # (moving, fixed), each (1, 1, i, j, k)
_BIAS_KNOTS = 4  # of the bias field, along each axis


def augment(
    options: Augmentation,
    seed: tuple[int, ...],
    images: Pair,
    labels: tuple[Tensor | None, Tensor | None] | None = None,
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
) -> tuple[Pair, tuple[Tensor | None, Tensor | None] | None]:
    """Change a pair of images, and its labels with it. Nothing is changed in place.

    Parameters
    ----------
    options : Augmentation
        The ranges of the changes.
    seed : tuple of int
        Decides the changes.
    images : tuple of Tensor, each of shape (1, 1, i, j, k)
        (moving, fixed), float32 in [0, 1], on one grid.
    labels : tuple of Tensor or None, each of shape (1, 1, i, j, k), optional
        Integers; either may be None.
    spacing_mm : sequence of float, default (1, 1, 1)
        Spacing of the grid along (i, j, k), in mm.

    Returns
    -------
    images : tuple of Tensor
        (moving, fixed), float32 in [0, 1]. An image without change is returned as it is.
    labels : tuple of Tensor or None
        By nearest neighbour, of the same type; None if no labels were given.
    """
    common, relative, *own = (np.random.default_rng((*seed, n)) for n in range(4))
    flips = [
        axis + 2
        for axis, mirrored in zip(range(3), common.random(3) < 0.5, strict=True)
        if mirrored
    ]
    flips = [axis for axis in flips if axis - 2 in options.flip]
    shared = _affine(options, 1.0, common)
    affines = (shared @ _affine(options, options.relative, relative), shared)
    moved: list[Tensor] = []
    carried: list[Tensor | None] = []
    for n, image in enumerate(images):
        label = None if labels is None else labels[n]
        if flips:
            image, label = image.flip(flips), None if label is None else label.flip(flips)
        if options.moves:
            at = _coordinates(affines[n], tuple(image.shape[2:]), spacing_mm).to(image.device)
            image = sample(image, at)
            label = None if label is None else _carried(label, at)
        moved.append(_intensity(options, image, own[n]))
        carried.append(label)
    return (moved[0], moved[1]), None if labels is None else (carried[0], carried[1])


def _carried(labels: Tensor, at: Tensor) -> Tensor:
    """Labels at the coordinates, by nearest neighbour, 0 outside; exact up to 32 bits.

    `sample` works in float32, which holds whole numbers up to 2^24. Larger numbers are therefore
    sampled as two halves of 16 bits.
    """
    if labels.dtype.itemsize <= 2:
        return sample(labels.float(), at, "nearest").to(labels.dtype)
    halves = torch.cat([labels >> 16, labels & 0xFFFF], 1).float()
    high, low = sample(halves, at, "nearest").to(labels.dtype).chunk(2, 1)
    return (high << 16) + low


def _affine(options: Augmentation, part: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """4x4, in mm about the centre of the grid: scaling, then rotation, then shift, all uniform."""
    turn, scale, shift = rng.uniform(-1, 1, (3, 3)) * part
    affine = np.eye(4)
    turned = rotation(np.deg2rad(options.affine_degrees) * turn)
    affine[:3, :3] = turned * (1 + options.affine_scale) ** scale
    affine[:3, 3] = options.affine_mm * shift
    return affine


def _coordinates(
    affine: NDArray[np.float64], shape: tuple[int, ...], spacing_mm: Sequence[float]
) -> Tensor:
    """The voxel from which each voxel of the result takes its value, shape (1, 3, i, j, k)."""
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    linear = affine[:3, :3] * spacing / spacing[:, None]  # in voxels
    centre = (np.array(shape) - 1) / 2
    shift = centre - linear @ centre + affine[:3, 3] / spacing
    here = identity(shape)
    out = torch.einsum("ab,nbijk->naijk", torch.from_numpy(linear).to(here), here)
    return out + torch.from_numpy(shift).to(here).reshape(1, 3, 1, 1, 1)


def _intensity(options: Augmentation, image: Tensor, rng: np.random.Generator) -> Tensor:
    """Bias field, gamma, noise, and the clip to [0, 1].

    All are drawn in every case, so that an option does not change the other draws.
    """
    field = torch.from_numpy(rng.standard_normal((1, 1, *(_BIAS_KNOTS,) * 3), dtype=np.float32))
    exponent = (1 + options.gamma) ** rng.uniform(-1, 1)
    noise = options.noise * rng.random()
    out = image
    if options.bias:
        smooth = F.interpolate(field, tuple(image.shape[2:]), mode="trilinear", align_corners=True)
        out = out * torch.exp(options.bias * smooth).to(image)
    if options.gamma:
        out = out.clamp(0, 1) ** exponent
    if options.noise:
        grain = torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32)).to(
            image
        )
        out = out + noise * grain * (image != 0)
    return image if out is image else out.clamp(0, 1)
