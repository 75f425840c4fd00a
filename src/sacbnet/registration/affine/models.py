"""Families of affine maps with a few numbers each, and the climb to the nearest optimum.

All numbers are in mm, as a displacement at the radius of the object. One step length therefore
suits all numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sacbnet.spatial.matrix import rotation

from .bounds import Bounds

Array = NDArray[np.float64]
# Step in mm of the finite differences of a 4x4 matrix by the numbers of a family. The maps are
# smooth, so that the differences are accurate to nine digits.
_SMALL = 1e-4


@dataclass(frozen=True)
class Frame:
    """Position and size of the fixed object.

    Parameters
    ----------
    centre : array, shape (3,)
        Centre of mass of the object (mm, RAS).
    radius : float
        Root mean square distance of the object's points from the centre, in mm.
    """

    centre: Array
    radius: float

    def about(self, linear: Array, image: Array) -> Array:
        """Build the affine with a given linear part that maps the centre to a given point.

        Parameters
        ----------
        linear : array, shape (3, 3)
            Linear part of the affine.
        image : array, shape (3,)
            Point to which the centre goes (mm, RAS).

        Returns
        -------
        array, shape (4, 4)
            The affine.
        """
        matrix = np.eye(4)
        matrix[:3, :3] = linear
        matrix[:3, 3] = image - linear @ self.centre
        return matrix

    def image(self, matrix: Array) -> Array:
        """Map the centre through an affine.

        Parameters
        ----------
        matrix : array, shape (4, 4)
            The affine.

        Returns
        -------
        array, shape (3,)
            The point to which the centre goes (mm, RAS).
        """
        return np.asarray(matrix[:3, :3] @ self.centre + matrix[:3, 3])

    def apart(self, a: Array, b: Array) -> float:
        """Compute how far apart two affines are on the object.

        The object is taken as the points at its radius from its centre.

        Parameters
        ----------
        a : array, shape (4, 4)
            The first affine.
        b : array, shape (4, 4)
            The second affine.

        Returns
        -------
        float
            Root mean square distance in mm between the images of the object under the two affines.
        """
        spread = ((a - b)[:3, :3] ** 2).sum() * self.radius**2 / 3
        return float(np.sqrt(((self.image(a) - self.image(b)) ** 2).sum() + spread))


Model = Callable[[Array, Array, Frame], Array]  # (numbers, 4x4 to start from, frame) -> 4x4


def rigid(x: Array, start: Array, frame: Frame) -> Array:
    """Shift and turn an affine.

    Parameters
    ----------
    x : array, shape (6,)
        Shift of the centre's image in mm (3) and rotation vector (3). The rotation vector is in mm
        at the object's radius, that is its angle in radians times the radius.
    start : array, shape (4, 4)
        The affine that the numbers change; zeros leave it as it is.
    frame : Frame
        Position and size of the fixed object.

    Returns
    -------
    array, shape (4, 4)
        The changed affine.
    """
    turn = rotation(x[3:6] / frame.radius)
    return frame.about(turn @ start[:3, :3], frame.image(start) + x[:3])


def similarity(x: Array, start: Array, frame: Frame) -> Array:
    """Shift, turn and scale an affine.

    Parameters
    ----------
    x : array, shape (7,)
        Shift of the centre's image in mm (3), rotation vector (3) and logarithm of the scale (1),
        the last two times the object's radius in mm.
    start : array, shape (4, 4)
        The affine that the numbers change; zeros leave it as it is.
    frame : Frame
        Position and size of the fixed object.

    Returns
    -------
    array, shape (4, 4)
        The changed affine.
    """
    turn = rotation(x[3:6] / frame.radius)
    return frame.about(
        np.exp(x[6] / frame.radius) * turn @ start[:3, :3], frame.image(start) + x[:3]
    )


def affine(x: Array, start: Array, frame: Frame) -> Array:
    """Shift an affine and change the nine elements of its linear part.

    Parameters
    ----------
    x : array, shape (12,)
        Shift of the centre's image in mm (3) and changes of the linear part, row by row (9), times
        the object's radius in mm.
    start : array, shape (4, 4)
        The affine that the numbers change; zeros leave it as it is.
    frame : Frame
        Position and size of the fixed object.

    Returns
    -------
    array, shape (4, 4)
        The changed affine.
    """
    return frame.about(
        start[:3, :3] + x[3:].reshape(3, 3) / frame.radius, frame.image(start) + x[:3]
    )


class Score(Protocol):
    """What a climb makes larger: `Information` or `Correlation`."""

    def with_gradient(self, matrix: Array) -> tuple[float, Array]:
        """Compute the score and its gradient.

        Parameters
        ----------
        matrix : array, shape (4, 4)
            Affine from points of the fixed image to points of the moving image (mm, RAS).

        Returns
        -------
        score : float
            The score.
        gradient : array, shape (3, 4)
            Derivative of the score with respect to the upper three rows of the matrix.
        """
        ...


SIZES: dict[Model, int] = {rigid: 6, similarity: 7, affine: 12}


def climb(
    score: Score,
    start: Array,
    model: Model,
    frame: Frame,
    iterations: int,
    bounds: Bounds | None = None,
) -> tuple[float, Array]:
    """Climb from a pose to the nearest optimum of the score in a family of affines.

    The optimiser is L-BFGS.

    Parameters
    ----------
    score : Score
        The score.
    start : array, shape (4, 4)
        The affine at which the climb starts.
    model : {rigid, similarity, affine}
        The family, one of this module's functions.
    frame : Frame
        Position and size of the fixed object.
    iterations : int
        Largest number of iterations. A step takes a few evaluations of the score at most, each on
        a fixed number of sample points, so that the time of a climb is bounded.
    bounds : Bounds, optional
        What stretches cost; nothing if not given.

    Returns
    -------
    value : float
        The score of the result, less what its stretch costs. It is never below that of the start.
    matrix : array, shape (4, 4)
        The affine with this score.
    """
    from scipy.optimize import minimize  # slow to import, and not needed without alignment

    steps = np.eye(SIZES[model]) * _SMALL

    def scored(matrix: Array) -> tuple[float, Array]:
        value, by_matrix = score.with_gradient(matrix)
        if bounds is None:
            return value, by_matrix
        cost, by_linear = bounds.cost(matrix)
        by_matrix[:, :3] -= by_linear
        return value - cost, by_matrix

    def loss(x: Array) -> tuple[float, Array]:
        value, by_matrix = scored(model(x, start, frame))
        changes = [(model(x + h, start, frame) - model(x - h, start, frame))[:3] for h in steps]
        return -value, np.array([-(by_matrix * c).sum() / (2 * _SMALL) for c in changes])

    limit = 3 * iterations + 20
    options = {"maxiter": iterations, "maxfun": limit, "ftol": 1e-7, "gtol": 1e-7}
    found = minimize(loss, np.zeros(len(steps)), jac=True, method="L-BFGS-B", options=options)
    before = scored(start)[0]
    return (
        (-float(found.fun), model(found.x, start, frame))
        if -found.fun > before
        else (before, start)
    )
