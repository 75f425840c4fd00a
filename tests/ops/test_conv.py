"""The convolution that ends in a displacement keeps its precision, whatever type features have."""

from __future__ import annotations

import pytest
import torch

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.kernels.dispatch import plain_kernels
from sacbnet.networks.sacbnet.network import SACBNet
from sacbnet.ops.conv import conv3d


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 5, 6, 7, generator=g).bfloat16()
    return x, torch.randn(3, 4, 3, 3, 3, generator=g), torch.randn(3, generator=g)


def test_the_plain_form_computes_in_float32_under_autocast():
    x, weight, bias = (t.requires_grad_() for t in inputs())
    exact = torch.nn.functional.conv3d(x.double(), weight.double(), bias.double(), padding=1)
    with plain_kernels(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = conv3d(x, weight, bias)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)
    slopes = torch.autograd.grad(found.sum(), (x, weight, bias))
    assert [s.dtype for s in slopes] == [torch.bfloat16, torch.float32, torch.float32]
    expected = torch.autograd.grad(exact.sum(), (weight, bias))
    for slope, other in zip(slopes[1:], expected, strict=True):
        torch.testing.assert_close(slope, other, rtol=1e-4, atol=1e-4)


def test_what_is_wider_stays_wide():
    with plain_kernels(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert conv3d(*(t.double() for t in inputs())).dtype == torch.float64


@pytest.mark.parametrize("levels", [(2, 3, 4, 5), (5,)])
def test_displacements_are_float32_under_autocast_with_plain_kernels(levels):
    torch.manual_seed(0)
    network = SACBNet(
        SACBNetConfig(base_channels=1, clusters=(2, 2, 2, 2), sacb_levels=levels)
    ).eval()
    heads = []
    network.head.register_forward_hook(lambda module, given, out: heads.append(out))
    image = torch.rand(2, 1, 1, 32, 32, 32)
    with plain_kernels(), torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        u = network(image[0], image[1])
    assert u.dtype == heads[0].dtype == torch.float32
    assert not torch.equal(u, u.bfloat16().float())  # nor is it bfloat16 in a wider coat
    assert not torch.equal(heads[0], heads[0].bfloat16().float())
