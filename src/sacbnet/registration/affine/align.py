"""The search: at a glance, coarse, medium, fine."""

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

    coarse, medium, fine: spacing of the three resolutions, in voxels of the fixed layer; samples and bins: at each.
    turns_deg: the angles tried about each axis; scales: those tried, but for rigid alignment. tried: poses climbed from
    on the coarse lattice, kept: on the medium one. iterations: at most, in each of the last climbs.
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
    """The rigid or affine transform (fixed -> moving) of largest mutual information; identity for kind "none"."""
    if kind == "none":
        return Affine()
    o = options or AffineOptions()
    # a head of 160 voxels is 20 wide at the coarsest; a small crop must not shrink to a handful of voxels
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
        return Affine()  # the headers already agree at least as well: never worse than the start
    return Affine(best)


def _frame(fixed: Lattice) -> Frame:
    """Centre of mass and radius of what stands out from the background."""
    shown = foreground(fixed.data) if fixed.mask is None else fixed.mask
    points = fixed.grid.world(np.argwhere(shown))
    centre = _centre_of_mass(fixed)
    distance = np.sqrt(((points - centre) ** 2).sum(axis=1).mean())
    return Frame(centre, float(max(distance, fixed.grid.spacing.min())))


def _candidates(
    frame: Frame, fixed: Lattice, moving: Lattice, kind: AffineKind, o: AffineOptions
) -> list[Array]:
    """Turns and scales about: the header, the centres of mass, the centres of the boxes. The headers come first."""
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
    """The best pose: the candidates at a glance, then climbs on the coarse lattice, then on the medium one."""
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
