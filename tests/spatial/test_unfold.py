"""Repair of folds: all of them, and nothing else."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import sacbnet.spatial.unfold as module
from sacbnet.kernels.cpu.native import plain_kernels
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
    return (
        bool((jacobian_determinant(u) > 0).all())
        and not bool(folds(u).any())
        and non_diffeomorphic_volume(u) == 0
    )


def test_a_field_without_folds_is_returned_bit_for_bit():
    u = smooth(20, 21, 22)
    assert sound(u)
    out, report = unfold(u)
    assert torch.equal(out, u)
    assert all(value == 0 for value in report.values()) and "remaining_voxels" in report


@pytest.mark.parametrize("seed", range(3))
def test_a_single_fold_is_repaired_and_the_rest_untouched(seed):
    u = one_fold(seed)
    assert not sound(u)
    before = u.clone()
    out, report = unfold(u)
    assert torch.equal(u, before)  # not in place
    assert sound(out)
    change = (out - u).norm(dim=0)
    changed = (change > 1e-6).nonzero()
    assert len(changed) and int((changed - 10).abs().max()) <= 8
    assert report["remaining_voxels"] == 0 and report["rounds"] >= 1
    assert report["voxels_changed"] == len(changed)
    assert report["voxels_changed_percent"] == pytest.approx(100 * len(changed) / change.numel())
    assert report["largest_change_vox"] == pytest.approx(float(change.max()))
    assert report["mean_change_vox"] == pytest.approx(float(change[change > 1e-6].mean()), rel=1e-4)


def test_little_is_moved():
    """A voxel pushed 0.3 past its neighbour: it and those around share what is lacking."""
    u = torch.zeros(3, 20, 20, 20)
    u[0, 10, 10, 10] = 1.3
    out, report = unfold(u)
    assert sound(out)
    assert report["largest_change_vox"] < 0.35
    assert float((out - u).norm(dim=0).sum()) < 3


def blurred(u: torch.Tensor, margin: float = 0.02) -> torch.Tensor:
    """The simplest repair: the 3³ mean at voxels that fold, repeated over growing regions."""
    for n in range(60):
        bad = folds(u, margin)[None].float()
        if not bad.any():
            return u
        near = F.max_pool3d(bad, 2 * (n // 4) + 1, 1, n // 4) > 0
        u = torch.where(near, F.avg_pool3d(F.pad(u[None], (1,) * 6, mode="replicate"), 3, 1)[0], u)
    raise AssertionError("blurring did not end")


@pytest.mark.parametrize("size", [0.2, 0.4])
def test_less_is_moved_than_by_blurring(size):
    u = smooth(20, 21, 22) + rough(20, 21, 22, size=size)
    assert folds(u).any()
    out, _ = unfold(u)
    assert float((out - u).norm(dim=0).sum()) < 0.5 * float((blurred(u) - u).norm(dim=0).sum())


def test_what_is_large_and_right_is_kept():
    """A folding patch in a field that moves everything far: smoothing would lose the motion."""
    u = 3 * smooth(30, 30, 30) / 1.5
    noisy = u.clone()
    noisy[:, 10:20, 10:20, 10:20] += rough(10, 10, 10, size=0.4)
    assert folds(noisy).any() and sound(u)
    out, report = unfold(noisy)
    assert sound(out) and report["mean_change_vox"] < 0.25


@pytest.mark.parametrize("size", [0.4, 2.0])
def test_with_and_without_the_kernels(size):
    u = smooth(14, 15, 13) + rough(14, 15, 13, size=size)
    fast, _ = unfold(u)
    with plain_kernels():
        plain, report = unfold(u)
        assert sound(plain) and report["remaining_voxels"] == 0
    assert sound(fast)
    if size < 1:  # beyond, rounding decides which way a crumpled cell opens
        torch.testing.assert_close(fast, plain, atol=1e-3, rtol=0)


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
@given(
    st.integers(0, 10_000),
    st.sampled_from([0.3, 1.0, 3.0, 10.0]),
    st.tuples(*[st.integers(3, 14)] * 3),
)
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
    u[(slice(None), *corner)] = torch.tensor([3.0, -2, 4]) * torch.tensor(
        [1.0 if c == 0 else -1 for c in corner]
    )
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


@pytest.mark.parametrize("each, always", [(0, 5_000), (3, 0), (2, 2_000)])
@pytest.mark.parametrize("shape", [(12, 12, 12), (12, 12, 24)])
def test_the_work_is_bounded_by_the_volume_and_what_remains_is_told(
    each, always, shape, monkeypatch
):
    """Visits of cells are counted; the round that passes the bound is the last one."""
    visits, push = [], module._Work.push

    def counted(self, u, cells, *others):
        visits.append(len(cells))
        return push(self, u, cells, *others)

    monkeypatch.setattr(module._Work, "push", counted)
    monkeypatch.setattr(module, "MOST_WORK", each)
    monkeypatch.setattr(module, "ALWAYS", always)
    u = rough(*shape, size=10)
    most = each * u[0].numel() + always
    out, report = unfold(u)
    assert sum(visits[:-1]) < most <= sum(visits)
    assert report["rounds"] == len(visits) < 10  # before any smoothing, which counts as well
    assert report["remaining_voxels"] == int(folds(out, 0.02).sum()) > 0


def test_a_bound_that_is_not_reached_changes_nothing(monkeypatch):
    u = one_fold()
    expected, report = unfold(u)
    monkeypatch.setattr(module, "ALWAYS", 0)  # 10 visits per voxel are enough
    assert torch.equal(unfold(u)[0], expected) and report["remaining_voxels"] == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e12])
def test_what_is_no_displacement_is_left_to_the_caller(value):
    u = smooth(8, 8, 8)
    u[1, 4, 4, 4] = value
    out, report = unfold(u)
    assert torch.equal(out.nan_to_num(), u.nan_to_num()) and report["rounds"] == 0
    assert report["remaining_voxels"] == int(folds(u, 0.02).sum()) >= 26  # the voxels around it


def test_large_displacements():
    """Crumpled over a thousand voxels: there is an end to it."""
    out, report = unfold(rough(8, 9, 10, size=1000))
    assert report["remaining_voxels"] == 0 and sound(out)


def test_double_precision_comes_back_as_it_came():
    u = smooth(8, 9, 10).double()
    assert torch.equal(unfold(u)[0], u)
    u += rough(8, 9, 10, size=1).double()
    out, report = unfold(u)
    assert out.dtype == torch.float64 and sound(out) and report["remaining_voxels"] == 0


def test_threads_do_not_matter():
    threads = torch.get_num_threads()
    u = smooth(14, 15, 13) + rough(14, 15, 13, size=1)
    try:
        torch.set_num_threads(1)
        one, _ = unfold(u)
        torch.set_num_threads(3)
        assert torch.equal(unfold(u)[0], one)
    finally:
        torch.set_num_threads(threads)


def test_twice_is_the_same():
    u = rough(12, 12, 12, size=1)
    once, _ = unfold(u)
    assert torch.equal(once, unfold(u)[0])
    assert torch.equal(unfold(once)[0], once)
