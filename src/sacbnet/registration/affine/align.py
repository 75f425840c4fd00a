"""The search for the best pose: estimates first, then coarse, medium and fine lattices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sacbnet.config.choices import AffineKind
from sacbnet.imaging.intensities import foreground
from sacbnet.registration.prepare import Layer
from sacbnet.spatial.transforms import Affine

from .information import Information
from .lattice import Lattice, pyramid
from .models import Array, Frame, affine, climb, rigid, similarity
from .poses import best_apart, spread


@dataclass(frozen=True)
class AffineOptions:
    """Numbers of the search.

    Parameters
    ----------
    coarse : float, default 8.0
        Spacing of the coarse lattice, in voxels of the fixed layer. A fixed layer whose shortest
        side has fewer than 120 voxels gets proportionally finer lattices, all three of them.
    medium : float, default 4.0
        Spacing of the medium lattice, in voxels of the fixed layer.
    fine : float, default 2.0
        Spacing of the fine lattice, in voxels of the fixed layer.
    samples : tuple of int, default (10_000, 40_000, 80_000)
        Number of sample points on the coarse, the medium and the fine lattice.
    bins : tuple of int, default (20, 32, 32)
        Number of histogram bins per intensity on the coarse, the medium and the fine lattice.
    turns_deg : tuple of float, default (-45, -30, -15, 0, 15, 30, 45)
        Angles of the first poses about each axis, in degrees. The search combines the angles of
        the three axes.
    scales : tuple of float, default (0.83, 1.0, 1.2)
        Scales of the first poses. A rigid alignment uses the scale 1 only.
    tried : int, default 20
        Number of poses from which the search climbs on the coarse lattice.
    kept : int, default 4
        Number of poses from which the search climbs on the medium lattice.
    iterations : int, default 100
        Largest number of iterations in each of the last two climbs. The earlier climbs take at
        most a third of this number.
    """

    coarse: float = 8.0
    medium: float = 4.0
    fine: float = 2.0
    samples: tuple[int, int, int] = (10_000, 40_000, 80_000)
    bins: tuple[int, int, int] = (20, 32, 32)
    turns_deg: tuple[float, ...] = (-45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0)
    scales: tuple[float, ...] = (0.83, 1.0, 1.2)
    tried: int = 20
    kept: int = 4
    iterations: int = 100


def align(
    fixed: Layer, moving: Layer, kind: AffineKind, options: AffineOptions | None = None
) -> Affine:
    """Find the rigid or affine transform that makes the mutual information largest.

    The identity is always one of the poses that the search tries. The result therefore never
    scores less than the headers of the two images.

    Parameters
    ----------
    fixed : Layer
        The fixed image on its working grid, intensities in [0, 1]. If the layer has a mask, only
        the voxels inside the mask count.
    moving : Layer
        The moving image on its working grid, intensities in [0, 1], with or without a mask.
    kind : {"none", "rigid", "affine"}
        Family of the transform. "none" returns the identity without a search.
    options : AffineOptions, optional
        Numbers of the search; the defaults of `AffineOptions` if not given.

    Returns
    -------
    Affine
        The transform from points of the fixed image to points of the moving image (mm, RAS).
        It is the identity if the headers already agree at least as well as the best pose.

    Notes
    -----
    The score is the normalised mutual information of `Information`. The search uses no random
    numbers: the same layers and options give the same bytes.

    Examples
    --------
    ::

        pair = prepare(inputs, spacing, margin)
        transform = align(fixed=pair.fixed, moving=pair.moving, kind="affine")
    """
    if kind == "none":
        return Affine()
    o = options or AffineOptions()
    # A head of 160 voxels is 20 voxels wide on the coarse lattice. A small crop gets finer
    # lattices, so that more than a few voxels remain on the coarse one.
    spacing = float(fixed.grid.spacing.mean()) * min(1.0, min(fixed.grid.shape) / 120)
    spacings = [f * spacing for f in (o.fine, o.medium, o.coarse)]
    lattices = list(zip(pyramid(fixed, spacings), pyramid(moving, spacings), strict=True))[::-1]
    coarse, medium, fine = (
        Information(f, m, samples, bins)
        for (f, m), samples, bins in zip(lattices, o.samples, o.bins, strict=True)
    )
    frame = _frame(lattices[1][0])
    best = _pose(coarse, medium, _candidates(frame, *lattices[1], kind, o), kind, frame, o)
    model = rigid if kind == "rigid" else affine
    for information in (medium, fine):
        _, best = climb(information, best, model, frame, o.iterations)
    header = np.eye(4)
    if medium(header) >= medium(best):
        return Affine()  # the headers agree at least as well: never worse than the start
    return Affine(best)


def _frame(fixed: Lattice) -> Frame:
    """Centre of mass and radius of the object: the mask, or the foreground without a mask."""
    shown = foreground(fixed.data) if fixed.mask is None else fixed.mask
    points = fixed.grid.world(np.argwhere(shown))
    centre = _centre_of_mass(fixed)
    distance = np.sqrt(((points - centre) ** 2).sum(axis=1).mean())
    return Frame(centre, float(max(distance, fixed.grid.spacing.min())))


def _candidates(
    frame: Frame, fixed: Lattice, moving: Lattice, kind: AffineKind, o: AffineOptions
) -> list[Array]:
    """The first poses of the search; the identity, which stands for the headers, comes first.

    The other poses turn and scale the fixed object. Its centre goes to one of three places: where
    the headers put it, to the moving object's centre of mass, or by the shift between the centres
    of the two boxes.
    """
    boxes = frame.centre + moving.grid.centre - fixed.grid.centre
    images = [frame.centre, _centre_of_mass(moving), boxes]
    return [np.eye(4), *spread(frame, images, o.turns_deg, (1.0,) if kind == "rigid" else o.scales)]


def _pose(
    coarse: Information,
    medium: Information,
    candidates: list[Array],
    kind: AffineKind,
    frame: Frame,
    o: AffineOptions,
) -> Array:
    """The best pose: estimates of all candidates, coarse climbs of some, medium climbs of few."""
    model = rigid if kind == "rigid" else similarity
    starts = best_apart(
        [(coarse.glance(m), m) for m in candidates], o.tried, 0.2 * frame.radius, frame
    )
    climbed = [climb(coarse, m, model, frame, o.iterations // 3) for m in [candidates[0], *starts]]
    starts = best_apart(climbed, o.kept, 0.1 * frame.radius, frame)
    return max(
        (climb(medium, m, model, frame, o.iterations // 3) for m in starts),
        key=lambda found: found[0],
    )[1]


def _centre_of_mass(lattice: Lattice) -> Array:
    weight = lattice.data.astype(np.float64) - lattice.data.min()
    if lattice.mask is not None:
        weight = weight * lattice.mask
    total = weight.sum()
    if total <= 0:
        return lattice.grid.centre
    sums = (
        weight.sum(axis=tuple(b for b in range(3) if b != a)) @ np.arange(weight.shape[a])
        for a in range(3)
    )
    return lattice.grid.world(np.array([s / total for s in sums]))
