"""What tells a right result from a wrong one, measured from the result alone.

Likeness by itself says little: two unrelated brains that were bent onto each other are alike to
some degree. Each number here is therefore set against what chance gives, or against what bodies do.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sacbnet.imaging.intensities import foreground
from sacbnet.imaging.resampling import mask_on_grid, on_grid
from sacbnet.metrics.similarity import LocalMoments
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.jacobian import jacobian_determinant
from sacbnet.spatial.transforms import Affine, DisplacementField, PointMap, chain

from .inputs import Inputs
from .prepare import Layer, Pair
from .verdict import Evidence

_VOXELS = 400_000  # of the lattice on which the evidence is measured, at most
_SHOWN = 0.05  # of the range: what is darker is background
_WINDOW = 5  # voxels of that lattice
_NOISE = 1e-4  # variance of intensities in [0, 1] that says nothing
_SHIFT = 0.15  # of the body's size: how far the moved image is shifted to see what chance gives
_MASKED = 0.85  # of a mask that must lie in the body

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


def evidence_of(pair: Pair, affine: Affine, transform: DisplacementField) -> Evidence:
    """Measure a result.

    Parameters
    ----------
    pair : Pair
        Both images as the engine takes them.
    affine : Affine
        The affine alignment.
    transform : DisplacementField
        The whole transform.

    Returns
    -------
    Evidence
        The numbers.
    """
    step = max(1, int(np.ceil((np.prod(pair.grid.shape) / _VOXELS) ** (1 / 3))))
    grid = pair.grid.with_spacing(pair.grid.spacing * step)
    calm = 0.5 * step if step > 1 else 1.0
    f = on_grid(gaussian_filter(pair.fixed.data, calm), pair.grid, grid)[0, 0].numpy()
    smooth = Layer(
        gaussian_filter(pair.moving.data, calm * pair.spacing / pair.moving.grid.spacing),
        pair.moving.grid,
        pair.moving.mask,
    )
    inside = np.ones(f.shape, bool)
    if pair.fixed.mask is not None:
        inside = mask_on_grid(pair.fixed.mask, pair.grid, grid)[0, 0].numpy() > 0
    body = foreground(f, _SHOWN) & inside
    if not body.any():
        return Evidence(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    m, known = _seen(smooth, grid, transform)
    a, known_a = _seen(smooth, grid, affine)
    shown = foreground(m, _SHOWN)
    both = known & inside
    sums = float((body & both).sum() + (shown & both).sum())
    stretch, bend = _bending(affine, transform, grid, body)
    return Evidence(
        likeness=_alike(f, m, body & known),
        chance=_by_chance(f, m, body, known),
        start=_alike(f, a, body & known_a),
        overlap=2 * float((body & shown & both).sum()) / max(sums, 1.0),
        shared=float(known[body].mean()),
        stretch=stretch,
        bend=bend,
    )


def mask_doubts(inputs: Inputs) -> list[str]:
    """Look for masks that cannot belong to their images.

    A mask of another subject, or one that is shifted, covers background.

    Parameters
    ----------
    inputs : Inputs
        The images and their masks.

    Returns
    -------
    list of str
        A sentence for each such mask.
    """
    found = []
    for name, image, mask in (
        ("fixed", inputs.fixed, inputs.fixed_mask),
        ("moving", inputs.moving, inputs.moving_mask),
    ):
        if mask is None or not mask.data.any():
            continue
        share = float(foreground(image.unit(), _SHOWN)[mask.data != 0].mean())
        if share < _MASKED:
            found.append(
                f"{100 * (1 - share):.0f} % of the {name} mask lie in the background of its image;"
                " check that it is the mask of this image"
            )
    return found


def _seen(layer: Layer, grid: Grid, point_map: PointMap) -> tuple[Array, Mask]:
    """The moving image through a map, smoothed, and where it is known."""
    moved = on_grid(layer.data, layer.grid, grid, point_map)[0, 0].numpy()
    mask = np.ones(layer.grid.shape, bool) if layer.mask is None else layer.mask
    return moved, mask_on_grid(mask, layer.grid, grid, point_map)[0, 0].numpy() > 0


def _alike(f: Array, m: Array, where: Mask) -> float:
    """Mean squared local correlation at some voxels; only these count in the windows, too."""
    if where.sum() < 100:
        return 0.0
    found = LocalMoments.of(f, m, where, _WINDOW)
    a, b = (v + _NOISE for v in found.variances)
    return float((found.covariance**2 / (a * b))[where].mean())


def _by_chance(f: Array, m: Array, body: Mask, known: Mask) -> float:
    where = np.argwhere(body)
    size = np.maximum(1, _SHIFT * (where.max(axis=0) - where.min(axis=0) + 1)).astype(int)
    found = []
    for signs in product((-1, 1), repeat=3):
        shift = tuple(int(s * n) for s, n in zip(signs, size, strict=True))
        there = body & np.roll(known, shift, (0, 1, 2))
        found.append(_alike(f, np.roll(m, shift, (0, 1, 2)), there))
    return float(np.mean(found))


def _bending(
    affine: Affine, transform: DisplacementField, grid: Grid, body: Mask
) -> tuple[float, float]:
    """Change of volume and displacement beyond the affine."""
    beyond = DisplacementField.from_map(chain(affine.inverse, transform), grid)
    u = beyond.displacement_mm
    vox = torch.from_numpy(np.moveaxis(beyond.displacement_vox(), -1, 0).copy())
    det = jacobian_determinant(vox).numpy()
    at = np.argwhere(body)
    radius = float(np.sqrt((at * grid.spacing).var(axis=0).sum()))
    stretch = float(np.quantile(np.abs(np.log(np.maximum(det[body], 1e-3))), 0.95))
    bend = float(np.sqrt((u[body] ** 2).sum(axis=1).mean())) / max(radius, 1e-6)
    return stretch, bend
