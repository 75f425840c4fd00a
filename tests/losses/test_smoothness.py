"""Smoothness, folding and round trips against fields of which everything is known."""

from __future__ import annotations

import warnings

import pytest
import torch

from sacbnet.errors import InputError
from sacbnet.losses import (
    bending_energy_loss,
    gradient_loss,
    inverse_consistency_loss,
    jacobian_loss,
)
from sacbnet.losses.smoothness import ROWS
from sacbnet.spatial.jacobian import non_diffeomorphic_volume

LOSSES = [
    gradient_loss,
    bending_energy_loss,
    jacobian_loss,
    lambda u: inverse_consistency_loss(u, u),
]


def lattice(*size: int) -> list[torch.Tensor]:
    return list(
        torch.meshgrid(*[torch.arange(n, dtype=torch.float64) for n in size], indexing="ij")
    )


def some(seed: int, *size: int, scale: float = 1.0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(2, 3, *size, generator=g, dtype=torch.float64) * scale).requires_grad_()


# -- mean square gradient --------------------------------------------------------------------------
def test_gradient_loss_of_a_linear_field_is_its_slope():
    i, j, k = lattice(5, 6, 7)
    u = torch.stack([2 * i + 3 * j, -k, 0 * i])[None]
    # per axis the mean over the three channels: i: 4/3, j: 9/3, k: 1/3
    assert float(gradient_loss(u)) == pytest.approx((4 + 9 + 1) / 9)
    assert float(gradient_loss(u + 100)) == pytest.approx((4 + 9 + 1) / 9)


def test_gradient_loss_gradients_and_thin_images():
    for size in ((4, 3, 5), (1, 4, 3), (1, 1, 1)):
        u = some(0, *size)
        assert torch.isfinite(gradient_loss(u))
        assert torch.autograd.gradcheck(gradient_loss, (u,))


# -- bending energy --------------------------------------------------------------------------------
def test_bending_energy_of_a_quadratic_field_is_known():
    i, j, k = lattice(5, 6, 7)
    # one component, the other two 0; second derivatives written out
    fields = {
        "i²": (i * i, 2**2),
        "3 j² - k²": (3 * j * j - k * k, 6**2 + 2**2),
        "i j": (i * j, 2 * 1**2),
        "all": (
            i * i + 2 * j * j + 3 * k * k + 4 * i * j + 5 * i * k - 6 * j * k,
            4 + 16 + 36 + 2 * (16 + 25 + 36),
        ),
        "affine": (3 * i - 2 * j + k + 9, 0),
    }
    for name, (component, energy) in fields.items():
        for axis in range(3):
            u = torch.zeros(2, 3, 5, 6, 7, dtype=torch.float64)
            u[:, axis] = component
            assert float(bending_energy_loss(u)) == pytest.approx(energy / 3, abs=1e-12), name


def test_bending_energy_equals_monai():
    losses = pytest.importorskip("monai.losses")
    u = some(0, 5, 4, 7)
    ours = bending_energy_loss(u)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # indexing that torch is about to change
        theirs = losses.BendingEnergyLoss()(u)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, u), torch.autograd.grad(theirs, u))


def test_bending_energy_gradients_and_thin_images():
    for size in ((4, 3, 5), (2, 4, 3), (1, 2, 6), (1, 1, 1)):
        assert torch.autograd.gradcheck(bending_energy_loss, (some(0, *size),))
    i, j, k = lattice(2, 6, 7)
    u = torch.stack([i * i + j * j, i * k, j * k])[None]  # along i nothing can be seen
    assert float(bending_energy_loss(u)) == pytest.approx((4 + 0 + 2) / 3)


# -- folding ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("margin", [0.0, 0.25])
def test_jacobian_loss_of_a_known_fold(margin):
    """All planes run backwards along i at speed s: det J = -s in each tetrahedron of each cell."""
    i, _, _ = lattice(2 * ROWS + 3, 4, 5)
    for speed in (0.5, 2.0):
        u = torch.stack([-(1 + speed) * i, 0 * i, 0 * i])[None]
        assert float(jacobian_loss(u, margin)) == pytest.approx(margin + speed)
    # det J = 0.1: unfolded, but not by the margin
    squeezed = torch.stack([-0.9 * i, 0 * i, 0 * i])[None]
    assert float(jacobian_loss(squeezed, margin)) == pytest.approx(max(0, margin - 0.1))


def test_jacobian_loss_counts_the_cells_that_fold():
    # three steps of -0.5 in eleven
    x = torch.tensor([0, 1, 2, 3, 2.5, 2, 1.5, 2.5, 4, 5, 6, 7], dtype=torch.float64)
    u = torch.zeros(1, 3, 12, 4, 5, dtype=torch.float64)
    u[:, 0] = (x - torch.arange(12))[:, None, None]
    assert float(jacobian_loss(u)) == pytest.approx(1.5 / 11)


