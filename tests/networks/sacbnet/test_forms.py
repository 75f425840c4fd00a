"""The whole network on the fast kernels, in either precision, against the plain ones."""

import pytest
import torch
import torch.nn.functional as F

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.kernels.dispatch import plain_kernels
from sacbnet.losses import gradient_loss, ncc_loss
from sacbnet.networks.sacbnet.network import SACBNet
from sacbnet.spatial.warp import warp


def images(*shape):
    g = torch.Generator().manual_seed(0)
    return [
        F.interpolate(torch.rand(1, 1, 6, 6, 6, generator=g), shape, mode="trilinear")
        for _ in range(2)
    ]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return SACBNet()


def step(model):
    """Displacement and gradients of one training step."""
    moving, fixed = images(32, 48, 40)
    model.zero_grad()
    u = model(moving, fixed)
    (ncc_loss(warp(moving, u), fixed) + gradient_loss(u)).backward()
    return u.detach(), torch.cat(
        [p.grad.flatten() for name, p in model.named_parameters() if "bias" not in name]
    )


def alike(a, b):
    return float(F.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0))


def test_fast_equals_plain(model):
    u, slope = step(model)
    with plain_kernels():
        u_plain, slope_plain = step(model)
    # voxels; a few labels differ where two centres are equally near
    assert (u - u_plain).abs().max() < 5e-3
    assert alike(slope, slope_plain) > 0.999


def test_bfloat16(model):
    u, _ = step(model)
    with torch.autocast("cpu", torch.bfloat16):
        u_half, slope_half = step(model)
    assert u_half.dtype == torch.float32 and torch.isfinite(slope_half).all()
    assert (u_half - u).norm(dim=1).mean() < 0.05 * max(1.0, float(u.norm(dim=1).mean()))


def test_gradients_in_bfloat16():
    torch.manual_seed(0)
    model = SACBNet(SACBNetConfig(sacb_levels=()))  # no clusters, which rounding makes jump
    _, slope = step(model)
    with torch.autocast("cpu", torch.bfloat16):
        _, slope_half = step(model)
    assert alike(slope_half, slope) > 0.95


def test_inference_and_training_agree(model):
    moving, fixed = images(32, 48, 40)
    with torch.no_grad():
        quiet = model(moving, fixed)
    torch.testing.assert_close(model(moving, fixed).detach(), quiet)
