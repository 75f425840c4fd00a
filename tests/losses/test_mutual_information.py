"""Mutual information: known values, MONAI's as the oracle, gradients by differences."""

from __future__ import annotations

import math

import pytest
import torch

import sacbnet.losses.mutual_information as module
from sacbnet.errors import InputError
from sacbnet.losses import mutual_information_loss


def noise(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def levels(seed: int, n: int, *shape: int) -> torch.Tensor:
    """Equally likely values n bins apart, so that the windows of two levels hardly overlap."""
    drawn = torch.randint(0, n, shape, generator=torch.Generator().manual_seed(seed))
    return drawn.double() / (n - 1)


def monai_loss(bins: int):
    losses = pytest.importorskip("monai.losses")
    loss = losses.GlobalMutualInformationLoss(num_bins=bins).double()
    at = torch.linspace(0, 1, bins, dtype=torch.float64)  # its own are rounded to float32
    loss.bin_centers, loss.preterm = (
        at[None, None],
        2.0 * (bins - 1) ** 2 * torch.ones((), dtype=torch.float64),
    )
    return loss


@pytest.mark.parametrize("bins", [2, 8, 32])
@pytest.mark.parametrize("batch, channels", [(1, 1), (3, 2)])
def test_equals_monai(bins, batch, channels):
    moved, fixed = noise(0, batch, channels, 6, 7, 8), noise(1, batch, channels, 6, 7, 8)
    # partly beyond [0, 1], where both clamp
    fixed = (0.7 * moved**2 + 0.5 * fixed - 0.1).requires_grad_()
    assert fixed.min() < 0 and fixed.max() > 1
    moved.requires_grad_()
    ours, theirs = mutual_information_loss(moved, fixed, bins), monai_loss(bins)(moved, fixed)
    # it adds 1e-7 to the argument of the logarithm, too
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-7)
    for found, expected in zip(
        *(torch.autograd.grad(loss, (moved, fixed)) for loss in (ours, theirs)), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_identical_images_share_all_their_entropy():
    """Four levels far apart: log 4 nats, and as much however the levels are exchanged."""
    x = levels(0, 4, 1, 1, 20, 20, 20)
    counts = torch.bincount((3 * x).round().long().flatten()).double()
    entropy = float(-(counts / counts.sum() * (counts / counts.sum()).log()).sum())
    assert entropy == pytest.approx(math.log(4), abs=1e-3)
    order = torch.tensor([2.0, 0.0, 3.0, 1.0], dtype=torch.float64) / 3
    for moved in (x, 1 - x, order[(3 * x).round().long()]):
        assert float(mutual_information_loss(moved, x, bins=31)) == pytest.approx(
            -entropy, abs=1e-3
        )


def test_independent_images_share_nothing():
    a, b = noise(0, 1, 1, 60, 60, 60), noise(1, 1, 1, 60, 60, 60)
    assert -2e-3 < float(mutual_information_loss(a, b, bins=16)) <= 0
    assert float(mutual_information_loss(a, torch.full_like(a, 0.3))) == pytest.approx(0, abs=1e-3)


def test_is_symmetric_and_a_batch_is_the_mean_of_its_samples():
    a, b = levels(0, 8, 2, 1, 8, 9, 10), levels(1, 8, 2, 1, 8, 9, 10)
    b[0] = a[0]
    loss = mutual_information_loss(a, b)
    torch.testing.assert_close(loss, mutual_information_loss(b, a))
    each = [mutual_information_loss(a[n : n + 1], b[n : n + 1]) for n in range(2)]
    assert each[0] < each[1] - 1
    torch.testing.assert_close(loss, torch.stack(each).mean())


def test_blocks_do_not_show(monkeypatch):
    a, b = noise(0, 1, 1, 7, 8, 9).requires_grad_(), noise(1, 1, 1, 7, 8, 9)
    whole = mutual_information_loss(a, b)
    (slope,) = torch.autograd.grad(whole, a)
    monkeypatch.setattr(module, "_block", lambda _: 100)
    torch.testing.assert_close(mutual_information_loss(a, b), whole)
    torch.testing.assert_close(torch.autograd.grad(mutual_information_loss(a, b), a)[0], slope)


def test_gradients():
    a, b = noise(0, 2, 1, 3, 4, 3).requires_grad_(), noise(1, 2, 1, 3, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: mutual_information_loss(a, b, 6), (a, b))


def test_sliding_onto_its_place_another_contrast_falls_into_the_minimum():
    at = torch.arange(24.0)
    fixed = (
        0.5 + 0.5 * torch.sin(at / 3)[:, None, None] * torch.cos(at / 4)[None, :, None]
    ).expand(24, 24, 24)
    values = [
        float(mutual_information_loss((1 - fixed.roll(n, 0)[None, None]) ** 2, fixed[None, None]))
        for n in range(4)
    ]
    assert values == sorted(values) and values[0] < values[1] - 0.3


def test_is_single_precision_under_autocast():
    a, b = (
        noise(0, 1, 1, 9, 9, 9, dtype=torch.float32),
        noise(1, 1, 1, 9, 9, 9, dtype=torch.float32),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = mutual_information_loss(a, b)
    assert loss.dtype == torch.float32 and torch.equal(loss, mutual_information_loss(a, b))


def test_refuses_what_makes_no_sense():
    a = noise(0, 1, 1, 4, 4, 4)
    with pytest.raises(InputError, match="at least 2"):
        mutual_information_loss(a, a, bins=1)
    with pytest.raises(InputError, match="fixed image's values span 0 to 255; 0 to 1"):
        mutual_information_loss(a, torch.tensor([0.0, 255.0]).double().repeat(32).view_as(a))
    with pytest.raises(InputError, match="span nan"):
        mutual_information_loss(a * float("nan"), a)
    with pytest.raises(InputError, match="one shape"):
        mutual_information_loss(a, a[..., 1:])
