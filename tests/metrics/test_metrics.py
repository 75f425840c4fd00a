"""The numbers against their definitions, counted naively or known beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from sacbnet.errors import GridError, InputError
from sacbnet.metrics.folding import folding
from sacbnet.metrics.landmarks import target_registration_error
from sacbnet.metrics.overlap import dice, present_labels
from sacbnet.metrics.similarity import local_correlation, mutual_information
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField

# -- Dice ---------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.sampled_from([np.uint8, np.int16, np.int64]))
def test_dice_equals_its_definition(seed, dtype):
    rng = np.random.default_rng(seed)
    chances = [0.3, 0.3, 0.2, 0.15, 0.04, 0.01]
    moved, fixed = rng.choice([0, 1, 2, 5, 40, 77], size=(2, 4, 5, 6), p=chances).astype(dtype)
    found = dice(moved, fixed)
    assert (
        set(found.per_label) == set(np.union1d(moved, fixed).tolist()) - {0} and found.absent == ()
    )
    for label, value in found.per_label.items():
        a, b = moved == label, fixed == label
        assert value == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert found.mean == pytest.approx(np.mean(list(found.per_label.values())))
    assert dice(fixed, moved).per_label == found.per_label


def test_labels_absent_in_both_are_counted_and_left_out_of_the_mean():
    moved, fixed = np.zeros((2, 4, 4, 4), dtype=np.int16)
    moved[0], fixed[0, :2], fixed[3] = 1, 1, 2
    found = dice(moved, fixed, labels=(1, 2, 3, 9))
    assert found.per_label == {
        1: pytest.approx(2 * 8 / 24),
        2: 0.0,
    }  # 2 is in one only: 0, and it counts
    assert found.absent == (3, 9)
    assert found.mean == pytest.approx(1 / 3)


def test_the_labels_of_a_pair_are_those_that_either_map_has():
    moving, fixed = np.array([[[0, 3, 70000, -1]]]), np.array([[[5, 3]]], dtype=np.uint8)
    assert present_labels(moving, fixed) == (3, 5, 70000)
    assert (
        present_labels(moving, fixed, (5, 4, 3, 70000)) == (5, 3, 70000)
        and present_labels(moving, fixed, [4]) == ()
    )


def test_dice_of_the_labels_asked_for():
    labels = np.arange(27).reshape(3, 3, 3)
    assert dice(labels, labels, labels=(4, 7)).per_label == {4: 1.0, 7: 1.0}
    assert dice(labels, labels).mean == 1.0 and len(dice(labels, labels).per_label) == 26
    assert dice(labels, (labels + 1) % 27).mean == 0


def test_dice_without_labels():
    nothing = np.zeros((3, 3, 3), dtype=np.uint8)
    found = dice(nothing, nothing)
    assert found.per_label == {} and found.absent == () and math.isnan(found.mean)
    assert math.isnan(dice(nothing, nothing, labels=(1,)).mean)


def test_dice_of_different_types_and_large_labels():
    moved, fixed = np.zeros((3, 3, 3), np.int64), np.zeros((3, 3, 3), np.uint32)
    moved[0], fixed[0] = 2**24 + 1, 2**24 + 1
    moved[1] = 2**24  # equal to the other one in float32
    assert dice(moved, fixed).per_label == {2**24: 0.0, 2**24 + 1: 1.0}


def test_dice_refuses_unequal_shapes():
    with pytest.raises(GridError, match=r"\(2, 3, 4\) and \(4, 3, 2\)"):
        dice(np.zeros((2, 3, 4), int), np.zeros((4, 3, 2), int))


def test_dice_equals_simpleitk():
    rng = np.random.default_rng(0)
    moved, fixed = rng.choice([0, 1, 2, 5, 40, 77, 1035], size=(2, 20, 21, 22)).astype(np.int16)
    fixed[:9] = moved[:9]
    moved[moved == 40], fixed[fixed == 77] = 0, 0  # in one only
    measures = sitk.LabelOverlapMeasuresImageFilter()
    measures.Execute(*(sitk.GetImageFromArray(x) for x in (moved, fixed)))
    found = dice(moved, fixed).per_label
    assert found[40] == found[77] == 0
    for label, value in found.items():
        assert value == pytest.approx(measures.GetDiceCoefficient(label))


def test_dice_of_negative_and_far_away_labels():
    moved = np.random.default_rng(0).choice([-(2**40), -2, 0, 3], size=(6, 7, 8))
    fixed = np.roll(moved, 1, axis=0)
    found = dice(moved, fixed).per_label
    assert set(found) == {-(2**40), -2, 3}
    for label, value in found.items():
        a, b = moved == label, fixed == label
        assert value == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))


# -- landmarks ----------------------------------------------------------------------------------------------------
def test_error_at_landmarks_is_in_mm_of_the_moving_world():
    fixed = np.random.default_rng(0).uniform(-50, 50, (9, 3))
    affine = Affine(np.array([[2, 0, 0, 5], [0, 0, -1, 0], [0, 1, 0, -7], [0, 0, 0, 1]], float))
    np.testing.assert_allclose(
        target_registration_error(affine, fixed, affine(fixed)), 0, atol=1e-12
    )
    off = np.array([3.0, 0.0, -4.0])
    np.testing.assert_allclose(target_registration_error(affine, fixed, affine(fixed) + off), 5)
    np.testing.assert_allclose(target_registration_error(Affine(), fixed, fixed - [0, 2, 0]), 2)


def test_error_at_landmarks_through_a_displacement():
    """Linear in space, so that nothing is lost between the voxels, which are 2, 1 and 1.5 mm wide."""
    grid = Grid(
        (8, 9, 10), np.array([[-2, 0, 0, 7], [0, 1, 0, -3], [0, 0, 1.5, 2], [0, 0, 0, 1]], float)
    )
    points = grid.world(np.random.default_rng(1).uniform(0, 7, (20, 3)))
    transform = DisplacementField.from_map(lambda p: 1.1 * p + [1, -2, 0.5], grid)
    errors = target_registration_error(transform, points, 1.1 * points + [1, -2, 0.5 + 0.25])
    np.testing.assert_allclose(errors, 0.25, atol=1e-4)


def test_landmarks_come_in_pairs():
    for fixed, moving in (((4, 3), (5, 3)), ((3,), (3,)), ((4, 2), (4, 2))):
        with pytest.raises(InputError, match="same landmark"):
            target_registration_error(Affine(), np.zeros(fixed), np.zeros(moving))


# -- folding ------------------------------------------------------------------------------------------------------
def field(u: np.ndarray, affine=None) -> DisplacementField:
    return DisplacementField.from_voxels(
        Grid(u.shape[:3], np.eye(4) if affine is None else affine), u
    )


def stretched(factors, shape=(8, 9, 10)) -> np.ndarray:
    return np.moveaxis(np.indices(shape), 0, -1) * (np.asarray(factors) - 1.0)


def test_folding_of_a_uniform_stretch():
    found = folding(field(stretched([1.5, 0.8, 1.0])))
    assert (
        found.folded_voxels == 0
        and found.folded_percent == 0
        and found.non_diffeomorphic_percent == 0
    )
    assert found.jacobian_min == pytest.approx(
        1.2, abs=1e-4
    ) and found.jacobian_max == pytest.approx(1.2, abs=1e-4)
    assert found.sd_log_jacobian == pytest.approx(0, abs=1e-4)


def test_sd_log_jacobian_of_two_halves():
    """x runs twice as fast in one half of the volume and half as fast in the other, exactly at equal counts."""
    steps = np.concatenate([np.full(8, 2.0), np.full(8, 0.5)])
    x = np.concatenate([[0], np.cumsum(steps)])  # 17 planes
    u = np.zeros((17, 4, 4, 3))
    u[..., 0] = (x - np.arange(17))[:, None, None]
    found = folding(field(u))
    log = np.log([2.0] * 8 + [1.25] + [0.5] * 8)  # the plane between sees the mean of both
    assert found.sd_log_jacobian == pytest.approx(log.std(), abs=1e-5)
    assert (found.jacobian_min, found.jacobian_max) == (pytest.approx(0.5), pytest.approx(2))


def test_folded_voxels_are_counted():
    """Planes at x = 0 1 2 3 | 2.5 2 1.5 | 2.5 4 5 6 7: central differences are <= 0 where the neighbours turn round."""
    x = np.array([0, 1, 2, 3, 2.5, 2, 1.5, 2.5, 4, 5, 6, 7])
    u = np.zeros((12, 5, 6, 3))
    u[..., 0] = (x - np.arange(12))[:, None, None]
    planes = int((np.gradient(x) <= 0).sum())
    found = folding(field(u))
    assert planes == 2 and found.folded_voxels == planes * 30
    assert found.folded_percent == pytest.approx(100 * planes / 12)
    assert found.non_diffeomorphic_percent == pytest.approx(100 * 1.5 / 11)
    assert found.jacobian_min == pytest.approx(-0.5)
    positive = np.gradient(x)[np.gradient(x) > 0]
    assert found.sd_log_jacobian == pytest.approx(
        np.log(positive).std(), abs=1e-5
    )  # over the unfolded voxels only


def test_folding_does_not_depend_on_how_the_grid_lies():
    rng = np.random.default_rng(0)
    u = rng.normal(scale=0.4, size=(8, 9, 10, 3))
    affine = np.array([[0, -3.0, 0.5, 7], [2, 0.3, 0, 8], [0, 0, -1.5, 9], [0, 0, 0, 1]])
    plain, oblique = folding(field(u)), folding(field(u, affine))
    assert plain.folded_voxels == oblique.folded_voxels > 0
    assert plain.non_diffeomorphic_percent == pytest.approx(
        oblique.non_diffeomorphic_percent, rel=1e-4
    )
    assert plain.sd_log_jacobian == pytest.approx(oblique.sd_log_jacobian, rel=1e-3)


def test_mask_limits_the_statistics_not_the_count():
    u = np.zeros((12, 6, 6, 3))
    u[8, 3, 3, 0] = 3.0  # a fold, outside the mask
    mask = np.zeros((12, 6, 6), dtype=bool)
    mask[:5] = True
    found = folding(field(u), mask)
    assert found.folded_voxels > 0 and found.non_diffeomorphic_percent > 0
    assert found.jacobian_min == found.jacobian_max == 1 and found.sd_log_jacobian == 0


def test_an_empty_mask_has_no_statistics():
    """No crash at the end of a long run over a mask that was cropped away."""
    found = folding(field(np.zeros((4, 4, 4, 3))), np.zeros((4, 4, 4), dtype=bool))
    assert found.folded_voxels == 0
    assert (
        math.isnan(found.jacobian_min)
        and math.isnan(found.jacobian_max)
        and math.isnan(found.sd_log_jacobian)
    )


# -- mutual information -------------------------------------------------------------------------------------------
def levels(seed: int, n: int = 32, shape=(20, 20, 20)) -> np.ndarray:
    x = np.random.default_rng(seed).integers(0, n, shape).astype(np.float32)
    x.ravel()[:2] = 0, n - 1  # the whole range, so that each level has a bin of its own
    return x


def test_identical_images_have_two():
    for bins in (8, 32, 64):
        assert mutual_information(levels(0), levels(0), bins) == pytest.approx(2)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(15, 15, 15))
    assert mutual_information(x, x) == pytest.approx(2)
    assert mutual_information(x, 1000 - 7 * x) == pytest.approx(
        2, abs=0.02
    )  # upside down: only bin edges differ


def test_independent_images_have_about_one():
    moved, fixed = levels(0, shape=(60, 60, 60)), levels(1, shape=(60, 60, 60))
    assert mutual_information(moved, fixed) == pytest.approx(1, abs=2e-3)


def test_permuted_intensities_change_nothing():
    fixed = levels(0)
    moved = np.where(np.random.default_rng(2).random(fixed.shape) < 0.3, levels(3), fixed)
    order = np.random.default_rng(1).permutation(32).astype(np.float32)
    before = mutual_information(moved, fixed)
    assert 1.2 < before < 1.8
    assert mutual_information(order[moved.astype(int)], fixed) == pytest.approx(before)
    assert mutual_information(fixed, moved) == pytest.approx(before)
    assert mutual_information(moved * 3.0 + 17, fixed / 255) == pytest.approx(before, rel=1e-3)


def test_mutual_information_equals_its_definition():
    moved, fixed = levels(0, 8), levels(0, 8)
    fixed[:7] = levels(5, 8)[:7]
    joint = np.zeros((8, 8))
    for a, b in zip(moved.ravel().astype(int), fixed.ravel().astype(int), strict=True):
        joint[a, b] += 1
    expected = (entropy(joint.sum(0)) + entropy(joint.sum(1))) / entropy(joint.ravel())
    assert mutual_information(moved, fixed, bins=8) == pytest.approx(expected)


def test_better_aligned_is_higher():
    rng = np.random.default_rng(0)
    fixed = np.repeat(np.repeat(np.repeat(rng.random((6, 6, 6)), 4, 0), 4, 1), 4, 2)
    values = [mutual_information(np.roll(np.sqrt(fixed), n, axis=0), fixed) for n in range(4)]
    assert values == sorted(values, reverse=True) and values[0] > values[3] + 0.2


def test_constant_images():
    flat = np.full((4, 4, 4), 3.0)
    assert mutual_information(flat, flat) == 1
    assert mutual_information(flat, levels(0, shape=(4, 4, 4))) == pytest.approx(1)


# -- local correlation --------------------------------------------------------------------------------------------
def test_local_correlation():
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(1, 1, 20, 20, 20, generator=g), torch.rand(1, 1, 20, 20, 20, generator=g)
    assert local_correlation(x, x) == pytest.approx(1, abs=1e-3)
    inner = torch.zeros_like(x)
    inner[:, :, 4:-4, 4:-4, 4:-4] = 1  # boxes that do not see the zeros beyond the edge
    assert local_correlation(1 - 0.5 * x, x, inner) == pytest.approx(
        1, abs=1e-3
    )  # squared: contrast may turn over
    assert 0 <= local_correlation(x, y, inner) < 0.05
    mixed = torch.cat([x[:, :, :10], y[:, :, 10:]], dim=2)
    mask = torch.zeros_like(x)
    mask[:, :, :4] = 1  # here a box of 9³ sees only what is equal
    assert local_correlation(mixed, x, mask) == pytest.approx(1, abs=1e-3)
    assert local_correlation(mixed, x, 1 - mask) < 0.8