def test_jacobian_loss_is_the_non_diffeomorphic_volume():
    u = some(0, ROWS + 4, 7, 6, scale=0.7).detach()
    expected = [non_diffeomorphic_volume(each) / 100 for each in u]
    assert min(expected) > 0.01
    assert float(jacobian_loss(u)) == pytest.approx(sum(expected) / 2)


def test_an_unfolded_field_costs_nothing_and_pulls_nowhere():
    u = some(0, 5, 6, 7, scale=0.02)
    loss = jacobian_loss(u)
    assert loss.item() == 0 and not torch.autograd.grad(loss, u)[0].any()


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_jacobian_loss_gradients(margin):
    u = some(0, 3, 2, 3)[:1].detach().requires_grad_()
    assert jacobian_loss(u, margin).item() > 0
    assert torch.autograd.gradcheck(lambda u: jacobian_loss(u, margin), (u,))


def test_slabs_do_not_show(monkeypatch):
    u = some(0, 7, 4, 5)
    whole = jacobian_loss(u)
    monkeypatch.setattr("sacbnet.losses.smoothness.ROWS", 2)
    slabs = jacobian_loss(u)
    torch.testing.assert_close(slabs, whole)
    torch.testing.assert_close(torch.autograd.grad(slabs, u), torch.autograd.grad(whole, u))


# -- inverse consistency ---------------------------------------------------------------------------
def test_a_translation_is_undone_by_its_opposite():
    u = torch.zeros(1, 3, 6, 7, 8, dtype=torch.float64)
    u[0, 0], u[0, 1] = 1.5, -2.0
    assert float(inverse_consistency_loss(u, -u)) == pytest.approx(0, abs=1e-12)
    off = torch.tensor([0.5, 0.0, -1.0], dtype=torch.float64).view(1, 3, 1, 1, 1)
    assert float(inverse_consistency_loss(u + off, -u)) == pytest.approx(0.25 + 1)
    assert float(inverse_consistency_loss(u, u)) == pytest.approx(3**2 + 4**2)


def test_an_affine_is_undone_by_its_inverse_where_it_stays_inside():
    """Twice as large about the corner, and half as large: linear fields, exact to interpolate."""
    here = torch.stack(lattice(9, 9, 9))[None]
    grow, shrink = here, -here / 2
    assert float(inverse_consistency_loss(grow, shrink)) == pytest.approx(0, abs=1e-12)
    # in the other order all but the first half leave the grid, where the edge of `shrink` counts
    assert float(inverse_consistency_loss(shrink, grow)) == pytest.approx(0, abs=1e-12)


def test_what_leaves_the_grid_does_not_count():
    outer, inner = torch.zeros(2, 1, 3, 6, 5, 4, dtype=torch.float64)
    inner[0, 0, 3:] = 100.0
    inner[0, 0, :3] = 1.0
    assert float(inverse_consistency_loss(outer, inner)) == pytest.approx(1)
    gone = torch.full_like(inner, 100.0, requires_grad=True)
    loss = inverse_consistency_loss(outer, gone)
    assert loss.item() == 0 and not torch.autograd.grad(loss, gone)[0].any()


def test_inverse_consistency_gradients():
    assert torch.autograd.gradcheck(inverse_consistency_loss, (some(0, 3, 2, 4), some(1, 3, 2, 4)))


# -- all of them -----------------------------------------------------------------------------------
@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_is_widened(loss):
    u = some(0, 5, 6, 7).detach().bfloat16()
    expected = loss(u.float())
    assert float(expected) > 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for given in (u, u.float()):
            found = loss(given)
            assert found.dtype == torch.float32 and torch.equal(found, expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_is_kept_under_no_grad(loss):
    u = some(0, 5, 4, 6)
    with torch.no_grad():
        assert not loss(u).requires_grad
    assert loss(u).requires_grad


@pytest.mark.parametrize("loss", LOSSES[1:])
def test_refuses_what_is_no_displacement(loss):
    for shape in ((3, 4, 4, 4), (1, 4, 4, 4, 3)):
        with pytest.raises(InputError, match=r"\(b, 3, i, j, k\)"):
            loss(torch.zeros(shape))


def test_refuses_what_makes_no_sense():
    with pytest.raises(InputError, match="one voxel thick"):
        jacobian_loss(torch.zeros(1, 3, 4, 1, 4))
    with pytest.raises(InputError, match="one grid"):
        inverse_consistency_loss(torch.zeros(1, 3, 4, 4, 4), torch.zeros(1, 3, 4, 4, 5))
