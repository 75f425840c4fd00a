"""Which affines are sound, and what stretches cost."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sacbnet.registration.affine.bounds import Bounds

TURN = Rotation.from_euler("xyz", (20, -40, 70), degrees=True).as_matrix()


def stretched(*factors: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = TURN @ np.diag(factors) @ TURN.T
    return matrix


@pytest.mark.parametrize("factors", [(1, 1, 1), (1.2, 1.1, 1.0), (0.8, 0.8, 0.9), (1.5, 1.5, 1.5)])
def test_usual_stretches_are_free_and_sound(factors):
    cost, gradient = Bounds().cost(stretched(*factors))
    assert cost == pytest.approx(0, abs=1e-12) and np.abs(gradient).max() < 1e-5
    assert Bounds().allow(stretched(*factors))


@pytest.mark.parametrize("factors", [(2, 1, 1), (0.3, 0.4, 0.35), (1.9, 0.6, 1.0)])
def test_the_cost_rises_and_its_gradient_is_that_of_finite_differences(factors):
    matrix = stretched(*factors)
    cost, gradient = Bounds(weight=0.7).cost(matrix)
    assert cost > 0.01
    for i in range(3):
        for j in range(3):
            step = np.zeros((4, 4))
            step[i, j] = 1e-6
            slope = (
                (Bounds(weight=0.7).cost(matrix + step)[0])
                - (Bounds(weight=0.7).cost(matrix - step)[0])
            )
            assert slope / 2e-6 == pytest.approx(gradient[i, j], abs=1e-4)


@pytest.mark.parametrize(
    "matrix",
    [
        stretched(-1, 1, 1),
        stretched(1, 1, 1e-9),
        stretched(-0.0002, 1, 1),
        stretched(3.5, 3.5, 3.5),
        stretched(0.3, 0.3, 0.3),
        stretched(2.9, 0.9, 0.9),
        np.array([[1, 4.0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        np.full((4, 4), np.nan),
        np.zeros((4, 4)),
    ],
    ids=["mirror", "flat", "case 02", "huge", "tiny", "long", "sheared", "nan", "zero"],
)
def test_what_no_body_does_is_not_allowed(matrix):
    assert not Bounds().allow(matrix)


def test_the_expected_scale_moves_the_limits():
    assert Bounds(10.0).allow(stretched(10, 11, 9)) and not Bounds(10.0).allow(np.eye(4))
    assert Bounds(10.0).cost(stretched(10, 11, 9))[0] == pytest.approx(0, abs=1e-12)
    assert Bounds().cost(np.full((4, 4), np.inf))[0] == 0
