"""Rotations about an axis, against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sacbnet.spatial.matrix import rotation

angles = st.floats(-7, 7)


@given(st.tuples(angles, angles, angles))
def test_is_that_of_scipy(vector):
    found = rotation(np.array(vector))
    assert found == pytest.approx(Rotation.from_rotvec(vector).as_matrix(), abs=1e-14)


@pytest.mark.parametrize("angle", [0.0, 1e-300, 1e-12, 1e-8, 1e-7, np.pi, 2 * np.pi])
def test_small_and_whole_turns(angle):
    found = rotation(angle * np.array([0.6, 0.0, 0.8]))
    assert found @ found.T == pytest.approx(np.eye(3), abs=1e-14)
    assert np.linalg.det(found) == pytest.approx(1)
    assert np.trace(found) == pytest.approx(1 + 2 * np.cos(angle))
