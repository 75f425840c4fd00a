"""What a network of one pass for both directions learns from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from sacbnet.config.recipe import LossOptions
from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.losses import inverse_consistency_loss, ncc_loss
from sacbnet.networks.registry import build
from sacbnet.spatial.warp import warp
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


def test_a_reversed_batch_exchanges_everything_that_belongs_to_an_image():
    names = ("", "_labels", "_inside", "_view")
    given = {f"{side}{n}": torch.rand(1, 1, 2, 2, 2) for n in names for side in ("moving", "fixed")}
    there = Batch(**given, labelled=0.5)
    back = there.reversed()
    for n in names:
        assert getattr(back, f"moving{n}") is getattr(there, f"fixed{n}")
        assert getattr(back, f"fixed{n}") is getattr(there, f"moving{n}")
    assert back.labelled == 0.5
    assert back.reversed() == there


@torch.no_grad()
def test_both_directions_weigh_the_same_and_inverse_consistency_has_its_weight():
    """The terms of a network that runs both ways are means, and the loss is their weighted sum."""

    class Shift(torch.nn.Module):
        def forward(self, moving, fixed):
            return (fixed - moving).expand(-1, 3, -1, -1, -1).contiguous()

    options = LossOptions(window=5, smoothness_weight=2.0, inverse_consistency_weight=0.25)
    terms = Objective(Shift(), options)(batch(), ())
    alone = LossOptions(window=5, smoothness_weight=2.0)
    ways = [Objective(Shift(), alone)(b, ()) for b in (batch(), batch().reversed())]
    for name in ("similarity", "smoothness"):
        mean = sum(float(way[name]) for way in ways) / 2
        assert float(terms[name]) == pytest.approx(mean, rel=1e-5)
    assert float(ways[0]["similarity"]) != pytest.approx(float(ways[1]["similarity"]), rel=1e-3)
    u = Shift()(batch().moving, batch().fixed)
    assert terms["inverse_consistency"] == inverse_consistency_loss(u, -u) > 0
    expected = terms["similarity"] + 2 * terms["smoothness"] + terms["inverse_consistency"] / 4
    assert float(terms["loss"]) == pytest.approx(float(expected), rel=1e-5)


@torch.no_grad()
def test_the_way_back_counts_inside_its_own_images():
    """Only the fixed image is padded; the way back must not take its mask for the moving one's."""

    class Shift(torch.nn.Module):
        def forward(self, moving, fixed):
            u = torch.zeros(1, 3, *fixed.shape[2:])
            u[:, 0] = 3.0
            return u

    whole = batch()
    inside = torch.zeros_like(whole.fixed)
    inside[:, :, 16:] = 1
    padded = replace(whole, moving_inside=torch.ones_like(inside), fixed_inside=inside)
    options = LossOptions(window=5, inverse_consistency_weight=1.0)
    terms = Objective(Shift(), options)(padded, ())
    expected = 0.0
    for moving, fixed, m_inside, f_inside in (
        (whole.moving, whole.fixed, padded.moving_inside, inside),
        (whole.fixed, whole.moving, inside, padded.moving_inside),
    ):
        u = Shift()(moving, fixed)
        mask = f_inside * warp(m_inside, u)
        expected += 0.5 * float(ncc_loss(warp(moving, u), fixed, 5, mask))
    assert float(terms["similarity"]) == pytest.approx(expected, abs=1e-5)


def test_a_network_that_leads_an_image_away_has_no_finite_loss():
    class Away(torch.nn.Module):
        def forward(self, moving, fixed):
            return moving.expand(-1, 3, -1, -1, -1) * 0 + 100.0

    images, inside = torch.rand(2, 1, 1, 8, 8, 8), torch.ones(1, 1, 8, 8, 8)
    terms = Objective(Away(), LossOptions())(
        Batch(*images, moving_inside=inside, fixed_inside=inside), ()
    )
    assert terms["loss"].isnan()
