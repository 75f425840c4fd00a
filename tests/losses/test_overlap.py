"""Soft Dice: boxes that are shifted by known amounts, and its definition with a mask per label."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sacbnet.errors import InputError
from sacbnet.kernels.cpu import native
from sacbnet.losses import dice_loss
from sacbnet.metrics.overlap import dice
from sacbnet.spatial.warp import warp


def naive(u: Tensor, moving: Tensor, fixed: Tensor, labels: tuple[int, ...]) -> Tensor:
    """Each label's mask warped as an image of its own, by autograd."""
    samples = []
    for n in range(len(u)):
        scores = []
        for label in labels:
            a = warp((moving[n : n + 1] == label).to(u.dtype), u[n : n + 1])
            b = (fixed[n : n + 1] == label).to(u.dtype)
            if b.any() or (moving[n] == label).any():
                scores.append(2 * (a * b).sum() / (a.sum() + b.sum()))
        samples.append(1 - torch.stack(scores).mean())
    return torch.stack(samples).mean()


def case(seed: int = 0, scale: float = 1.0, dtype=torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    u = torch.randn(2, 3, 5, 4, 6, generator=g, dtype=dtype) * scale
    moving, fixed = torch.tensor([0, 1, -2, 4000, 70])[
        torch.randint(0, 5, (2, 2, 1, 5, 4, 6), generator=g)
    ]
    moving[1][moving[1] == 70] = (
        0  # in the second sample one label is in the fixed map only, another in neither
    )
    moving[1][moving[1] == -2], fixed[1][fixed[1] == -2] = 0, 0
    return u.requires_grad_(), moving, fixed


@pytest.mark.parametrize("scale", [0.3, 3.0])
@pytest.mark.parametrize("labels", [(1, -2, 4000, 70), (4000, 9), (0, 1), (1, 1, 70)])
def test_equals_its_definition(scale, labels):
    u, moving, fixed = case(scale=scale)
    found, expected = (
        dice_loss(u, moving, fixed, labels),
        naive(u, moving, fixed, tuple(dict.fromkeys(labels))),
    )
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, u), torch.autograd.grad(expected, u))


@pytest.mark.skipif(
    native.switched_off() or native.library() is None,
    reason="no compiled warp; the plain one takes the slope of one side",
)
def test_at_lattice_points_the_slope_is_that_of_the_compiled_warp():
    _, moving, fixed = case()
    whole = torch.randint(
        -1, 2, (2, 3, 5, 4, 6), generator=torch.Generator().manual_seed(3)
    ).float()
    u = (whole + torch.tensor([0, 0.25, 0]).view(3, 1, 1, 1)).requires_grad_()
    labels = (1, -2, 4000, 70)
    found, expected = (
        torch.autograd.grad(f(u, moving, fixed, labels), u)[0] for f in (dice_loss, naive)
    )
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_gradients():
    u, moving, fixed = case()
    u, moving, fixed = (
        u[:1, :, :3, :3].detach().requires_grad_(),
        moving[:1, :, :3, :3],
        fixed[:1, :, :3, :3],
    )
    assert torch.autograd.gradcheck(lambda u: dice_loss(u, moving, fixed, (1, 4000)), (u,))


def test_dice_of_shifted_boxes():
    """Boxes of 4 voxels' length that lie d apart: 1 - d / 4, also for parts of a voxel.

    u = d brings them together.
    """
    moving, fixed = torch.zeros(2, 1, 1, 12, 6, 6, dtype=torch.long)
    moving[..., 6:10, 1:5, 1:5] = 3
    fixed[..., 4:8, 1:5, 1:5] = 3
    for shift, expected in ((0.0, 0.5), (0.5, 0.625), (2.0, 1.0), (3.0, 0.75), (-2.0, 0.0)):
        u = torch.zeros(1, 3, 12, 6, 6)
        u[:, 0] = shift
        # half a voxel off: two half voxels of a warped box lie beyond both ends of the overlap
        found = float(dice_loss(u, moving, fixed, (3,)))
        assert found == pytest.approx(1 - expected, abs=1e-6), shift


def test_whole_steps_give_the_dice_of_label_maps():
    u, moving, fixed = case()
    u = torch.zeros_like(u)
    found = [
        dice_loss(u[n : n + 1], moving[n : n + 1], fixed[n : n + 1], (1, -2, 4000, 70))
        for n in range(2)
    ]
    for loss, m, f in zip(found, moving, fixed, strict=True):
        assert float(loss) == pytest.approx(1 - dice(m[0].numpy(), f[0].numpy()).mean)


def test_descends():
    """Steps down the gradient bring a box onto its place."""
    moving, fixed = torch.zeros(2, 1, 1, 10, 8, 8, dtype=torch.uint8)
    moving[..., 3:7, 2:6, 2:6], fixed[..., 4:8, 2:6, 2:6] = 1, 1
    shift = torch.full((1, 3, 1, 1, 1), -0.1, requires_grad=True)
    before = dice_loss(shift.expand(1, 3, 10, 8, 8), moving, fixed, (1,)).item()
    for _ in range(40):
        (g,) = torch.autograd.grad(
            dice_loss(shift.expand(1, 3, 10, 8, 8), moving, fixed, (1,)), shift
        )
        shift = (shift - 0.2 * g).detach().requires_grad_()
    assert (
        before > 0.2 and dice_loss(shift.expand(1, 3, 10, 8, 8), moving, fixed, (1,)).item() < 0.05
    )


def test_without_labels_there_is_nothing_to_lose():
    u, moving, fixed = case()
    loss = dice_loss(u, moving, fixed, (5, 6))
    assert loss.item() == 0 and not torch.autograd.grad(loss, u)[0].any()
    one = dice_loss(
        u, torch.stack([moving[0], 0 * moving[0]]), torch.stack([fixed[0], 0 * fixed[0]]), (1,)
    )
    torch.testing.assert_close(one, dice_loss(u[:1], moving[:1], fixed[:1], (1,)) / 2)


def test_a_label_that_was_carried_out_of_sight_scores_nothing():
    moving, fixed = torch.zeros(2, 1, 1, 6, 6, 6, dtype=torch.int16)
    moving[..., :2, :2, :2] = 1
    u = torch.full((1, 3, 6, 6, 6), 3.0, requires_grad=True)
    for target in (fixed, moving):
        loss = dice_loss(u, moving, target, (1,))
        assert loss.item() == 1 and torch.isfinite(torch.autograd.grad(loss, u)[0]).all()


def test_half_precision_is_widened_and_nothing_kept_under_no_grad():
    u, moving, fixed = case(dtype=torch.float32)
    u = u.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = dice_loss(u, moving, fixed, (1, 70))
    assert loss.dtype == torch.float32 and torch.equal(
        loss, dice_loss(u.float(), moving, fixed, (1, 70))
    )
    with torch.no_grad():
        assert not dice_loss(u, moving, fixed, (1,)).requires_grad


def test_refuses_what_makes_no_sense():
    u, moving, fixed = case()
    with pytest.raises(InputError, match="no labels"):
        dice_loss(u, moving, fixed, ())
    with pytest.raises(InputError, match="whole numbers"):
        dice_loss(u, moving.float(), fixed, (1,))
    with pytest.raises(InputError, match="fixed labels have shape"):
        dice_loss(u, moving, fixed[:, 0], (1,))
