"""Local correlation of two images under an affine transform, with its gradient.

Mutual information counts how often intensities meet, wherever they do. On a body whose parts moved
against each other, the large parts decide, and the affine that it prefers is a compromise of
outlines. Local correlation looks at each place by itself: bones and organs count as much as the
outline. It needs a pose that is nearly right, and images whose intensities are related linearly
within a few voxels. `align` therefore climbs on it last, and only where a body is cut.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sacbnet.metrics.similarity import LocalMoments, box_sum

from .lattice import Lattice
from .sampler import Sampler

Array = NDArray[np.float64]
_WINDOW = 5  # voxels of the lattice
_NOISE = 2e-4  # variance of intensities in [0, 1] below which a place says nothing
_LEAST = 0.1  # least share of the places that must be known in both images


class Correlation:
    """Mean squared local correlation of two images, as a function of the affine between them.

    Call the object with a 4x4 matrix, which maps points of the fixed image to points of the moving
    image (mm, RAS). It returns a score between 0 and 1. Only places that both images show count.

    Parameters
    ----------
    fixed : Lattice
        The fixed image at one resolution. Its mask says where it counts.
    moving : Lattice
        The moving image at the same resolution.
    """

    def __init__(self, fixed: Lattice, moving: Lattice) -> None:
        fixed = _cropped(fixed)
        self.shape = fixed.data.shape
        known = np.ones(self.shape, bool) if fixed.mask is None else fixed.mask
        self.known = np.flatnonzero(known)
        self.points = fixed.grid.world(np.argwhere(known)).T
        self.fixed = fixed.data.astype(np.float64)
        self.moving = Sampler(moving)

    def __call__(self, matrix: Array) -> float:
        """The score of an affine, a 4x4 matrix from fixed to moving points (mm, RAS)."""
        return self.with_gradient(matrix)[0]

    def with_gradient(self, matrix: Array) -> tuple[float, Array]:
        """Compute the score and its gradient.

        Parameters
        ----------
        matrix : array, shape (4, 4)
            Affine from points of the fixed image to points of the moving image (mm, RAS).

        Returns
        -------
        score : float
            The score; 0 where the overlap is too small.
        gradient : array, shape (3, 4)
            Derivative of the score with respect to the upper three rows of the matrix, at a fixed
            overlap.
        """
        if not np.isfinite(matrix).all():
            return 0.0, np.zeros((3, 4))
        v, inside, known = self.moving.at(matrix, self.points)
        places, points = self.known, self.points
        if known is not None:
            places, points, v, inside = places[known], points[:, known], v[:, known], inside[known]
        if len(places) <= _LEAST * len(self.known):
            return 0.0, np.zeros((3, 4))
        values, slopes = self.moving.interpolate(v)
        score, by_value = self._correlate(places, values)
        return score, self.moving.by_matrix(slopes * (inside * by_value), points)

    def _correlate(self, places: NDArray[np.intp], values: Array) -> tuple[float, Array]:
        """The score of moving values at some voxels, and its derivative by each value."""
        shown, m = np.zeros(self.shape, bool), np.zeros(self.shape)
        shown.ravel()[places] = True
        m.ravel()[places] = values
        found = LocalMoments.of(self.fixed, m, shown, _WINDOW)
        (mean_f, mean_m), both = found.means, found.covariance
        var_f, var_m = (v + _NOISE for v in found.variances)
        score = both**2 / (var_f * var_m)
        share = shown / found.number
        by_both, by_var = 2 * both / (var_f * var_m) * share, -score / var_m * share
        by_value = (
            self.fixed * box_sum(by_both, _WINDOW)
            - box_sum(by_both * mean_f, _WINDOW)
            + 2 * m * box_sum(by_var, _WINDOW)
            - 2 * box_sum(by_var * mean_m, _WINDOW)
        ).ravel()[places]
        return float(score.ravel()[places].mean()), by_value / len(places)


def _cropped(fixed: Lattice) -> Lattice:
    """The part of a lattice that its mask needs."""
    if fixed.mask is None or not fixed.mask.any():
        return fixed
    where = np.argwhere(fixed.mask)
    low, high = where.min(axis=0), where.max(axis=0) + 1
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return replace(
        fixed, data=fixed.data[box], grid=fixed.grid.cropped(low, high), mask=fixed.mask[box]
    )
