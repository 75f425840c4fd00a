"""Where a tensor's numbers lie in memory must not show in any loss."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import sacbnet.losses as losses

LABELS = torch.randint(0, 3, (2, 2, 1, 5, 6, 7), generator=torch.Generator().manual_seed(1))


def rand(seed: int, channels: int) -> Tensor:
    return torch.rand(
        (2, channels, 5, 6, 7), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def everywhere(x: Tensor) -> list[Tensor]:
    """The same numbers: channels side by side, k slowest, every other one of a larger tensor."""
    spread = torch.zeros(*x.shape[:-1], 2 * x.shape[-1], dtype=x.dtype)[..., ::2]
    return [
        x.contiguous(memory_format=torch.channels_last_3d),
        x.transpose(2, 4).contiguous().transpose(2, 4),
        spread.copy_(x),
    ]


IMAGES = [losses.ncc_loss, losses.mse_loss, losses.mind_loss, losses.mutual_information_loss]
FIELDS = [
    losses.gradient_loss,
    losses.bending_energy_loss,
    losses.jacobian_loss,
    lambda u: losses.inverse_consistency_loss(u, -u),
    lambda u: losses.dice_loss(u, everywhere(LABELS[0])[1], everywhere(LABELS[1])[1], (1, 2)),
]


@pytest.mark.parametrize(
    "loss, x", [(f, rand(0, 1)) for f in IMAGES] + [(f, rand(0, 3) * 2) for f in FIELDS]
)
def test_layout_in_memory_does_not_matter(loss, x):
    fixed = [rand(1, 1)] if x.shape[1] == 1 else []

    def value_and_gradient(x: Tensor, others: list[Tensor]) -> tuple[Tensor, Tensor]:
        x = x.detach().requires_grad_()
        out = loss(x, *others)
        return out, torch.autograd.grad(out, x)[0]

    expected = value_and_gradient(x, fixed)
    assert expected[1].abs().max() > 0
    for n, laid in enumerate(everywhere(x)):
        others = [everywhere(f)[n] for f in fixed]
        torch.testing.assert_close(value_and_gradient(laid, others), expected)
