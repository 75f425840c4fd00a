"""Shapes by formulas: ellipsoids and their unions, and smooth random functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
_ROWS = 128  # of a matrix product; more would start threads


def times(rows: Array, matrix: NDArray[np.float64]) -> Array:
    """Multiply rows by a matrix, 128 rows at a time.

    For a longer product BLAS starts threads. On a busy machine they wait for each other, and a
    phantom takes three times as long.

    Parameters
    ----------
    rows : ndarray, shape (..., k)
        The rows.
    matrix : ndarray, shape (k, m)
        The matrix; it is converted to the type of the rows.

    Returns
    -------
    ndarray, shape (..., m)
        The products.
    """
    flat, m = rows.reshape(-1, rows.shape[-1]), matrix.astype(rows.dtype)
    whole = len(flat) // _ROWS * _ROWS
    many = (flat[:whole].reshape(-1, _ROWS, flat.shape[1]) @ m).reshape(whole, m.shape[1])
    product: Array = np.concatenate([many, flat[whole:] @ m])
    return product.reshape(*rows.shape[:-1], m.shape[1])


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid in the world.

    Parameters
    ----------
    centre : tuple of float
        World mm (R, A, S).
    radii : tuple of float
        mm along the three axes, before the rotations.
    pitch : float, default 0
        Rotation about R in degrees; positive lifts the front.
    yaw : float, default 0
        Rotation about S in degrees; positive turns the front to the left.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    pitch: float = 0.0
    yaw: float = 0.0

    @property
    def mirrored(self) -> Ellipsoid:
        """The same shape in the other half of the head."""
        return Ellipsoid((-self.centre[0], *self.centre[1:]), self.radii, self.pitch, -self.yaw)

    @property
    def axes(self) -> NDArray[np.float64]:
        """Unit vectors of the three radii in the world, as columns, shape (3, 3)."""
        return rotation((0, 0, 1), self.yaw) @ rotation((1, 0, 0), self.pitch)

    def distance(self, points: Array) -> Array:
        """Compute the signed distance to the surface, to first order.

        Parameters
        ----------
        points : ndarray, shape (..., 3)
            World mm (RAS).

        Returns
        -------
        ndarray, shape (...)
            mm; negative inside.
        """
        local = times(points - np.asarray(self.centre, points.dtype), self.axes / self.radii)
        # the small number avoids 0 / 0 at the centre, which would count as outside
        radius = np.sqrt(np.einsum("...i,...i", local, local) + 1e-12)
        local /= np.asarray(self.radii, points.dtype)
        # the length of the gradient, times the radius
        gradient = np.sqrt(np.einsum("...i,...i", local, local) + 1e-12 / self.radii[0] ** 2)
        return np.asarray(radius * (radius - 1) / gradient)

    def surface(self, directions: Array) -> NDArray[np.float64]:
        """Give points of the surface.

        Parameters
        ----------
        directions : ndarray, shape (n, 3)
            Unit vectors from the centre, in the axes of the ellipsoid.

        Returns
        -------
        ndarray, shape (n, 3)
            World mm (RAS).
        """
        return np.asarray(self.centre) + (directions * self.radii) @ self.axes.T


@dataclass(frozen=True, eq=False)
class Waves:
    """A smooth function of world points: a sum of sinusoids.

    A call maps points, shape (..., 3), in mm, to values, shape (..., m).

    Parameters
    ----------
    frequency : ndarray, shape (n, 3)
        Radians per mm.
    phase : ndarray, shape (n,)
        Radians.
    weight : ndarray, shape (n, m)
        The share of each sinusoid in each component.
    """

    frequency: NDArray[np.float64]
    phase: NDArray[np.float64]
    weight: NDArray[np.float64]

    @classmethod
    def random(
        cls, rng: np.random.Generator, count: int, low: float, high: float, components: int = 1
    ) -> Waves:
        """Draw a function with unit variance in each component.

        Parameters
        ----------
        rng : numpy.random.Generator
            The source of random numbers.
        count : int
            Number of sinusoids, in every direction.
        low, high : float
            Shortest and longest wavelength in mm.
        components : int, default 1
            Number of components m.

        Returns
        -------
        Waves
            The function.
        """
        direction = rng.normal(size=(count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        frequency = direction * (2 * np.pi / rng.uniform(low, high, (count, 1)))
        weight = rng.normal(size=(count, components))
        weight *= np.sqrt(2 / (weight**2).sum(axis=0))
        return cls(frequency, rng.uniform(0, 2 * np.pi, count), weight)

    def __call__(self, points: Array) -> Array:
        return times(
            np.sin(times(points, self.frequency.T) + self.phase.astype(points.dtype)), self.weight
        )

    def gradient(self, points: Array) -> Array:
        """Compute the gradient.

        Parameters
        ----------
        points : ndarray, shape (..., 3)
            World mm (RAS).

        Returns
        -------
        ndarray, shape (..., m, 3)
            The gradient of each component, per mm.
        """
        outer = self.weight[:, :, None] * self.frequency[:, None, :]
        cosines = np.cos(times(points, self.frequency.T) + self.phase.astype(points.dtype))
        return times(cosines, outer.reshape(len(outer), -1)).reshape(
            *points.shape[:-1], *outer.shape[1:]
        )


def rotation(axis: object, degrees: float) -> NDArray[np.float64]:
    """Make a rotation about an axis through the origin, by the formula of Rodrigues.

    Parameters
    ----------
    axis : array_like, shape (3,)
        The axis, of any length.
    degrees : float
        The angle.

    Returns
    -------
    ndarray, shape (3, 3)
        The matrix.
    """
    x, y, z = np.asarray(axis, dtype=np.float64)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) / np.sqrt(x * x + y * y + z * z)
    sine, cosine = np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))
    return np.asarray(np.eye(3) + sine * cross + (1 - cosine) * cross @ cross)


def union(*distances: Array, blend: float = 0.0) -> Array:
    """Compute the signed distance to the union of shapes.

    Parameters
    ----------
    *distances : ndarray
        Signed distances to the shapes, in mm, all of one shape.
    blend : float, default 0
        Two surfaces that meet are rounded over about this length, in mm.

    Returns
    -------
    ndarray
        Signed distance in mm; negative inside.
    """
    out = distances[0]
    for d in distances[1:]:
        out = np.minimum(out, d) - (
            np.maximum(blend - np.abs(out - d), 0) ** 2 / (4 * blend) if blend else 0
        )
    return out
