"""Steps are shortened where they would fold, and only there."""

import pytest
import torch
import torch.nn.functional as F

from sacbnet.spatial.backtrack import ROUNDS, backtrack, compose_unfolded, folded_voxels
from sacbnet.spatial.jacobian import folds, non_diffeomorphic_volume
from sacbnet.spatial.warp import compose


def field(seed, size, shape=(24, 20, 22)):
    low = torch.randn(1, 3, 5, 5, 5, generator=torch.Generator().manual_seed(seed))
    return size * F.interpolate(low, shape, mode="trilinear", align_corners=True)


def test_a_step_that_folds_nowhere_is_taken_whole():
    u, step = field(0, 0.5), field(1, 0.5)
    assert torch.equal(compose_unfolded(u, step), compose(u, step, padding="border"))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_step_that_folds_is_shortened_there(seed):
    u, step = field(seed, 0.4), torch.zeros(2, 3, 24, 20, 22)
    step[0, :, 10, 10, 10] = torch.tensor([3.0, -2.0, 2.0])  # passes by its neighbours
    u = u.expand(2, -1, -1, -1, -1)
    whole, found = compose(u, step, padding="border"), compose_unfolded(u, step)
    assert non_diffeomorphic_volume(whole[0]) > 0
    assert [non_diffeomorphic_volume(x) for x in found] == [0, 0]
    moved = (found[0] - u[0])[:, 10, 10, 10]
    assert moved.norm() > 0.2  # it does not stand still
    assert torch.equal(found[0, :, :6], whole[0, :, :6]) and torch.equal(found[1], whole[1])


def test_gradients_pass():
    step = torch.zeros(1, 3, 12, 12, 12)
    step[0, 0, 6, 6, 6] = 3
    step.requires_grad_()
    compose_unfolded(field(0, 0.2, (12, 12, 12)), step).square().sum().backward()
    assert step.grad.isfinite().all() and step.grad[0, :, 6, 6, 6].any()


def test_what_folded_before_ends():
    tried, everywhere = [], torch.ones(1, 1, 3, 3, 3, dtype=torch.bool)
    backtrack(
        torch.ones(1, 1, 3, 3, 3), lambda step: tried.append(step) or step, lambda step: everywhere
    )
    assert len(tried) == ROUNDS + 1 and tried[-1].max() == pytest.approx(2.0**-ROUNDS)


def test_folds_by_sample():
    u = torch.cat([field(0, 0.1), field(0, 30.0)])
    marked = folded_voxels(u)
    assert marked.shape == (2, 1, 24, 20, 22) and not marked[0].any()
    assert torch.equal(marked[1, 0], folds(u[1])) and marked[1].any()
