"""The inverse of a map of points, on a grid, with its remaining error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sacbnet.kernels.cpu import maps as compiled

from .grid import Grid, slabs
from .transforms import Affine, DisplacementField, PointMap, steps_of

COARSE = 3  # spacing of the first solution, in voxels of the grid


@dataclass(frozen=True)
class Inverse:
    """An inverse and its accuracy.

    The residual at a voxel q is the distance ``|map(p) - q|`` for the point p found. Voxels whose p
    lies outside the domain do not count.

    Parameters
    ----------
    field : DisplacementField
        The inverse: a map q -> p with map(p) = q.
    residual_mean_mm : float
        Mean of the residuals, in mm.
    residual_max_mm : float
        Largest residual, in mm.
    """

    field: DisplacementField
    residual_mean_mm: float
    residual_max_mm: float


def invert(
    point_map: PointMap,
    domain: Grid,
    on: Grid,
    guess: Affine | None = None,
    tolerance_mm: float = 0.01,
    rounds: int = 12,
) -> Inverse:
    """Invert a map of world points that is one-to-one on a domain.

    The iteration is ``p <- p - L (map(p) - q)``, where L is the linear part of the inverse of
    `guess`. It converges where the rest of the map is a contraction. Points that it does not solve,
    at strong local stretch, are finished by damped Newton steps with a Jacobian from finite
    differences. Each point stops at `tolerance_mm`.

    Parameters
    ----------
    point_map : callable
        The map of world points, in mm.
    domain : Grid
        The box on which the map is one-to-one.
    on : Grid
        The grid of the inverse.
    guess : Affine, optional
        An affine near the map, such as its affine part. The default is the identity.
    tolerance_mm : float, default 0.01
        Residual at which a point is solved, in mm.
    rounds : int, default 12
        Largest number of iterations before the Newton steps.

    Returns
    -------
    Inverse
        The inverse at the voxels of `on`, and its residuals.

    Raises
    ------
    InputError
        If the inverse holds NaN or infinite values, because the map does.
    """
    back = (guess or Affine()).inverse
    start: PointMap = back
    # first solved on every third voxel, so that all voxels start within a fraction of a voxel
    if min(on.shape) > 4 * COARSE:
        thin = on.with_spacing(on.spacing * COARSE)
        start = invert(point_map, domain, thin, guess, tolerance_mm, rounds).field
    u, (total, count, worst) = _solved(point_map, domain, on, start, back, tolerance_mm, rounds)
    return Inverse(DisplacementField(on, u), float(total / max(count, 1)), float(worst))


def solve(
    point_map: PointMap,
    points: NDArray[np.floating],
    guess: Affine | None = None,
    tolerance_mm: float = 1e-4,
    rounds: int = 30,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Invert a map at given points; see `invert`.

    Parameters
    ----------
    point_map : callable
        The map of world points, in mm.
    points : ndarray, shape (n, 3)
        Points q, in mm.
    guess : Affine, optional
        An affine near the map. The default is the identity.
    tolerance_mm : float, default 1e-4
        Residual at which a point is solved, in mm.
    rounds : int, default 30
        Largest number of iterations before the Newton steps.

    Returns
    -------
    found : ndarray of float64, shape (n, 3)
        Points p with map(p) = q.
    residual_mm : ndarray of float64, shape (n,)
        The distances ``|map(p) - q|`` that remain, in mm.
    """
    q, back = np.asarray(points, dtype=np.float64), (guess or Affine()).inverse
    found, residual = _contract(point_map, q, back(q), back, tolerance_mm, rounds)
    _newton(point_map, q, found, residual, tolerance_mm)
    return found, residual


def _solved(
    point_map: PointMap,
    domain: Grid,
    on: Grid,
    start: PointMap,
    back: Affine,
    tolerance_mm: float,
    rounds: int,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Displacements p - q with map(p) = q at the voxels q of `on`, from the points start(q).

    Also returns the sum, number and maximum of the residuals inside the domain.
    """
    steps, first = steps_of(point_map), steps_of(start)
    if steps is not None and first is not None and compiled.takes(steps, first):
        known = domain.shape, domain.inverse_affine
        return compiled.invert(
            steps, first, back.matrix, known, (on.shape, on.affine), tolerance_mm, rounds
        )
    u = np.empty((*on.shape, 3), dtype=np.float32)
    total, count, worst = 0.0, 0, 0.0
    for low, q in slabs(on):
        flat = q.reshape(-1, 3)
        p, residual = _contract(point_map, flat, start(flat), back, tolerance_mm, rounds)
        _newton(point_map, flat, p, residual, tolerance_mm)
        inside = residual[domain.contains(p, margin_voxels=0.0)]
        total, count = total + float(inside.sum()), count + inside.size
        worst = max(worst, float(inside.max(initial=0.0)))
        u[low : low + len(q)] = (p - flat).reshape(q.shape)
    return u, np.array([total, count, worst])


def _contract(
    point_map: PointMap,
    q: NDArray[np.float64],
    p: NDArray[np.float64],
    back: Affine,
    tolerance: float,
    rounds: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fixed-point iteration from p, in place, for the points that are not solved yet.

    Returns p and the residuals (n,).
    """
    linear = back.matrix[:3, :3].T
    residual = np.empty(len(q))
    active = np.arange(len(q))
    for _ in range(rounds):
        error = point_map(p[active]) - q[active]
        residual[active] = np.sqrt((error * error).sum(axis=1))
        open_ = residual[active] > tolerance
        active, error = active[open_], error[open_]
        if not len(active):
            return p, residual
        p[active] -= error @ linear
    residual[active] = np.linalg.norm(point_map(p[active]) - q[active], axis=1)
    return p, residual


def _newton(
    point_map: PointMap,
    q: NDArray[np.float64],
    p: NDArray[np.float64],
    residual: NDArray[np.float64],
    tolerance: float,
) -> None:
    """Improve p and its residuals in place where the residuals exceed the tolerance."""
    for _ in range(20):
        active = np.flatnonzero(residual > tolerance)
        if not len(active):
            break
        here, target = p[active], q[active]
        move = _solve(_jacobian(point_map, here), point_map(here) - target)
        for damping in (1.0, 0.5, 0.25, 0.1):  # take the longest step that helps
            trial = here - damping * move
            new = np.linalg.norm(point_map(trial) - target, axis=1)
            better = new < residual[active]
            p[active[better]] = trial[better]
            residual[active[better]] = new[better]
            here, move, target, active = (
                here[~better],
                move[~better],
                target[~better],
                active[~better],
            )
            if not len(active):
                break


def _jacobian(point_map: PointMap, p: NDArray[np.float64], h: float = 0.05) -> NDArray[np.float64]:
    """Jacobians (n, 3, 3) by central differences of h mm."""
    columns = [(point_map(p + h * e) - point_map(p - h * e)) / (2 * h) for e in np.eye(3)]
    return np.stack(columns, axis=-1)


def _solve(jacobian: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Newton steps (n, 3), with Levenberg's damping for Jacobians that are singular."""
    normal = np.swapaxes(jacobian, 1, 2) @ jacobian + 1e-6 * np.eye(3)
    return np.asarray(
        np.linalg.solve(normal, np.swapaxes(jacobian, 1, 2) @ error[..., None])[..., 0], np.float64
    )
