"""Repair of folds: all of them, and nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sacbnet.spatial.jacobian import folds, jacobian_determinant, non_diffeomorphic_volume
from sacbnet.spatial.unfold import unfold


def rough(*shape: int, size: float, seed: int = 0) -> torch.Tensor:
    return size * torch.randn(3, *shape, generator=torch.Generator().manual_seed(seed))


def smooth(*shape: int) -> torch.Tensor:
    axes = torch.meshgrid(*[torch.linspace(0, 3, n) for n in shape], indexing="ij")
    return 1.5 * torch.stack([torch.sin(axes[1]), torch.cos(axes[2]), torch.sin(axes[0] + 1)])


def one_fold(seed: int = 0) -> torch.Tensor:
    u = smooth(40, 30, 30)
    u[:, 10, 10, 10] += 3 * torch.randn(3, generator=torch.Generator().manual_seed(seed))
    u[0, 10, 10, 10] += 4
    return u


def sound(u: torch.Tensor) -> bool:
    return bool((jacobian_determinant(u) > 0).all()) and not bool(folds(u).any()) and non_diffeomorphic_volume(u) == 0


def test_a_field_without_folds_is_returned_bit_for_bit():
    u = smooth(20, 21, 22)
    assert sound(u)
    out, report = unfold(u)
    assert torch.equal(out, u)
    assert report == {"voxels_changed_percent": 0, "largest_change_vox": 0, "rounds": 0, "remaining_voxels": 0}


@pytest.mark.parametrize("seed", range(3))
def test_a_single_fold_is_repaired_and_the_rest_untouched(seed):
    u = one_fold(seed)
    assert not sound(u)
    before = u.clone()
    out, report = unfold(u)
    assert torch.equal(u, before)  # not in place
    assert sound(out)
    changed = (out != u).any(dim=0).nonzero()
    assert len(changed) and int((changed - 10).abs().max()) <= 8
    assert report["remaining_voxels"] == 0 and report["rounds"] >= 1
    assert report["largest_change_vox"] == pytest.approx(float((out - u).abs().max()))
    assert report["voxels_changed_percent"] == pytest.approx(
        100 * float(((out - u).abs().amax(dim=0) > 1e-6).float().mean())
    )


def test_two_folds_far_apart_are_repaired_each_where_it_is():
    u = one_fold()
    u[:, 30, 20, 20] -= 5
    out, _ = unfold(u)
    assert sound(out)
    changed = (out != u).any(dim=0)
    assert changed[10, 10, 10] and changed[30, 20, 20] and not changed[20].any()


def test_the_margin_is_kept():
    u = one_fold()
    for margin in (0.02, 0.2):
        out, report = unfold(u, margin=margin)
        assert not folds(out, margin).any() and report["remaining_voxels"] == 0


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.sampled_from([0.3, 1.0, 3.0, 10.0]), st.tuples(*[st.integers(3, 14)] * 3))
def test_any_rough_field_is_repaired(seed, size, shape):
    u = rough(*shape, size=size, seed=seed)
    out, report = unfold(u)
    assert report["remaining_voxels"] == 0
    assert sound(out)


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 9, 9), (9, 2, 9), (9, 9, 2)])
def test_an_axis_of_two_voxels(shape):
    """Two slices are the fewest that have a volume to fold."""
    out, report = unfold(rough(*shape, size=2))
    assert report["remaining_voxels"] == 0 and sound(out)


@pytest.mark.parametrize("corner", [(0, 0, 0), (11, 11, 11), (0, 6, 11)])
def test_folds_at_faces_and_corners(corner):
    u = torch.zeros(3, 12, 12, 12)
    u[(slice(None), *corner)] = torch.tensor([3.0, -2, 4]) * torch.tensor([1.0 if c == 0 else -1 for c in corner])
    assert not sound(u)
    out, _ = unfold(u)
    assert sound(out)


def test_a_large_region_turned_over():
    """20 % of the volume folded back by a wave whose slope passes -1."""
    x = torch.arange(32.0)
    u = torch.zeros(3, 32, 16, 16)
    u[0] = (8 * torch.sin(x / 4))[:, None, None]
    assert non_diffeomorphic_volume(u) > 5
    out, report = unfold(u)
    assert report["remaining_voxels"] == 0 and sound(out)


@pytest.mark.parametrize("shape", [(1, 9, 9), (9, 1, 9), (9, 9, 1), (1, 1, 1)])
def test_an_axis_of_one_voxel_has_no_volume_to_fold(shape):
    u = rough(*shape, size=3)
    out, report = unfold(u)
    assert torch.equal(out, u) and report["rounds"] == 0


def test_rounds_are_honoured_and_what_remains_is_told():
    u = rough(12, 12, 12, size=10)
    out, report = unfold(u, max_rounds=1)
    assert report["rounds"] == 1
    assert report["remaining_voxels"] == int(folds(out, 0.02).sum()) > 0
    same, report = unfold(u, max_rounds=0)
    assert torch.equal(same, u) and report["remaining_voxels"] > 0


def test_twice_is_the_same():
    u = rough(12, 12, 12, size=1)
    once, _ = unfold(u)
    assert torch.equal(once, unfold(u)[0])
    assert torch.equal(unfold(once)[0], once)
