"""What a network of one pass for both directions learns from."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sacbnet.config.recipe import LossOptions
from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.networks.registry import build
from sacbnet.training.objective import Batch, Objective


def batch():
    g = torch.Generator().manual_seed(0)
    low = torch.rand(2, 1, 1, 6, 6, 6, generator=g)
    moving, fixed = (F.interpolate(x, (32, 32, 16), mode="trilinear") for x in low)
    return Batch(moving, fixed, (4 * moving).long(), (4 * fixed).long(), labelled=1.0)


def objective(symmetric, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build(SACBNetConfig(base_channels=2, symmetric=symmetric)).eval()
    return Objective(network, LossOptions(window=5, dice_weight=1.0, **options))


@torch.no_grad()
def test_a_symmetric_network_has_the_same_loss_whichever_image_moves():
    there, back = (objective(True)(b, (1, 2, 3)) for b in (batch(), batch().reversed()))
    for name in ("loss", "similarity", "smoothness", "dice"):
        assert float(there[name]) == pytest.approx(float(back[name]), abs=1e-5)
    assert "inverse_consistency" not in there
    one_way = [objective(False)(b, (1, 2, 3)) for b in (batch(), batch().reversed())]
    assert float(one_way[0]["loss"]) != pytest.approx(float(one_way[1]["loss"]), abs=1e-4)


@torch.no_grad()
def test_its_inverse_consistency_costs_no_second_pass():
    learning = objective(True, inverse_consistency_weight=0.1)
    passes = []
    learning.network.encoder.register_forward_hook(lambda *a: passes.append(1))
    terms = learning(batch(), (1, 2, 3))
    assert len(passes) == 1
    assert 0 < float(terms["inverse_consistency"]) < 1


def test_a_network_that_leads_an_image_away_has_no_finite_loss():
    class Away(torch.nn.Module):
        def forward(self, moving, fixed):
            return moving.expand(-1, 3, -1, -1, -1) * 0 + 100.0

    images, inside = torch.rand(2, 1, 1, 8, 8, 8), torch.ones(1, 1, 8, 8, 8)
    terms = Objective(Away(), LossOptions())(
        Batch(*images, moving_inside=inside, fixed_inside=inside), ()
    )
    assert terms["loss"].isnan()
