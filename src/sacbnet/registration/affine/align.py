"""The search for the best pose: estimates first, then coarse, medium and fine lattices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from sacbnet.config.choices import AffineKind
from sacbnet.errors import RegistrationError
from sacbnet.imaging.acquired import CUT_SIGNAL
from sacbnet.imaging.intensities import foreground
from sacbnet.registration.prepare import Layer
from sacbnet.spatial.transforms import Affine

from . import doubts
from .bounds import Array, Bounds
from .candidates import near_headers, turned
from .correlation import Correlation
from .information import Information
from .lattice import Lattice, pyramid
from .models import Frame, Model, affine, climb, rigid, similarity
from .poses import best_apart

# Where a body is cut: air within this share of the body's radius counts, the lattices are finer by
# this factor and have more samples, and the mean stretch is free, but not the shape, which a part
# of a body hardly determines.
_NEAR, _FINER, _MORE, _CUT_SHAPE = 0.05, 0.75, 1.5, 1.08
# The last climb, on local correlation, has so many iterations; its result counts if it keeps this
# share of the mutual information, so that images of two modalities do not follow chance.
_LOCAL, _KEPT_INFORMATION = 20, 0.85
_TURNED = 0.95  # weight of the scores of poses that contradict the headers
_SIZES = 2.2  # ratio of the sizes of two whole bodies above which the scale of a header is wrong


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
    glanced : int, default 600
        Number of first poses whose estimate is repeated with more points.
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
    glanced: int = 600
    kept: int = 4
    iterations: int = 100


def align(
    fixed: Layer,
    moving: Layer,
    kind: AffineKind,
    options: AffineOptions | None = None,
    warn: Callable[[str], None] | None = None,
) -> Affine:
    """Find the rigid or affine transform that makes the mutual information largest.

    The identity is always one of the poses that the search tries. The result therefore never
    scores less than the headers of the two images. What lies beyond the field of view of either
    image has no say. The number of evaluations is bounded, and each takes a fixed number of sample
    points, so that the seconds do not depend on how the images look.

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
    warn : callable (str), optional
        Called with a sentence for each reason to doubt the result.

    Returns
    -------
    Affine
        The transform from points of the fixed image to points of the moving image (mm, RAS).
        It is the identity if the headers already agree at least as well as the best pose.

    Raises
    ------
    RegistrationError
        If no pose is sound: each one mirrors or collapses the image, or stretches it by more than
        `Bounds` allows.

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
    search = _Search.of(fixed, moving, kind, o)
    return Affine(search.find(warn or _silent))


