"""Dice against its definition, counted naively, and against SimpleITK."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from sacbnet.errors import GridError
from sacbnet.metrics.overlap import dice, dice_of_present, present_labels


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
    # 2 is in one only: 0, and it counts
    assert found.per_label == {1: pytest.approx(2 * 8 / 24), 2: 0.0}
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


def test_a_label_that_a_method_makes_vanish_scores_0():
    """It lay in the moving map only; after the method no map has it, and it is not left out."""
    fixed, moving = np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3, 3), np.uint8)
    fixed[0], moving[0], moving[2] = 1, 1, 4
    present = present_labels(moving, fixed)
    moved = np.where(moving == 4, 0, moving)
    assert present == (1, 4)
    assert dice_of_present(moved, fixed, present) == {1: 1.0, 4: 0.0}
