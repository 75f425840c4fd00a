"""A head made by formulas: a pair of T1-like images whose true transform is known everywhere.

The anatomy is a continuous function of a world point. Both images are sampled from that function,
never from another image: the fixed image at its voxels, the moving image at its voxels through the
inverse of the known warp.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sacbnet.errors import InputError
from sacbnet.imaging.image import Image
from sacbnet.spatial.grid import Grid, Shape, slabs

from .head import HEAD_CENTRE, STRUCTURES, Anatomy
from .shapes import Waves, rotation
from .warp import KnownWarp

__all__ = ["HEAD_CENTRE", "STRUCTURES", "KnownWarp", "PhantomPair", "make_pair", "oblique_grid"]


@dataclass(frozen=True, eq=False)
class PhantomPair:
    """Two images of a head, and the truth between them.

    Parameters
    ----------
    fixed : Image
        float32, in its own units.
    fixed_labels : Image
        uint8, on the grid of `fixed`.
    moving : Image
        float32, in its own units, on another grid.
    moving_labels : Image
        uint8, on the grid of `moving`.
    structures : dict of int to str
        Label to name.
    true_map : KnownWarp
        Maps points, shape (..., 3), of the fixed image to points of the moving image, in mm (RAS);
        `true_map.inverse` maps them back.
    landmarks : ndarray, shape (n, 3)
        Points of the fixed image, in mm (RAS), on which the error can be measured: centres and
        surfaces of structures.
    """

    fixed: Image
    fixed_labels: Image
    moving: Image
    moving_labels: Image
    structures: dict[int, str]
    true_map: KnownWarp
    landmarks: NDArray[np.float64] = field(repr=False)


def make_pair(seed: int = 0, peak_mm: float = 9.0) -> PhantomPair:
    """Make a fixed and a moving head.

    They differ in spacing, orientation, size, intensities, bias field and noise. The same arguments
    give the same bytes. No global random state is used.

    Parameters
    ----------
    seed : int, default 0
        Decides folds, texture, warp, bias field and noise.
    peak_mm : float, default 9
        Largest displacement of the non-linear part in the head, from 0 to 50 mm. It is less if this
        would fold.

    Returns
    -------
    PhantomPair
        The two images, their labels, and the true map.

    Raises
    ------
    InputError
        If `peak_mm` is outside its range.
    """
    if not 0 <= peak_mm <= 50:
        raise InputError(
            f"the peak displacement is {peak_mm} mm; a value from 0 to 50 was expected"
        )
    rng = np.random.default_rng(seed)
    anatomy, warp = Anatomy.random(rng), KnownWarp.random(rng, peak_mm)
    fixed_grid = oblique_grid(
        (96, 112, 96), (1.8, 1.8, 1.8), "LAS", (6, -3, 4), np.add(HEAD_CENTRE, (1, 2, 0))
    )
    centre = warp.affine(HEAD_CENTRE + np.array([-3, 2, 4]))
    moving_grid = oblique_grid((144, 128, 84), (1.5, 1.5, 2.2), "PIR", (-5, 4, -7), centre)
    fixed, fixed_labels = _acquire(anatomy, None, fixed_grid, rng, blur_mm=1.8)
    moving, moving_labels = _acquire(anatomy, warp, moving_grid, rng, blur_mm=1.8)
    return PhantomPair(
        # whole numbers, as scanners store them
        Image(np.rint(fixed * 1050), fixed_grid, "phantom fixed"),
        Image(fixed_labels, fixed_grid, "phantom fixed labels"),
        # another gain, and another contrast
        Image(moving**0.9 * 80, moving_grid, "phantom moving"),
        Image(moving_labels, moving_grid, "phantom moving labels"),
        dict(STRUCTURES),
        warp,
        anatomy.landmarks(),
    )


def oblique_grid(
    shape: Shape, spacing: object, codes: str, degrees: tuple[float, ...], centre: object
) -> Grid:
    """Make a grid with a given orientation.

    Parameters
    ----------
    shape : tuple of int
        (i, j, k).
    spacing : array_like, shape (3,)
        mm along (i, j, k).
    codes : str
        The directions of the voxel axes, such as "LAS": left, anterior, superior.
    degrees : tuple of float
        Rotations about R, A and S.
    centre : array_like, shape (3,)
        World mm (RAS) of the centre of the box.

    Returns
    -------
    Grid
        The grid.
    """
    signed = {code: np.eye(3)[i // 2] * (-1) ** i for i, code in enumerate("RLAPSI")}
    turn = (
        rotation((1, 0, 0), degrees[0])
        @ rotation((0, 1, 0), degrees[1])
        @ rotation((0, 0, 1), degrees[2])
    )
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.stack([signed[c] for c in codes], axis=1) * np.asarray(spacing)
    affine[:3, 3] = np.asarray(centre) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def _acquire(
    anatomy: Anatomy,
    warp: KnownWarp | None,
    grid: Grid,
    rng: np.random.Generator,
    blur_mm: float,
    noise: float = 0.02,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Image (float32, 0 to about 1.2) and labels at the voxels of a grid.

    The bias field belongs to the scanner, so it lies in the world of the image.
    """
    bias = Waves.random(rng, 4, 250, 450)
    image, labels = np.empty(grid.shape, np.float32), np.empty(grid.shape, np.uint8)
    for low, points in slabs(grid, points_at_once=1 << 16):
        here = slice(low, low + len(points))
        value, labels[here] = anatomy.sample(
            points if warp is None else warp.inverse(points), blur_mm
        )
        image[here] = value * np.exp(0.12 * bias(points)[..., 0])
    real, imaginary = (rng.normal(0, noise, grid.shape).astype(np.float32) for _ in range(2))
    # the magnitude of a complex signal: Rician noise, as in MRI
    return np.hypot(image + real, imaginary), labels