def _silent(sentence: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class _Search:
    """The images at three resolutions, coarse to fine, and what limits the search."""

    lattices: list[tuple[Lattice, Lattice]]
    levels: list[Information]
    local: Correlation | None  # where a body is cut
    frame: Frame
    bounds: Bounds
    kind: AffineKind
    o: AffineOptions

    @classmethod
    def of(cls, fixed: Layer, moving: Layer, kind: AffineKind, o: AffineOptions) -> _Search:
        # A head of 160 voxels is 20 voxels wide on the coarse lattice. A small crop gets finer
        # lattices, so that more than a few voxels remain on the coarse one.
        spacing = float(fixed.grid.spacing.mean()) * min(1.0, min(fixed.grid.shape) / 120)
        cut = bool(fixed.cut.any() or moving.cut.any())
        if cut:
            spacing *= _FINER
        spacings = [f * spacing for f in (o.fine, o.medium, o.coarse)]
        scale = 1.0 if cut or kind == "rigid" else _size_ratio(fixed, moving)
        there = [scale * s for s in spacings]
        lattices = list(zip(pyramid(fixed, spacings), pyramid(moving, there), strict=True))[::-1]
        frame = _frame(lattices[1][0])
        shown = [near_body(f, _NEAR * frame.radius) if cut else f for f, _ in lattices]
        levels = [
            Information(f, m, round(samples * (_MORE if cut else 1)), bins)
            for f, (_, m), samples, bins in zip(shown, lattices, o.samples, o.bins, strict=True)
        ]
        local = Correlation(shown[1], lattices[1][1]) if cut else None
        bounds = Bounds(scale, free_shape=_CUT_SHAPE) if cut else Bounds(scale)
        return cls(lattices, levels, local, frame, bounds, kind, o)

    def find(self, warn: Callable[[str], None]) -> Array:
        _, medium, fine = self.levels
        poses = self._poses()
        best = poses[0][1]
        sound = [m for m in (best, np.eye(4)) if self.bounds.allow(m)]
        model = rigid if self.kind == "rigid" else affine
        for information in (medium, fine):
            _, best = climb(information, best, model, self.frame, self.o.iterations, self.bounds)
        if not self.bounds.allow(best):
            if not sound:
                raise RegistrationError(
                    "the affine alignment found no sound pose: each mirrors, collapses or stretches"
                    " the image; check that both images show the same anatomy at the same scale,"
                    " give masks, or try --affine rigid"
                )
            best = sound[0]
        header = np.eye(4)
        if self.bounds.allow(header) and self._score(medium, header) >= self._score(medium, best):
            best = header  # the headers agree at least as well: never worse than the start
        elif self.local is not None:
            best = self._locally(self.local, best, model)
        views = self.lattices[1]
        cut = any(view.cut.any() for view in views)
        for sentence in chain(
            doubts.of_poses(poses, best, self.frame),
            doubts.of_views(medium, best, self.bounds, *views),
            doubts.of_mirror(self.levels, best, model, self.frame, self.bounds, cut),
        ):
            warn(sentence)
        return best

    def _locally(self, local: Correlation, best: Array, model: Model) -> Array:
        """Climb on local correlation."""
        fine = self.levels[2]
        _, better = climb(local, best, model, self.frame, _LOCAL, self.bounds)
        sound = self.bounds.allow(better) and fine(better) >= _KEPT_INFORMATION * fine(best)
        return better if sound else best

    def _poses(self) -> list[tuple[float, Array]]:
        """The best poses and their scores: estimates of all, coarse climbs, medium climbs."""
        coarse, medium, _ = self.levels
        o, frame, bounds = self.o, self.frame, self.bounds
        model = rigid if self.kind == "rigid" else similarity
        estimated = self._estimated()
        starts = best_apart(estimated, o.tried, 0.2 * frame.radius, frame)
        climbed = [
            self._weighed(coarse, climb(coarse, m, model, frame, o.iterations // 3, bounds))
            for m in [np.eye(4), *starts]
        ]
        starts = best_apart(climbed, o.kept, 0.1 * frame.radius, frame)
        found = [
            self._weighed(medium, climb(medium, m, model, frame, o.iterations // 3, bounds))
            for m in starts
        ]
        return sorted(found, key=lambda pose: -pose[0])

    def _estimated(self) -> list[tuple[float, Array]]:
        """The most promising first poses; those near the headers are preferred."""
        coarse, o, frame = self.levels[0], self.o, self.frame
        fixed, moving = self.lattices[1]
        scales = (1.0,) if self.kind == "rigid" else tuple(self.bounds.scale * s for s in o.scales)
        mass = _centre_of_mass(moving)
        near = near_headers(frame, fixed, moving, mass, o.turns_deg, scales)
        far = turned(frame, fixed, moving, mass, scales)
        shares = [1.0] * len(near) + [_TURNED] * len(far)
        fleeting = [
            (share * coarse.glance(m, fleeting=True), share, m)
            for share, m in zip(shares, near + far, strict=True)
        ]
        fleeting.sort(key=lambda pose: -pose[0])
        return [(share * coarse.glance(m), m) for _, share, m in fleeting[: o.glanced]]

    def _score(self, information: Information, matrix: Array) -> float:
        return self._weighed(information, (information(matrix), matrix))[0]

    def _weighed(self, information: Information, pose: tuple[float, Array]) -> tuple[float, Array]:
        """The score of a pose times what its overlap and its agreement with the headers count."""
        score, matrix = pose
        share = _TURNED if doubts.turn_deg(matrix) > doubts.TURNED_DEG else 1.0
        return score * share * information.preference(information.overlap(matrix)), matrix


def near_body(lattice: Lattice, distance: float) -> Lattice:
    """Limit an image to its body and what lies near it.

    Where a body is cut, its image holds much air beside it, and air says little about the pose.

    Parameters
    ----------
    lattice : Lattice
        The image.
    distance : float
        How far from the body the image counts, in mm.

    Returns
    -------
    Lattice
        The image, with a mask.
    """
    from scipy import ndimage  # slow to import, and not needed without alignment

    body = ndimage.binary_fill_holes(foreground(lattice.data, CUT_SIGNAL))
    steps = max(1, round(distance / float(lattice.grid.spacing.mean())))
    near = ndimage.binary_dilation(body, iterations=steps)
    return replace(lattice, mask=near if lattice.mask is None else near & lattice.mask)


def _size_ratio(fixed: Layer, moving: Layer) -> float:
    """The scale that is expected of two whole bodies: 1, unless they differ more than bodies do."""
    ratio = _radius(moving) / _radius(fixed)
    return ratio if not 1 / _SIZES < ratio < _SIZES else 1.0


def _radius(layer: Layer) -> float:
    """Root mean square distance of the body from its centre, in mm, from every third voxel."""
    data, mask = layer.data[::3, ::3, ::3], layer.mask
    shown = foreground(data) if mask is None else mask[::3, ::3, ::3]
    points = 3 * np.argwhere(shown) * layer.grid.spacing
    distance = np.sqrt(points.var(axis=0).sum()) if len(points) else 0.0
    return float(max(distance, layer.grid.spacing.min()))


def _frame(fixed: Lattice) -> Frame:
    """Centre of mass and radius of the object: the mask, or the foreground without a mask."""
    shown = foreground(fixed.data) if fixed.mask is None else fixed.mask
    points = fixed.grid.world(np.argwhere(shown))
    centre = _centre_of_mass(fixed)
    distance = np.sqrt(((points - centre) ** 2).sum(axis=1).mean())
    return Frame(centre, float(max(distance, fixed.grid.spacing.min())))


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
