"""A registration that starts from what is known: a transform that the user gives.

The engine works with an affine and a displacement beyond it. An initial transform is taken apart in
the same way, so that the delivered transform is the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from sacbnet.config.choices import AffineKind
from sacbnet.imaging.intensities import foreground
from sacbnet.imaging.resampling import antialias
from sacbnet.metrics.similarity import mutual_information
from sacbnet.spatial.composition import AnyTransform, linear_fit
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import resample
from sacbnet.spatial.transforms import Affine, DisplacementField, PointMap, chain

from .account import Account
from .affine import align
from .prepare import Pair

_ABOUT = 48  # voxels along the longest side of the grid on which starts are compared
_SHOWN = 0.05
_BETTER = 0.02  # of the normalised mutual information: less is no reason to doubt a direction


@dataclass(frozen=True, eq=False)
class Start:
    """Where the search for a transform starts.

    Parameters
    ----------
    affine : Affine, default the identity
        The affine part, fixed -> moving.
    u_vox : Tensor, shape (1, 3, i, j, k), or None, default None
        What remains beyond the affine, voxels of the working grid; None: nothing.
    """

    affine: Affine
    u_vox: torch.Tensor | None = None


def start_from(
    initial: AnyTransform | None, pair: Pair, kind: AffineKind, account: Account
) -> Start:
    """Find the affine alignment, or take it from an initial transform.

    Parameters
    ----------
    initial : Affine, DisplacementField, Chain or None
        What is known, fixed -> moving, in the unit of the pair; None: nothing.
    pair : Pair
        Both images as the engine takes them.
    kind : {"none", "rigid", "affine"}
        The alignment that is sought. After an initial transform it corrects this transform.
    account : Account
        Takes sentences that speak against the start.

    Returns
    -------
    Start
        The affine part, and what remains.
    """
    if initial is None:
        return Start(align(pair.fixed, pair.moving, kind, warn=account.doubt))
    body = _body(pair)
    linear = linear_fit(initial, body)
    for sentence in doubts_of(linear, pair):
        account.doubt(sentence)
    whole: PointMap = initial
    if kind != "none":
        m = pair.moving
        placed = Grid(m.grid.shape, linear.inverse.matrix @ m.grid.affine)
        if not placed.is_orthogonal:
            placed, moving = placed.orthogonal(), m
            data = resample(m.data, m.grid, placed, linear)
            mask = None if m.mask is None else resample(m.mask, m.grid, placed, linear, "nearest")
            moving = replace(m, data=data, grid=placed, mask=mask)  # type: ignore[arg-type]
        else:
            moving = replace(m, grid=placed)
        found = align(pair.fixed, moving, kind, warn=account.doubt)
        whole, linear = chain(initial, found), linear @ found
    if isinstance(initial, Affine):
        return Start(linear)
    rest = DisplacementField.from_map(chain(linear.inverse, whole), pair.grid)
    u = torch.from_numpy(np.ascontiguousarray(np.moveaxis(rest.displacement_vox(), -1, 0)))
    return Start(linear, u[None].float())


def doubts_of(linear: Affine, pair: Pair) -> list[str]:
    """Compare the affine part of an initial transform with what a mistake would have made of it.

    A file of another frame or of the other direction is read without an error, and only the images
    tell.

    Parameters
    ----------
    linear : Affine
        The affine part, fixed -> moving.
    pair : Pair
        Both images as the engine takes them.

    Returns
    -------
    list of str
        A sentence if its inverse, the same numbers in the other frame, or no transform at all fits
        the images better.
    """
    mirror = Affine(np.diag([-1.0, -1.0, 1.0, 1.0]))
    others = {
        "its inverse": ("give NAME,inverse", linear.inverse),
        "the same numbers in the other frame (RAS for LPS)": (
            "check the program that wrote it",
            mirror @ linear @ mirror,
        ),
        "no transform at all": ("check that it belongs to these images", Affine()),
    }
    scores = _scores([linear, *(other for _, other in others.values())], pair)
    ranked = sorted(zip(scores[1:], others.items(), strict=True), key=lambda item: -item[0])
    best, (name, (remedy, _)) = ranked[0]
    if best <= scores[0] + _BETTER:
        return []
    return [
        f"{name} fits the images better than the initial transform (normalised mutual information"
        f" {best:.3f} against {scores[0]:.3f}): {remedy}"
    ]


def _scores(maps: Sequence[Affine], pair: Pair) -> list[float]:
    """Normalised mutual information of both images through each map, on a coarse grid."""
    f, m = pair.fixed, pair.moving
    extent = np.array(pair.grid.shape) * pair.grid.spacing
    coarse = pair.grid.with_spacing(max(float(extent.max()) / _ABOUT, pair.spacing))
    spacing = float(coarse.spacing.mean())
    fixed = resample(antialias(f.data, f.grid, spacing), f.grid, coarse, Affine()).astype(
        np.float32
    )
    moving = antialias(m.data, m.grid, spacing)
    moved = [resample(moving, m.grid, coarse, point_map).astype(np.float32) for point_map in maps]
    # every map is judged on the same voxels: what any of them shows, or the fixed image
    shown = foreground(fixed, _SHOWN) | np.any([foreground(x, _SHOWN) for x in moved], axis=0)
    if shown.sum() < 100:
        return [0.0] * len(maps)
    return [mutual_information(x[shown], fixed[shown]) for x in moved]


def _body(pair: Pair) -> NDArray[np.float64]:
    """World points at which the fixed image shows something; corners where it shows little."""
    step = tuple(slice(None, None, max(1, n // 24)) for n in pair.grid.shape)
    at = np.argwhere(foreground(pair.fixed.data[step], _SHOWN)) * [s.step for s in step]
    if len(at) < 50:
        return pair.grid.corners
    return pair.grid.world(at)
