"""Volume change and folding against maps whose Jacobian is known."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sacbnet.spatial.jacobian import (
    folds,
    jacobian_determinant,
    non_diffeomorphic_volume,
    tetrahedra,
)
from sacbnet.spatial.warp import identity


def at(*shape: int) -> torch.Tensor:
    return identity(shape, dtype=torch.float64)[0]


def linear(matrix: np.ndarray, shape) -> torch.Tensor:
    """The displacement of p -> matrix @ p."""
    a = torch.from_numpy(np.asarray(matrix, dtype=np.float64))
    p = at(*shape)
    return torch.einsum("ab,bijk->aijk", a, p) - p


def rough(*shape: int, size: float = 0.3, seed: int = 0) -> torch.Tensor:
    return size * torch.randn(
        3, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


# -- central differences ---------------------------------------------------------------------------
@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_of_a_linear_map(seed):
    matrix = np.random.default_rng(seed).normal(size=(3, 3))
    det = jacobian_determinant(linear(matrix, (4, 5, 6)))
    assert det.shape == (4, 5, 6)
    np.testing.assert_allclose(det, np.linalg.det(matrix), atol=1e-9)


def test_of_a_quadratic_field():
    """x + a x² + c y², y + b y z, z: det J = (1 + 2 a x)(1 + b z), exact at inner voxels."""
    p = at(7, 8, 9)
    a, b, c = 0.05, 0.03, 0.02
    u = torch.stack([a * p[0] ** 2 + c * p[1] ** 2, b * p[1] * p[2], torch.zeros_like(p[0])])
    expected = (1 + 2 * a * p[0]) * (1 + b * p[2])
    inner = (slice(1, -1),) * 3
    torch.testing.assert_close(jacobian_determinant(u)[inner], expected[inner], atol=1e-12, rtol=0)
    # one-sided at the faces: the difference quotient of a x² between x = 0 and 1 is a
    face = jacobian_determinant(u)[0, 1:-1, 1:-1]
    torch.testing.assert_close(face, ((1 + a) * (1 + b * p[2]))[0, 1:-1, 1:-1], atol=1e-12, rtol=0)


def test_against_numpy_gradients():
    u = rough(5, 20, 4)
    columns = np.stack([np.stack(np.gradient(c)) for c in u.numpy()])  # [component, axis, ...]
    matrices = np.moveaxis(columns, (0, 1), (-2, -1)) + np.eye(3)
    np.testing.assert_allclose(jacobian_determinant(u), np.linalg.det(matrices), atol=1e-12)


@pytest.mark.parametrize("rows", [1, 2, 15, 16, 17, 31, 32, 33, 50])
def test_slabs_do_not_show(rows):
    """Numbers near a place do not depend on how much of the volume lies before and after it."""
    u = rough(70, 4, 5)
    part = u[:, 8 : 8 + rows + 2]
    whole = jacobian_determinant(u)[9 : 9 + rows]
    assert torch.equal(jacobian_determinant(part)[1:-1], whole)
    found = folds(part)
    expected = torch.zeros_like(found)
    volumes = torch.stack([v for v, _ in tetrahedra(part)]).amin(dim=0) <= 0
    for a, b, c in product((0, 1), repeat=3):
        i, j, k = volumes.shape
        expected[a : a + i, b : b + j, c : c + k] |= volumes
    assert torch.equal(found, expected) and bool(found.any())
    percent = (
        100
        * sum(float((-v).clamp_min(0).sum()) * share / 2 for v, share in tetrahedra(part))
        / volumes.numel()
    )
    assert non_diffeomorphic_volume(part) == pytest.approx(percent, rel=1e-9) and percent > 0


@pytest.mark.parametrize("shape", [(1, 5, 6), (5, 1, 6), (5, 6, 1), (1, 1, 1)])
def test_an_axis_of_one_voxel(shape):
    """No volume, so nothing folds; the determinant is that of the plane that is there."""
    u = linear(np.diag([1.5, 2.0, 3.0]), shape)
    expected = np.prod([s for s, n in zip((1.5, 2, 3), shape, strict=True) if n > 1])
    np.testing.assert_allclose(jacobian_determinant(u), expected)
    assert not folds(u).any() and non_diffeomorphic_volume(u) == 0


# -- tetrahedra ------------------------------------------------------------------------------------
def test_undeformed_every_tetrahedron_is_one():
    pairs = list(tetrahedra(torch.zeros(3, 3, 4, 5, dtype=torch.float64)))
    assert len(pairs) == 10
    for volume, _ in pairs:
        assert volume.shape == (2, 3, 4)
        np.testing.assert_allclose(volume, 1)
    # each of the two cuts: four corner tetrahedra of a sixth, and one of a third
    assert sorted(share for _, share in pairs) == pytest.approx([1 / 6] * 8 + [1 / 3] * 2)


def signed_volume(points: np.ndarray) -> float:
    return float(np.linalg.det(points[1:] - points[0])) / 6


def cell_tetrahedra() -> list[tuple[float, list[tuple[int, ...]]]]:
    """The ten tetrahedra by definition: four corners, ordered so that the volume is positive."""
    found = []
    for corner in product((0, 1), repeat=3):
        beside = [
            tuple(1 - c if a == axis else c for a, c in enumerate(corner)) for axis in range(3)
        ]
        found.append((1 / 6, [corner, *beside]))
    for parity in (0, 1):
        found.append((1 / 3, [c for c in product((0, 1), repeat=3) if sum(c) % 2 == parity]))
    ordered = []
    for share, corners in found:
        best = next(p for p in permutations(corners) if signed_volume(np.array(p, float)) > 0)
        ordered.append((share, list(best)))
    return ordered


def test_tetrahedra_equal_their_definition():
    """The same multiset of relative volumes per cell as from the positions of the corners."""
    u = rough(3, 4, 3, size=0.5)
    phi = (at(3, 4, 3) + u).numpy()
    ours = torch.stack([v for v, _ in tetrahedra(u)]).numpy()
    for cell in product(range(2), range(3), range(2)):
        expected = [
            signed_volume(np.stack([phi[(slice(None), *np.add(cell, c))] for c in corners])) / share
            for share, corners in cell_tetrahedra()
        ]
        np.testing.assert_allclose(
            np.sort(ours[(slice(None), *cell)]), np.sort(expected), atol=1e-12
        )


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_the_tetrahedra_of_each_cut_fill_the_cell(seed):
    matrix = np.random.default_rng(seed).normal(size=(3, 3))
    pairs = list(tetrahedra(linear(matrix, (3, 3, 4))))
    total = sum(volume * share for volume, share in pairs)
    np.testing.assert_allclose(total, 2 * np.linalg.det(matrix), atol=1e-9)  # two cuts
    for volume, _ in pairs:
        np.testing.assert_allclose(volume, np.linalg.det(matrix), atol=1e-9)


def test_a_voxel_pushed_through_its_neighbour_folds():
    u = torch.zeros(3, 7, 7, 7, dtype=torch.float64)
    u[0, 3, 3, 3] = 0.9
    assert not folds(u).any() and non_diffeomorphic_volume(u) == 0
    u[0, 3, 3, 3] = 1.1
    found = folds(u)
    assert found[3, 3, 3] and found[4, 3, 3] and found.any(dim=0).sum() > 0
    assert not found[:2].any() and not found[5:].any()  # voxels of untouched cells are not blamed
    assert 0 < non_diffeomorphic_volume(u) < 1


def test_what_central_differences_cannot_see():
    """Every other voxel moved by 1.2: voxels two apart move alike, central differences see none."""
    u = torch.zeros(3, 8, 8, 8, dtype=torch.float64)
    u[0, ::2] = 1.2
    inner = jacobian_determinant(u)[1:-1]
    torch.testing.assert_close(inner, torch.ones_like(inner))
    assert folds(u).all()
    assert non_diffeomorphic_volume(u) > 5


def test_a_checkerboard():
    p = at(8, 8, 8)
    u = torch.zeros(3, 8, 8, 8, dtype=torch.float64)
    u[0] = 0.7 * (1 - 2 * (p.sum(dim=0) % 2))
    inner = (slice(1, -1),) * 3
    assert (jacobian_determinant(u)[inner] > 0).all()
    assert folds(u)[inner].all()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.floats(0.05, 0.6))
def test_no_turned_tetrahedron_means_one_to_one_on_the_lattice(seed, size):
    """No turned tetrahedron: then central differences at inner voxels are positive, too.

    det J by central differences is a mean of the eight forward/backward combinations, and each of
    these is a corner tetrahedron.
    """
    u = rough(6, 6, 6, size=size, seed=seed)
    bad = folds(u)
    negative = jacobian_determinant(u) <= 0
    inner = (slice(1, -1),) * 3
    assert not (negative & ~bad)[inner].any()


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_margin(margin):
    squeezed = linear(np.diag([0.25, 1, 1]), (4, 4, 4))
    assert bool(folds(squeezed, margin).all()) == (margin > 0.25)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # compiled and plain
def test_zero_volume_counts_as_a_fold(dtype):
    assert folds(linear(np.diag([0.0, 1, 1]), (4, 4, 4)).to(dtype)).all()


# -- volume ----------------------------------------------------------------------------------------
def test_volume_of_a_known_region_turned_over():
    """Planes 0..9 along i at x = 0 1 2 3 4 | 3 2 1 | 2 3: three of nine slabs run backwards."""
    x = torch.tensor([0.0, 1, 2, 3, 4, 3, 2, 1, 2, 3], dtype=torch.float64)
    u = torch.zeros(3, 10, 5, 6, dtype=torch.float64)
    u[0] = (x - torch.arange(10))[:, None, None]
    assert non_diffeomorphic_volume(u) == pytest.approx(100 * 3 / 9)
    assert non_diffeomorphic_volume(linear(np.diag([-2.0, 1, 1]), (4, 5, 6))) == pytest.approx(200)
    assert non_diffeomorphic_volume(torch.zeros(3, 4, 5, 6)) == 0


def test_in_voxels_or_in_the_world():
    """A change of basis leaves relative volumes as they are."""
    u = rough(6, 5, 4)
    permuted = u[[2, 0, 1]].permute(0, 3, 1, 2)
    torch.testing.assert_close(
        jacobian_determinant(permuted), jacobian_determinant(u).permute(2, 0, 1)
    )
    assert non_diffeomorphic_volume(permuted) == pytest.approx(non_diffeomorphic_volume(u))
    flipped = (u * torch.tensor([-1.0, 1, 1]).reshape(3, 1, 1, 1)).flip(1)
    torch.testing.assert_close(jacobian_determinant(flipped), jacobian_determinant(u).flip(0))
    assert torch.equal(folds(flipped), folds(u).flip(0))
    assert non_diffeomorphic_volume(flipped) == pytest.approx(non_diffeomorphic_volume(u))


@pytest.mark.parametrize("call", [jacobian_determinant, folds, non_diffeomorphic_volume])
def test_the_argument_stays_as_it_is(call):
    u = rough(20, 4, 4)
    before = u.clone()
    call(u)
    assert torch.equal(u, before)
