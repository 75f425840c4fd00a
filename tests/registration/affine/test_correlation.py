"""Local correlation of two images: its gradient, where it is largest, and what has no say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from sacbnet.registration.affine.correlation import Correlation
from sacbnet.registration.affine.lattice import Lattice
from sacbnet.registration.affine.models import Frame, affine, climb
from sacbnet.spatial.grid import Grid

GRID = Grid(
    (20, 22, 24), np.array([[3.0, 0, 0, -30], [0, 3, 0, -33], [0, 0, 3, -36], [0, 0, 0, 1]])
)
OPEN, CUT = np.zeros((2, 3), dtype=bool), np.ones((2, 3), dtype=bool)
FRAME = Frame(np.array([2.0, -1, 3]), 30.0)


def texture(seed: int = 0) -> np.ndarray:
    x = gaussian_filter(np.random.default_rng(seed).normal(size=GRID.shape), 2)
    return ((x - x.min()) / (x.max() - x.min())).astype(np.float32)


def lattice(cut=CUT, mask=None, data=None) -> Lattice:
    return Lattice(texture() if data is None else data, GRID, mask, cut)


def posed(degrees: float = 3, shift=(3.0, -2, 1)) -> np.ndarray:
    turn = Rotation.from_euler("xyz", [degrees, -degrees, degrees / 2], degrees=True).as_matrix()
    return FRAME.about(turn * 1.04, FRAME.centre + shift)


@pytest.mark.parametrize("cut", [OPEN, CUT], ids=["open", "cut"])
@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_is_that_of_finite_differences(cut, masked):
    mask = np.zeros(GRID.shape, bool)
    mask[3:-2, 2:-4, 4:-3] = True
    c = Correlation(lattice(cut, mask if masked else None), lattice(cut, data=texture(1)))
    _, gradient = c.with_gradient(posed())
    for i in range(12):
        h = np.zeros((4, 4))
        h[i // 4, i % 4] = 1e-7 if i % 4 < 3 else 1e-6
        slope = (c(posed() + h) - c(posed() - h)) / (2 * h.max())
        largest = np.abs(gradient[:, i % 4]).max()
        assert slope == pytest.approx(gradient[i // 4, i % 4], abs=2e-3 * largest)


@pytest.mark.parametrize("change", [lambda x: x, lambda x: 1 - x, lambda x: 0.3 + 0.4 * x])
def test_one_where_the_contrast_is_related_linearly(change):
    c = Correlation(lattice(), lattice(data=change(texture()).astype(np.float32)))
    here = c(np.eye(4))
    assert 0.6 < here <= 1  # the noise that is allowed takes a share of a weak contrast
    assert here > 1.2 * max(c(posed()), c(posed(0, (9, 0, 0))))


def test_a_climb_finds_the_pose_again():
    start = posed()
    _, found = climb(Correlation(lattice(), lattice()), start, affine, FRAME, 40)
    assert FRAME.apart(start, np.eye(4)) > 3
    assert FRAME.apart(found, np.eye(4)) < 0.05


def test_what_the_moving_image_does_not_show_has_no_say():
    data, mask = texture().copy(), np.ones(GRID.shape, bool)
    data[:, :, :10], mask[:, :, :10] = 0.7, False  # filled with a constant, and masked
    masked = Correlation(lattice(), lattice(mask=mask, data=data))(np.eye(4))
    assert masked > 0.8
    assert masked > Correlation(lattice(), lattice(data=data))(np.eye(4)) + 0.2


def test_too_small_an_overlap_scores_nothing():
    c = Correlation(lattice(), lattice())
    for far in (posed(0, (55, 0, 0)), np.full((4, 4), np.nan)):
        score, gradient = c.with_gradient(far)
        assert score == 0
        assert not gradient.any()
