"""Transforms of several parts, and points solved backwards."""

from __future__ import annotations

import numpy as np
import pytest

from sacbnet.errors import InputError
from sacbnet.spatial.composition import composed, densely, linear_fit, parts_of
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.invert import solve
from sacbnet.spatial.transforms import Affine, Chain, DisplacementField, chain

GRID = Grid((14, 15, 16), np.diag([2.0, 1.5, 1.0, 1.0]))


def turned() -> Affine:
    matrix = np.eye(4)
    matrix[:3] += np.random.default_rng(1).normal(size=(3, 4)) * 0.2
    return Affine(matrix)


def wavy(amount: float = 1.0) -> DisplacementField:
    def moved(p):
        q = (p - GRID.centre) / 4
        return p + amount * np.stack([np.sin(q[..., 1]), np.cos(q[..., 2]), np.sin(q[..., 0])], -1)

    return DisplacementField.from_map(moved, GRID)


def some(n: int = 50) -> np.ndarray:
    return GRID.world(np.random.default_rng(0).uniform(2, np.array(GRID.shape) - 3, (n, 3)))


def test_composition_is_the_same_map_in_the_simplest_form():
    a, b, u, p = turned(), Affine.translation([1, 2, 3]), wavy(), some()
    assert isinstance(composed(a, Affine(), b), Affine)
    assert np.allclose(composed(a, b)(p), a(b(p)), atol=1e-12)
    assert composed(Affine(), u) is u
    assert isinstance(composed(a, a.inverse, u), Chain)  # rounding is no identity
    both = composed(chain(a, b), u, Affine.translation([0, 0, 0]))
    assert len(parts_of(both)) == 2 and np.allclose(both(p), a(b(u(p))), atol=1e-12)
    assert composed().matrix.tolist() == np.eye(4).tolist()
    with pytest.raises(InputError, match="no transform"):
        parts_of(lambda p: p)


def test_densely_samples_once_and_keeps_what_is_there():
    u = wavy()
    assert densely(u, GRID) is u
    other = GRID.with_spacing(3.0)
    found = densely(chain(turned(), u), other)
    at = other.world([[1, 2, 2]])
    assert np.allclose(found(at), turned()(u(at)), atol=1e-4)


def test_the_nearest_affine():
    p = some(500)
    found = linear_fit(chain(turned(), wavy(1e-6)), p)
    assert np.allclose(found.matrix, turned().matrix, atol=1e-4)

    # no other affine is nearer
    def far(a):
        return ((a(p) - chain(turned(), wavy())(p)) ** 2).sum()

    best = linear_fit(chain(turned(), wavy()), p)
    for n in range(12):
        step = np.zeros((4, 4))
        step.flat[n] = 1e-3
        assert far(best) < far(Affine(best.matrix + step))


def test_solve_finds_the_points_that_map_here():
    p = some()
    point_map = chain(turned(), wavy())
    found, residual = solve(point_map, point_map(p), turned())
    assert residual.max() < 1e-4 and np.abs(found - p).max() < 1e-3
