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
from sacbnet.spatial.trilinear import CORNERS, interpolate_with_slopes

from .lattice import Lattice

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
        data, mask = moving.padded()
        self.to_padded = moving.grid.inverse_affine.copy()
        self.to_padded[:3, 3] += 1  # world points in mm -> voxels of the padded lattice
        self.last = np.array(data.shape)[:, None] - 1
        self.strides = np.array([data.shape[1] * data.shape[2], data.shape[2], 1])
        self.corners = (np.array(CORNERS) @ self.strides)[:, None]
        self.data = data.ravel()
        self.mask = None if mask is None else mask.ravel()

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
        v, known = self._places(matrix)
        if len(known) <= _LEAST * len(self.known):
            return 0.0, np.zeros((3, 4))
        v = v[:, known]
        # outside the padded lattice the moving value is constant
        inside: NDArray[np.bool_] = np.all((v > 0) & (v < self.last), axis=0)
        np.clip(v, 0, self.last - 1e-9, out=v)
        low = v.astype(np.intp)
        corners = self.data[self.strides @ low + self.corners].astype(np.float64)
        values, slopes = interpolate_with_slopes(corners.reshape(2, 2, 2, -1), v - low)
        places = self.known[known]
        score, by_value = self._correlate(places, values)
        by_point = self.to_padded[:3, :3].T @ (np.stack(slopes) * (inside * by_value))
        points = self.points[:, known]
        return score, np.concatenate(
            [by_point @ points.T, by_point.sum(axis=1, keepdims=True)], axis=1
        )

    def _places(self, matrix: Array) -> tuple[Array, NDArray[np.intp]]:
        """Voxels of the padded lattice (3, n), and which of them the moving image shows."""
        m = self.to_padded @ matrix
        v = m[:3, :3] @ self.points + m[:3, 3:]
        if self.mask is None:
            return v, np.arange(v.shape[1])
        index = self.strides @ np.clip((v + 0.5).astype(np.intp), 0, self.last)
        return v, np.flatnonzero(self.mask[index])

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
