"""The tetrahedra of a lattice's cells in C++ agree with their plain forms."""

from __future__ import annotations

import pytest
import torch

from sacbnet.kernels.cpu import native, tetrahedra
from sacbnet.spatial.jacobian import (
    folded_cells,
    folds,
    jacobian_determinant,
    non_diffeomorphic_volume,
)
from sacbnet.spatial.unfold import push_apart

pytestmark = pytest.mark.skipif(native.library() is None, reason="no compiled kernels")
SHAPES = [(12, 9, 17), (2, 2, 2), (2, 9, 20), (9, 2, 3)]


def rough(shape: tuple[int, int, int], size: float = 0.5) -> torch.Tensor:
    return size * torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("margin", [0.0, 0.1])
def test_the_same_cells_are_folded(shape, margin):
    u = rough(shape)
    assert tetrahedra.takes(u)
    fast, fast_voxels = folded_cells(u, margin), folds(u, margin)
    with native.plain_kernels():
        assert torch.equal(folded_cells(u, margin), fast) and torch.equal(
            folds(u, margin), fast_voxels
        )
    assert fast.shape == tuple(n - 1 for n in shape)


def squeezed(shape: tuple[int, int, int]) -> torch.Tensor:
    """All cells have a fifth of their sides: their corners hardly change so small a volume."""
    axes = torch.meshgrid(*(torch.arange(float(n)) for n in shape), indexing="ij")
    return -0.8 * torch.stack(axes) + rough(shape, 0.01)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("make", [rough, squeezed])
def test_the_same_pushes(shape, make):
    u, size = make(shape), torch.Size(shape)
    at = folded_cells(u, 0.02).nonzero()
    cells = (at[:, 0] * size[1] + at[:, 1]) * size[2] + at[:, 2]
    assert len(cells)
    found = []
    for form in (push_apart, tetrahedra.push_apart):
        push, times = torch.zeros_like(u), torch.zeros(shape)
        touched = form(
            u, cells, push, times, torch.empty(size.numel(), dtype=torch.int64), 0.02, 0.03
        )
        found.append((touched.sort().values, times, push))
    for plain, fast in zip(*found, strict=True):
        torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-4)


def test_what_is_not_a_number_is_folded():
    u = torch.zeros(3, 4, 4, 4)
    u[1, 2, 2, 2] = torch.nan
    fast = folded_cells(u)
    with native.plain_kernels():
        assert fast[1, 1, 1] and torch.equal(folded_cells(u), fast)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_volumes(shape):
    u = rough(shape)
    fast, fast_share = jacobian_determinant(u), non_diffeomorphic_volume(u)
    with native.plain_kernels():
        torch.testing.assert_close(fast, jacobian_determinant(u), atol=1e-5, rtol=1e-5)
        assert fast_share == non_diffeomorphic_volume(u) > 0
