"""The moving image at points that an affine carries into it, with the derivatives of its values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sacbnet.spatial.trilinear import CORNERS, interpolate_with_slopes

from .lattice import Lattice

Array = NDArray[np.float64]


class Sampler:
    """A moving image, extended by one voxel on each side, for fast interpolation.

    Parameters
    ----------
    moving : Lattice
        The moving image at one resolution.
    """

    def __init__(self, moving: Lattice) -> None:
        self.to_padded = moving.grid.inverse_affine.copy()
        self.to_padded[:3, 3] += 1  # world points in mm -> voxels of the padded lattice
        data, mask = moving.padded()
        self.last = np.array(data.shape)[:, None] - 1
        self.strides = np.array([data.shape[1] * data.shape[2], data.shape[2], 1])
        self.corners = (np.array(CORNERS) @ self.strides)[:, None]
        self.data = data.ravel()
        self.mask: NDArray[np.bool_] | None = None if mask is None else mask.ravel()

    def at(
        self, matrix: Array, points: Array
    ) -> tuple[Array, NDArray[np.bool_], NDArray[np.intp] | None]:
        """Carry points into the padded lattice.

        Parameters
        ----------
        matrix : array, shape (4, 4)
            Affine from points of the fixed image to points of the moving image (mm, RAS).
        points : array, shape (3, n)
            Points of the fixed image (mm, RAS).

        Returns
        -------
        v : array, shape (3, n)
            Voxels of the padded lattice, inside it.
        inside : array of bool, shape (n,)
            False where the point lies outside: the moving value is constant there.
        known : array of int, or None
            Numbers of the points that fall on known voxels; None: all do.
        """
        m = self.to_padded @ matrix
        v = m[:3, :3] @ points + m[:3, 3:]
        inside: NDArray[np.bool_] = np.all((v > 0) & (v < self.last), axis=0)
        np.clip(v, 0, self.last - 1e-9, out=v)
        if self.mask is None:
            return v, inside, None
        return v, inside, np.flatnonzero(self.mask[self.strides @ (v + 0.5).astype(np.intp)])

    def interpolate(self, v: Array) -> tuple[Array, Array]:
        """Interpolate linearly.

        Parameters
        ----------
        v : array, shape (3, n)
            Voxels of the padded lattice.

        Returns
        -------
        values : array, shape (n,)
            The values.
        slopes : array, shape (3, n)
            Their derivatives with respect to the voxel coordinates.
        """
        low = v.astype(np.intp)
        corners = self.data[self.strides @ low + self.corners].astype(np.float64)
        values, slopes = interpolate_with_slopes(corners.reshape(2, 2, 2, -1), v - low)
        return values, np.stack(slopes)

    def by_matrix(self, by_voxel: Array, points: Array) -> Array:
        """Turn derivatives by places in the lattice into derivatives by the affine.

        Parameters
        ----------
        by_voxel : array, shape (3, n)
            Derivative of a score with respect to the voxel coordinates of each point.
        points : array, shape (3, n)
            The points of the fixed image (mm, RAS).

        Returns
        -------
        array, shape (3, 4)
            Derivative with respect to the upper three rows of the matrix.
        """
        by_point = self.to_padded[:3, :3].T @ by_voxel
        return np.concatenate([by_point @ points.T, by_point.sum(axis=1, keepdims=True)], axis=1)
