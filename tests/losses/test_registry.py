"""The table of losses: every entry has its function, takes its parameters, and scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import sacbnet.losses as losses
from sacbnet.errors import InputError
from sacbnet.losses import registry
from sacbnet.losses.registry import BUILT_IN, MIND, MSE, NCC, Gradient, Similarity, Smoothness
from sacbnet.losses.terms import similarity_loss, smoothness_loss


def images():
    return torch.rand(2, 1, 1, 20, 20, 20, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", BUILT_IN, ids=lambda kind: kind.name)
def test_each_name_is_its_function(kind):
    u = torch.rand(1, 3, 12, 12, 12, generator=torch.Generator().manual_seed(1))
    function = getattr(losses, f"{kind.name}_loss", None) or losses.bending_energy_loss
    if issubclass(kind, Similarity):
        assert torch.equal(similarity_loss(*images(), kind()), function(*images()))
    else:
        assert torch.equal(smoothness_loss(u, kind()), function(u))


def test_parameters_reach_the_function():
    moved, fixed = images()
    found = similarity_loss(moved, fixed, MIND(radius=1, dilation=1))
    assert torch.equal(found, losses.mind_loss(moved, fixed, 1, 1))
    assert not torch.equal(found, losses.mind_loss(moved, fixed))
    found = similarity_loss(moved, fixed, NCC(window=5, noise=0.1))
    assert torch.equal(found, losses.ncc_loss(moved, fixed, 5, epsilon=0.1**4 * 5**6))
    # noise 0: the paper's constant
    assert torch.equal(similarity_loss(moved, fixed, NCC()), losses.ncc_loss(moved, fixed))


@dataclass(frozen=True)
class Unmasked(MSE):
    """A loss of somebody else, whose function takes no mask."""

    implementation: ClassVar[str] = "torch.nn.functional:mse_loss"
    masked: ClassVar[bool] = False


def test_only_a_loss_that_takes_a_mask_gets_it():
    moved, fixed = images()
    mask = torch.zeros_like(moved)
    mask[:, :, :9] = 1
    found = similarity_loss(moved, fixed, NCC(), mask)
    assert torch.equal(found, losses.ncc_loss(moved, fixed, mask=mask))
    whole = losses.mse_loss(moved, fixed)
    assert torch.equal(similarity_loss(moved, fixed, Unmasked(), mask), whole)


@pytest.mark.parametrize(
    ("window", "sides"), [(9, (9, 5, 5)), (5, (5, 5, 5)), (3, (3, 3, 3)), (21, (21, 11, 5))]
)
def test_boxes_are_halved_with_the_images(window, sides):
    assert tuple(NCC(window=window).at_scale(n).window for n in range(3)) == sides
    assert MIND(radius=3).at_scale(2) == MIND(radius=3)


def test_scales_are_the_mean_over_halved_images():
    moved, fixed = images()
    small = [torch.nn.functional.avg_pool3d(x, 2) for x in (moved, fixed)]
    by_hand = (losses.ncc_loss(moved, fixed, 9) + losses.ncc_loss(*small, 5)) / 2
    assert float(similarity_loss(moved, fixed, NCC(), scales=2)) == pytest.approx(float(by_hand))


def test_losses_that_are_not_known_are_named():
    with pytest.raises(InputError, match=r"'ssd' is not known; one of ncc, mse"):
        registry.loss_named("ssd", Similarity)
    with pytest.raises(InputError, match=r"'ncc' is not known; one of gradient, bending"):
        registry.loss_named("ncc", Smoothness)
    assert registry.loss_named("gradient", Smoothness) is Gradient
