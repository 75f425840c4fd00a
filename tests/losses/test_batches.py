"""The loss of a batch is the mean of the losses of its samples.

So a step on a batch, and a step that accumulates over its samples, are the same.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import sacbnet.losses as losses

SIZE = (20, 6, 7)  # along i more than two slabs of the folding loss


def rand(seed: int, channels: int, scale: float = 1.0) -> Tensor:
    """Two samples, of which the second varies three times as much."""
    values = torch.rand(
        (2, channels, *SIZE), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return values * scale * torch.tensor([1 / 3, 1], dtype=torch.float64).view(2, 1, 1, 1, 1)


def displacement(seed: int) -> Tensor:
    return rand(seed, 3, 8.0) - 4 * torch.tensor([1 / 3, 1], dtype=torch.float64).view(
        2, 1, 1, 1, 1
    )


MASK = torch.zeros(2, 1, *SIZE)
MASK[0, :, :3], MASK[1, :, :, 2:] = 1, 0.5  # of unlike sizes
LABELS = (rand(5, 1, 4.0).long(), rand(6, 1, 5.0).long())  # the second sample has more labels
IMAGES = rand(0, 1), rand(1, 1)

# loss of (differentiable inputs..., others...), the inputs, the others
ALL = {
    "mse": (losses.mse_loss, IMAGES, ()),
    "ncc": (lambda m, f: losses.ncc_loss(m, f, 5), IMAGES, ()),
    "ncc masked": (lambda m, f, mask: losses.ncc_loss(m, f, 5, mask), IMAGES, (MASK,)),
    "mutual information": (lambda m, f: losses.mutual_information_loss(m, f, 8), IMAGES, ()),
    "mind": (lambda m, f: losses.mind_loss(m, f, 1, 1), IMAGES, ()),
    "gradient": (losses.gradient_loss, (displacement(2),), ()),
    "bending energy": (losses.bending_energy_loss, (displacement(2),), ()),
    "jacobian": (losses.jacobian_loss, (displacement(2),), ()),
    "inverse consistency": (
        losses.inverse_consistency_loss,
        (displacement(2), displacement(3)),
        (),
    ),
    "dice": (lambda u, m, f: losses.dice_loss(u, m, f, (1, 2, 3, 4)), (displacement(2),), LABELS),
}


def value_and_slopes(loss, inputs, others) -> tuple[Tensor, tuple[Tensor, ...]]:
    inputs = [x.detach().requires_grad_() for x in inputs]
    value = loss(*inputs, *others)
    return value, torch.autograd.grad(value, inputs)


def test_none_is_left_out():
    assert len(ALL) == len(losses.__all__) - 1 + 1  # box_mean is no loss; ncc is there twice


@pytest.mark.parametrize("name", ALL)
def test_a_batch_is_the_mean_of_its_samples(name):
    loss, inputs, others = ALL[name]
    value, slopes = value_and_slopes(loss, inputs, others)
    each = [
        value_and_slopes(loss, [x[[n]] for x in inputs], [x[[n]] for x in others]) for n in range(2)
    ]
    assert abs(each[0][0] - each[1][0]) > 1e-3  # otherwise any weighting of the two would do
    torch.testing.assert_close(value, (each[0][0] + each[1][0]) / 2)
    for slope, *alone in zip(slopes, *(found for _, found in each), strict=True):
        assert slope.abs().max() > 0
        torch.testing.assert_close(slope, torch.cat(alone) / 2)


@pytest.mark.parametrize("name", [n for n in ALL if n != "dice"])
def test_the_host_is_asked_once_at_most(name, monkeypatch):
    """Each transfer makes the host wait for a GPU. (Dice picks voxels by labels: it transfers.)"""
    asked = []
    for method in ("tolist", "item", "__bool__", "__float__", "__int__"):
        original = getattr(torch.Tensor, method)

        def counted(x, original=original, method=method):
            asked.append(method)
            return original(x)

        monkeypatch.setattr(torch.Tensor, method, counted)
    loss, inputs, others = ALL[name]
    value_and_slopes(loss, inputs, others)
    monkeypatch.undo()
    assert len(asked) <= 1, asked
