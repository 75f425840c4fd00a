"""Families of affine maps by a few numbers each, and the climb to the family's nearest optimum.

All numbers are in mm (of points at the object's radius), so that one step length suits them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .information import Information

Array = NDArray[np.float64]
SMALL = 1e-4  # mm, for derivatives of the 4x4 by the numbers: smooth, so that they are good to nine digits


@dataclass(frozen=True)
class Frame:
    """The fixed object: its centre of mass (3,) and the root mean square distance from it, both in mm."""

    centre: Array
    radius: float

    def about(self, linear: Array, image: Array) -> Array:
        """4x4 of `linear` (3, 3) about the centre, which goes to `image` (3,)."""
        matrix = np.eye(4)
        matrix[:3, :3] = linear
        matrix[:3, 3] = image - linear @ self.centre
        return matrix

    def image(self, matrix: Array) -> Array:
        """Where the centre goes."""
        return np.asarray(matrix[:3, :3] @ self.centre + matrix[:3, 3])

    def apart(self, a: Array, b: Array) -> float:
        """Root mean square distance in mm between the images of a ball of the object's radius under two 4x4."""
        spread = ((a - b)[:3, :3] ** 2).sum() * self.radius**2 / 3
        return float(np.sqrt(((self.image(a) - self.image(b)) ** 2).sum() + spread))


Model = Callable[[Array, Array, Frame], Array]  # (numbers, 4x4 to start from, frame) -> 4x4


def rigid(x: Array, start: Array, frame: Frame) -> Array:
    """x: shift, rotation vector."""
    turn = _rotation(x[3:6] / frame.radius)
    return frame.about(turn @ start[:3, :3], frame.image(start) + x[:3])


def similarity(x: Array, start: Array, frame: Frame) -> Array:
    """x: shift, rotation vector, logarithm of the scale."""
    turn = _rotation(x[3:6] / frame.radius)
    return frame.about(
        np.exp(x[6] / frame.radius) * turn @ start[:3, :3], frame.image(start) + x[:3]
    )


def _rotation(vector: Array) -> Array:
    from scipy.spatial.transform import Rotation  # not for those who align nothing

    return np.asarray(Rotation.from_rotvec(vector).as_matrix())


def affine(x: Array, start: Array, frame: Frame) -> Array:
    """x: shift, what is added to the nine of the matrix."""
    return frame.about(
        start[:3, :3] + x[3:].reshape(3, 3) / frame.radius, frame.image(start) + x[:3]
    )


SIZES: dict[Model, int] = {rigid: 6, similarity: 7, affine: 12}


def climb(
    information: Information, start: Array, model: Model, frame: Frame, iterations: int
) -> tuple[float, Array]:
    """The nearest optimum from `start` in a family: (score, 4x4). By L-BFGS; never worse than the start."""
    from scipy.optimize import minimize  # not for those who align nothing

    steps = np.eye(SIZES[model]) * SMALL

    def loss(x: Array) -> tuple[float, Array]:
        score, by_matrix = information.with_gradient(model(x, start, frame))
        changes = [(model(x + h, start, frame) - model(x - h, start, frame))[:3] for h in steps]
        return -score, np.array([-(by_matrix * c).sum() / (2 * SMALL) for c in changes])

    options = {"maxiter": iterations, "ftol": 1e-7, "gtol": 1e-7}
    found = minimize(loss, np.zeros(len(steps)), jac=True, method="L-BFGS-B", options=options)
    before = information(start)
    return (
        (-float(found.fun), model(found.x, start, frame))
        if -found.fun > before
        else (before, start)
    )
