"""Masks of the image losses: what lies outside has no say, and samples count equally."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sacbnet.errors import InputError
from sacbnet.losses import mind_loss, mse_loss, mutual_information_loss, ncc_loss
from sacbnet.losses.mind import _Descriptors
from sacbnet.losses.registry import BUILT_IN, Similarity, function_of

LOSSES = {loss.name: loss() for loss in BUILT_IN if issubclass(loss, Similarity)}


def images(b: int = 2, size: tuple[int, ...] = (6, 5, 7), seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    shape = (b, 1, *size)
    moved, fixed = (torch.rand(shape, generator=g, dtype=torch.float64) for _ in range(2))
    return moved, fixed


def mask_of(b: int = 2, size: tuple[int, ...] = (6, 5, 7)) -> Tensor:
    mask = torch.rand((b, 1, *size), generator=torch.Generator().manual_seed(9)) > 0.4
    mask[0, :, :2] = False  # of unlike sizes
    return mask


def part_of(x: Tensor, mask: Tensor) -> Tensor:
    """The masked voxels of one sample, as a volume of one column."""
    return x[mask].reshape(1, 1, -1, 1, 1)


@pytest.mark.parametrize("loss", [mse_loss, mutual_information_loss])
def test_a_loss_of_single_voxels_sees_the_voxels_inside_alone(loss):
    (moved, fixed), mask = images(), mask_of()
    expected = torch.stack(
        [loss(part_of(moved[n], mask[n]), part_of(fixed[n], mask[n])) for n in range(2)]
    )
    torch.testing.assert_close(loss(moved, fixed, mask=mask), expected.mean())


def test_mind_is_the_mean_of_its_map_inside():
    (moved, fixed), mask = images(), mask_of()
    expected = []
    for n in range(2):
        a, b = (_Descriptors(x[n, 0], 1, 2).values for x in (moved, fixed))
        expected.append((a - b).square().mean(0)[mask[n, 0]].mean())
    torch.testing.assert_close(mind_loss(moved, fixed, 1, 2, mask), torch.stack(expected).mean())


@pytest.mark.parametrize("name", LOSSES)
def test_a_mask_of_ones_says_nothing_new(name):
    moved, fixed = images(b=1)
    loss = function_of(LOSSES[name])
    ones = torch.ones_like(moved)
    torch.testing.assert_close(loss(moved, fixed, mask=3 * ones), loss(moved, fixed))


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_with_a_mask(name):
    moved, fixed = (x.requires_grad_() for x in images(b=2, size=(4, 3, 5)))
    mask = mask_of(2, (4, 3, 5)) * 0.7
    loss = {"ncc": lambda m, f: ncc_loss(m, f, 3, mask)}.get(
        name, lambda m, f: function_of(LOSSES[name])(m, f, mask=mask)
    )
    assert torch.autograd.gradcheck(loss, (moved, fixed))


@pytest.mark.parametrize("name", LOSSES)
def test_an_empty_mask_and_a_mask_of_another_shape_are_refused(name):
    moved, fixed = images()
    loss = function_of(LOSSES[name])
    mask = mask_of()
    mask[1] = False
    with pytest.raises(InputError, match="the mask of the loss is empty for a sample"):
        loss(moved, fixed, mask=mask)
    with pytest.raises(InputError, match="the mask has shape"):
        loss(moved, fixed, mask=mask[..., 1:])
