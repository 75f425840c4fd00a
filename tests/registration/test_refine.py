"""Per-pair refinement on textured volumes whose displacement is known."""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor

from sacbnet.config.choices import METRICS
from sacbnet.config.registration import RefineOptions
from sacbnet.losses import gradient_loss
from sacbnet.registration.refine import LARGE, Guide, LevelReport, _at_level, _levels, improves
from sacbnet.registration.refine import refine as by_keyword
from sacbnet.spatial.jacobian import folds
from sacbnet.spatial.warp import warp

module = importlib.import_module("sacbnet.registration.refine")
SIZE = 48
OPTIONS = RefineOptions(iterations=40, levels=(4, 2))
INNER = (slice(None), slice(None), *[slice(8, -8)] * 3)  # away from what has left the field of view


def refine_and_tell(
    moving: Tensor, fixed: Tensor, options: RefineOptions, **named: Any
) -> tuple[Tensor, tuple[LevelReport, ...]]:
    return by_keyword(fixed=fixed, moving=moving, options=options, **named)


def refine(moving: Tensor, fixed: Tensor, options: RefineOptions, **named: Any) -> Tensor:
    """The displacement alone."""
    return refine_and_tell(moving, fixed, options, **named)[0]


@cache
def texture(size: int = SIZE, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = (
        gaussian_filter(rng.normal(size=(size,) * 3), 2) * 6
        + gaussian_filter(rng.normal(size=(size,) * 3), 4) * 12
    )
    return np.clip(0.5 + 0.25 * noise / noise.std(), 0, 1)


@cache
def truth(size: int = SIZE) -> np.ndarray:
    """(3, i, j, k) voxels: smooth, up to about 3, without folds."""
    axes = np.indices((size,) * 3) / size * 2 * np.pi
    return np.stack(
        [2.5 * np.sin(axes[1]), -2 * np.cos(axes[0] + 0.5), 2 * np.sin(axes[0] + axes[2])]
    )


def tensor(data: np.ndarray) -> Tensor:
    return (
        torch.from_numpy(np.ascontiguousarray(data)).float()[None]
        if data.ndim == 4
        else tensor(data[None])
    )


def pair(size: int = SIZE) -> tuple[Tensor, Tensor]:
    """moving and fixed, with fixed(p) = moving(p + truth(p)), interpolated by cubic splines."""
    moving = texture(size)
    fixed = map_coordinates(moving, np.indices((size,) * 3) + truth(size), order=3, mode="nearest")
    return tensor(moving), tensor(fixed.clip(0, 1))


def error(u: Tensor, expected: Tensor | None = None) -> float:
    """Mean length of the difference, in voxels, away from the faces."""
    expected = tensor(truth(u.shape[-1])) if expected is None else expected
    return float((u - expected)[INNER].norm(dim=1).mean())


@cache
def found() -> Tensor:
    return refine(*pair(), OPTIONS)


def test_a_known_warp_is_recovered():
    assert error(torch.zeros_like(found())) > 2
    assert found().shape == (1, 3, SIZE, SIZE, SIZE) and not found().requires_grad
    assert error(found()) < 0.5
    moving, fixed = pair()
    before, after = (
        float((warp(moving, u) - fixed)[INNER].abs().mean()) for u in (0 * found(), found())
    )
    assert after < before / 4
    assert not folds(found()[0]).any()


@pytest.mark.parametrize("size", [45, 47])
def test_sizes_that_the_levels_do_not_divide(size):
    u = refine(*pair(size), OPTIONS)
    assert u.shape == (1, 3, size, size, size)
    assert error(u) < 0.5


def test_contrast_may_differ():
    moving, fixed = pair()
    u = refine(moving, 0.2 + 0.6 * fixed.sqrt(), OPTIONS)
    assert error(u) < 0.7


def test_contrast_may_be_inverted():
    """As T1 to T2. If the box fills half the level, the zeros beyond the edge decide instead."""
    moving, fixed = pair()
    assert error(refine(moving, 1 - fixed, OPTIONS)) < 1


def test_identical_images_stay_where_they_are():
    moving, _ = pair()
    u = refine(moving, moving, OPTIONS)
    assert float(u.abs().mean()) < 0.02 and float(u.abs().max()) < 0.25


def test_flat_images_stay_where_they_are():
    """Nothing to go by: finite, and no displacement out of nothing."""
    flat = torch.full((1, 1, 24, 24, 24), 0.5)
    u = refine(flat, flat, RefineOptions(iterations=10, levels=(2, 1)))
    assert torch.isfinite(u).all() and float(u.abs().max()) < 0.1


def test_a_start_is_used_and_improved():
    start = tensor(truth() * 0.7)
    short = RefineOptions(iterations=20, levels=(2,))
    with_start, without = refine(*pair(), short, start_vox=start), refine(*pair(), short)
    assert error(with_start) < 0.75 * error(start)
    assert error(with_start) < error(without)
    assert torch.equal(start, tensor(truth() * 0.7))  # and left as it was


@pytest.mark.parametrize("levels", [(4, 2), (2, 1), (1,)])
def test_what_improves_on_nothing(levels):
    moving, fixed = pair()
    options = RefineOptions(levels=levels)
    assert improves(tensor(truth()), fixed=fixed, moving=moving, options=options)
    assert not improves(-tensor(truth()), fixed=fixed, moving=moving, options=options)
    assert not improves(
        torch.zeros_like(tensor(truth())), fixed=fixed, moving=moving, options=options
    )
    noise = 3 * torch.randn(1, 3, SIZE, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    # likeness is not all: it has to be smooth
    assert not improves(tensor(truth()) + noise, fixed=fixed, moving=moving, options=options)


def test_a_third_of_a_start_beyond_the_lattice_of_the_levels_is_kept():
    """A third of the start's fine detail passes through, at full resolution.

    The refinement itself is a smooth correction.
    """
    detail = torch.zeros(1, 3, SIZE, SIZE, SIZE)
    detail[:, :, ::2] = 0.2
    moving, _ = pair()
    u = refine(moving, moving, RefineOptions(iterations=1, levels=(2,)), start_vox=detail)
    difference = u - detail / 3
    assert float(difference[:, :, 1:].sub(difference[:, :, :-1]).abs().max()) < 0.05


def test_large_motion_of_a_start_is_kept_whole():
    """14 voxels, farther than a search from zero reaches; one coarse step finds nothing more."""
    start = torch.zeros(1, 3, SIZE, SIZE, SIZE)
    start[:, 1] = 14
    moving = tensor(texture())
    u = refine(
        moving, moving.roll(-14, 3), RefineOptions(iterations=1, levels=(2,)), start_vox=start
    )
    torch.testing.assert_close(u, start, atol=1e-4, rtol=0)


def test_no_iterations_return_the_start():
    start = tensor(truth() * 0.5)
    torch.testing.assert_close(
        refine(*pair(), RefineOptions(iterations=0), start_vox=start), start, atol=1e-5, rtol=0
    )
    assert float(refine(*pair(), RefineOptions(iterations=0)).abs().max()) == 0


def corner_changed(image: Tensor) -> Tensor:
    out = image.clone()
    out[..., :14] = 1 - out[..., :14].flip(2)
    return out


def test_outside_the_fixed_mask_nothing_matters():
    moving, fixed = pair()
    mask = torch.zeros_like(fixed)
    mask[..., 26:] = (
        1  # 12 voxels from the change: farther than a correlation box reaches at the finer level
    )
    options = RefineOptions(iterations=30, levels=(2,))
    plain = refine(moving, fixed, options, fixed_mask=mask)
    changed = refine(moving, corner_changed(fixed), options, fixed_mask=mask)
    assert float((plain - changed).abs().max()) < 1e-3
    inside = (slice(None), slice(None), slice(8, -8), slice(8, -8), slice(30, -8))
    assert float((plain - tensor(truth()))[inside].norm(dim=1).mean()) < 0.8
    unmasked = (refine(moving, image, options) for image in (fixed, corner_changed(fixed)))
    # without the mask it does matter
    assert float(next(unmasked).sub(next(unmasked)).abs().max()) > 0.2


def test_outside_the_moving_mask_nothing_matters():
    moving, fixed = pair()
    mask = torch.zeros_like(moving)
    mask[..., 30:] = 1  # the displacement along k is 2 voxels at most
    options = RefineOptions(iterations=30, levels=(2,))
    plain = refine(moving, fixed, options, moving_mask=mask)
    changed = refine(corner_changed(moving), fixed, options, moving_mask=mask)
    assert float((plain - changed).abs().max()) < 1e-3


def test_a_moving_mask_does_not_switch_the_fixed_mask_off():
    moving, fixed = pair()
    mask, whole = torch.zeros_like(fixed), torch.ones_like(moving)
    mask[..., 26:] = 1
    options = RefineOptions(iterations=15, levels=(2,))
    plain, changed = (
        refine(moving, image, options, fixed_mask=mask, moving_mask=whole)
        for image in (fixed, corner_changed(fixed))
    )
    assert float((plain - changed).abs().max()) < 1e-3
    assert float(plain.abs().max()) > 1


def test_masks_of_everything_change_nothing():
    ones = torch.ones(1, 1, SIZE, SIZE, SIZE)
    u = refine(*pair(), OPTIONS, fixed_mask=ones)
    torch.testing.assert_close(u, found(), atol=0.02, rtol=0)


def test_twice_the_same_bytes_and_no_global_random_state():
    state, numpy_state = torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    options = RefineOptions(iterations=5, levels=(4, 2))
    first = refine(*pair(), options)
    assert torch.equal(torch.get_rng_state(), state)
    assert str(np.random.get_state()) == numpy_state  # noqa: NPY002
    torch.manual_seed(99)
    assert torch.equal(refine(*pair(), options), first)
    torch.set_rng_state(state)


def test_arguments_stay_as_they_are():
    moving, fixed = pair()
    mask = torch.ones_like(fixed)
    copies = [x.clone() for x in (moving, fixed, mask)]
    refine(moving, fixed, RefineOptions(iterations=2), fixed_mask=mask, moving_mask=mask)
    assert all(torch.equal(a, b) for a, b in zip(copies, (moving, fixed, mask), strict=True))
    assert moving.grad is None and not moving.requires_grad


@pytest.mark.parametrize("levels, used", [((2,), 1), ((2, 1), 2), ((16, 2, 1), 2), ((16, 8), 1)])
def test_iterations_are_honoured(levels, used):
    """A level too coarse for one correlation box is left out; full resolution always remains."""
    calls: list[tuple[int, int, float]] = []
    size = 40
    images = [x[..., :size, :size, :size] for x in pair()]
    options = RefineOptions(iterations=3, levels=levels)
    _, reports = refine_and_tell(images[0], images[1], options, progress=lambda *a: calls.append(a))
    assert [c[:2] for c in calls] == [(n, 3 * used) for n in range(1, 3 * used + 1)]
    assert all(-1 <= c[2] <= 1 for c in calls)
    assert [r.steps for r in reports] == [3] * used
    assert [r.level for r in reports] == ([s for s in levels if s < 8] or [1])


def test_what_each_level_did_is_told():
    losses: list[float] = []
    options = RefineOptions(iterations=12, levels=(3, 2), tolerance=0.0)
    _, reports = refine_and_tell(
        *pair(), options, progress=lambda done, total, loss: losses.append(loss)
    )
    first, second = losses[:12], losses[12:]
    assert reports == (
        LevelReport(3, 12, first[0], min(first)),
        LevelReport(2, 12, second[0], min(second)),
    )
    assert reports[0].loss_after < reports[0].loss_before - 0.1


def test_a_level_ends_when_it_no_longer_gains():
    calls: list[tuple[int, int]] = []
    options = RefineOptions(iterations=300, levels=(3, 2), patience=8, tolerance=5e-3)
    moving, fixed = pair()
    u, reports = refine_and_tell(
        moving, fixed, options, progress=lambda done, total, loss: calls.append((done, total))
    )
    assert all(8 < r.steps < 100 for r in reports)
    assert error(u) < 0.5
    # steps that are spared count as done
    assert calls[-1] == (600, 600) and calls[reports[0].steps - 1] == (300, 600)
    assert [c[0] for c in calls] == sorted({c[0] for c in calls})
    _, same = refine_and_tell(moving, moving, options)
    # at the optimum from the start: only twice the patience is spent
    assert [r.steps for r in same] == [17, 17]
    assert all(r.loss_after == r.loss_before for r in same)


def test_a_start_that_folds_is_mended_first():
    """An optimiser would be caught in the folds, so it gets no tetrahedron that is turned over."""
    start = tensor(truth() * 0.7)
    start[:, :, 20:28, 20:28, 20:28] += 1.5 * torch.randn(
        8, 8, 8, generator=torch.Generator().manual_seed(0)
    )
    assert folds(start[0]).sum() > 500
    u = refine(*pair(), OPTIONS, start_vox=start)
    assert error(u) < 0.5


def test_the_loss_goes_down():
    losses: list[float] = []
    options = RefineOptions(iterations=30, levels=(2,))
    refine(*pair(), options, progress=lambda done, total, loss: losses.append(loss))
    assert min(losses[-5:]) < losses[0] - 0.15


def test_smoothness_keeps_the_displacement_smooth():
    def roughness(weight: float) -> float:
        u = refine(*pair(), RefineOptions(iterations=15, levels=(4,), smoothness=weight))
        return float(sum(torch.diff(u, dim=d).square().mean() for d in (2, 3, 4)))

    assert roughness(20.0) < 0.5 * roughness(0.1)


@pytest.mark.parametrize("metric", METRICS)
def test_each_metric_finds_the_warp(metric):
    moving, fixed = pair()
    u = refine(moving, fixed, replace(OPTIONS, metric=metric))
    nothing = error(torch.zeros_like(u))
    assert error(u) < 0.35 * nothing


@pytest.mark.parametrize("metric", ["lncc", "mind", "mi"])
def test_metrics_for_two_kinds_of_images_find_the_warp_in_another_contrast(metric):
    moving, fixed = pair()
    other = 1 - 0.8 * moving  # as a T2 image of the same anatomy
    u = refine(other, fixed, replace(OPTIONS, metric=metric))
    assert error(u) < 0.35 * error(torch.zeros_like(u))


def test_squared_difference_does_not_fit_another_contrast():
    moving, fixed = pair()
    u = refine(1 - 0.8 * moving, fixed, replace(OPTIONS, metric="mse"))
    assert error(u) > 0.5 * error(torch.zeros_like(u))


@pytest.mark.parametrize("metric", METRICS)
def test_no_metric_counts_what_lies_outside_the_fixed_mask(metric):
    moving, fixed = pair()
    mask = torch.ones_like(fixed)
    mask[..., 32:] = 0
    spoilt = fixed.clone()
    spoilt[..., 40:] = 0.5  # far from the mask's edge: no box or patch reaches it from inside
    options = replace(OPTIONS, metric=metric, iterations=5)
    first, second = (refine(moving, f, options, fixed_mask=mask) for f in (fixed, spoilt))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-4)
    whole = refine(moving, spoilt, options) - refine(moving, fixed, options)
    assert float(whole.abs().max()) > 1e-2


def test_more_smoothness_makes_a_stiffer_displacement():
    moving, fixed = pair()

    def roughness(smoothness: float) -> float:
        return float(gradient_loss(refine(moving, fixed, replace(OPTIONS, smoothness=smoothness))))

    assert roughness(0.1) > 1.2 * roughness(1) > 1.2 * 1.2 * roughness(10)


def test_several_contrasts_know_more_than_one():
    """One contrast shows the low half of the texture, the other one the high half."""
    moving, fixed = pair()
    seen = torch.arange(SIZE)[:, None, None] < SIZE / 2
    low, high = (
        torch.cat([m, f])
        for m, f in ((moving * seen, fixed * seen), (moving * ~seen, fixed * ~seen))
    )
    both = refine(
        torch.cat([low[:1], high[:1]], 1), torch.cat([low[1:], high[1:]], 1), RefineOptions()
    )
    for one in (low, high):
        assert error(both) < 0.7 * error(refine(one[:1], one[1:], RefineOptions()))


def test_a_contrast_given_twice_changes_nothing():
    moving, fixed = pair()
    once = refine(moving, fixed, RefineOptions())
    twice = refine(moving.repeat(1, 2, 1, 1, 1), fixed.repeat(1, 2, 1, 1, 1), RefineOptions())
    assert (once - twice).abs().max() < 1e-3


def landmarks(n: int = 12) -> tuple[Tensor, Tensor]:
    """Places in the fixed image (n, 3), and where they belong in the moving one."""
    at = np.random.default_rng(3).integers(8, SIZE - 8, (n, 3))
    return tensor_of(at), tensor_of(at + truth()[:, *at.T].T)


def tensor_of(places: np.ndarray) -> Tensor:
    return torch.from_numpy(places).float()


def test_landmarks_are_met_where_the_images_show_nothing():
    at, to = landmarks()
    flat = torch.full((1, 1, SIZE, SIZE, SIZE), 0.5)
    u = refine(flat, flat, OPTIONS, guide=Guide(at, to))
    found = u[0, :, *at.long().T].T
    missed = (found - (to - at)).norm(dim=1)
    assert float(missed.mean()) < 0.3 * float((to - at).norm(dim=1).mean())


def test_landmarks_help_where_the_images_mislead():
    moving, fixed = pair()
    at, to = landmarks(40)
    start = torch.zeros_like(tensor(truth()))
    start[:, 0] = 14  # so far off that the images alone do not find the way
    u = [refine(moving, fixed, OPTIONS, start_vox=start, guide=g) for g in (None, Guide(at, to))]
    assert error(u[1]) < 0.8 * error(u[0])


def test_right_landmarks_change_a_right_result_little():
    moving, fixed = pair()
    at, to = landmarks()
    alone, guided = (refine(moving, fixed, OPTIONS, guide=g) for g in (None, Guide(at, to)))
    assert error(guided) < 1.1 * error(alone)


def test_landmarks_lie_at_the_same_place_at_every_level():
    at, to = landmarks()
    for s in (1, 2, 4):
        u = torch.nn.functional.avg_pool3d(tensor(truth()), s) / s
        exact = float(Guide(at, to).missed(u, s))
        assert exact < 0.05 * float(Guide(at, to).missed(torch.zeros_like(u), s))


# ---- volumes of 2 million voxels or more are refined in another way


def test_large_volumes_have_levels_and_steps_of_their_own():
    small, large = (125, 125, 125), (125, 128, 125)
    assert np.prod(small) < LARGE <= np.prod(large)
    o = RefineOptions()
    assert _levels(small, o) == [4, 2, 1] and _levels(large, o) == [8, 4, 2, 1]
    assert _levels(large, replace(o, levels=(2,))) == [2]
    for s in (8, 4, 2, 1):
        assert _at_level(small, s, o) == o
    coarse = replace(o, stiffness=(3, 2))
    assert all(_at_level(large, s, o) == coarse for s in (8, 4, 2))
    full = replace(coarse, iterations=36, learning_rate=0.3)
    assert _at_level(large, 1, o) == full
    # 0.6 times 15 is a little less than 9 for a computer
    assert _at_level(large, 1, replace(o, iterations=15)).iterations == 9
    assert _at_level(large, 1, replace(o, iterations=1)).iterations == 1
    assert _at_level(large, 1, replace(o, iterations=0)).iterations == 0


def test_the_correlation_box_of_a_level_is_odd_and_no_larger_than_asked_for():
    assert [RefineOptions(window=9).box(s) for s in (1, 2, 4, 8)] == [9, 5, 5, 5]
    assert [RefineOptions(window=3).box(s) for s in (1, 2, 4)] == [3, 3, 3]


def test_a_volume_counts_as_large_from_its_size_on(monkeypatch):
    """A small volume treated as a large one: the known warp is found, by fewer full steps."""
    monkeypatch.setattr(module, "LARGE", SIZE**3)
    calls: list[tuple[int, int]] = []
    options = RefineOptions(iterations=20, levels=(4, 2, 1), tolerance=0.0)
    u, reports = refine_and_tell(
        *pair(), options, progress=lambda done, total, loss: calls.append((done, total))
    )
    assert [(r.level, r.steps) for r in reports] == [(2, 20), (1, 12)]
    assert [total for _, total in calls] == [32] * 32 and calls[-1][0] == 32
    assert error(u) < 0.5 and not folds(u[0]).any()
    monkeypatch.setattr(module, "LARGE", SIZE**3 + 1)
    _, reports = refine_and_tell(*pair(), replace(options, iterations=1, levels=(2, 1)))
    assert [(r.level, r.steps) for r in reports] == [(2, 1), (1, 1)]


def test_what_a_coarse_level_found_reaches_the_next_one_in_its_voxels(monkeypatch):
    """The last level takes one step only, which is its start: the result is that of the coarse one.

    At half its length the displacement would miss the truth by more than one voxel.
    """
    monkeypatch.setattr(module, "LARGE", SIZE**3)
    options = RefineOptions(iterations=30, levels=(2, 1), at_full=0.01, stiffness_large=(5, 2))
    u, reports = refine_and_tell(*pair(), options)
    assert [r.steps for r in reports][1:] == [1]
    assert error(u) < 0.6
    assert error(u / 2) > 1
