"""Landmarks: which belong together, and how far a transform misses them."""

from __future__ import annotations

import numpy as np
import pytest

from sacbnet.errors import InputError
from sacbnet.imaging.points import Points
from sacbnet.io.points import save_points
from sacbnet.registration.landmarks import LandmarkFacts, read_landmarks
from sacbnet.spatial.transforms import Affine

PLACES = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 10]])


def test_names_decide_and_not_the_order(tmp_path):
    save_points(tmp_path / "f.csv", Points(PLACES, ("nose", "ear", "chin")))
    moving = Points(PLACES[[2, 0, 1]] + 1, ("chin", "nose", "brow"))
    found = read_landmarks(fixed=tmp_path / "f.csv", moving=moving)
    np.testing.assert_allclose(found.fixed, PLACES[[0, 2]])
    np.testing.assert_allclose(found.moving, PLACES[[0, 2]] + 1)
    assert found.left_out == ("ear", "brow")


def test_without_a_shared_name_the_order_decides():
    fixed, moving = Points(PLACES, ("F-1", "F-2", "F-3")), Points(PLACES + 1, ("M-1", "M-2", "M-3"))
    found = read_landmarks(fixed=fixed, moving=moving)
    np.testing.assert_array_equal(found.moving, found.fixed + 1)
    assert found.left_out == ()
    found = read_landmarks(fixed=PLACES, moving=PLACES[:2] + 1)  # numbered: two are shared
    assert len(found.fixed) == 2 and found.left_out == ("3",)


@pytest.mark.parametrize(
    ("fixed", "moving", "told"),
    [
        (Points(PLACES, ("a", "b", "c")), Points(PLACES[:2], ("x", "y")), "3 fixed and 2 moving"),
        (Points(PLACES, ("a", "b", "a")), Points(PLACES), "'a' more than once"),
        (Points(PLACES), "missing.csv", "does not exist"),
    ],
)
def test_what_does_not_belong_together_is_refused(fixed, moving, told):
    with pytest.raises(InputError, match=told):
        read_landmarks(fixed=fixed, moving=moving)


def test_distances_are_those_in_the_moving_image():
    marks = read_landmarks(fixed=PLACES, moving=PLACES * [1, 1, 2])
    stretched = Affine(np.diag([1.0, 1, 2, 1]))
    assert LandmarkFacts.of(marks, stretched) == LandmarkFacts(3, 0, 0)
    facts = LandmarkFacts.of(marks, Affine())
    assert facts.count == 3 and facts.max_mm == pytest.approx(10)
    assert facts.mean_mm == pytest.approx(19 / 3)
