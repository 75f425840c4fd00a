"""The score, its gradient, its samples, and the space beyond the faces of an image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from sacbnet.registration.affine.information import Information, halton, samples
from sacbnet.registration.affine.lattice import Lattice, pyramid
from sacbnet.registration.affine.models import SIZES, Frame, affine, climb, rigid, similarity
from sacbnet.registration.affine.poses import best_apart, spread
from sacbnet.registration.prepare import Layer
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


def turned(degrees: float = 4, shift=(3.0, -2, 1)) -> np.ndarray:
    turn = Rotation.from_euler("xyz", [degrees, -degrees, degrees / 2], degrees=True).as_matrix()
    return FRAME.about(turn * 1.05, FRAME.centre + shift)


@pytest.mark.parametrize("cut", [OPEN, CUT], ids=["open", "cut"])
def test_the_gradient_is_that_of_finite_differences(cut):
    """The tolerance covers samples that a step moves across a face.

    The value is continuous across open faces only.
    """
    information = Information(lattice(cut), lattice(cut, data=1 - texture() ** 2), 6000, 16)
    _, gradient = information.with_gradient(turned())
    for i in range(12):
        h = np.zeros((4, 4))
        h[i // 4, i % 4] = 1e-6 if i % 4 < 3 else 1e-5
        step = 2 * h.max()
        slope = (information(turned() + h) - information(turned() - h)) / step
        assert slope == pytest.approx(
            gradient[i // 4, i % 4], abs=2e-3 * np.abs(gradient[:, i % 4]).max()
        )


def test_largest_where_the_images_agree_whatever_the_contrast():
    for data in (texture(), 1 - texture(), np.abs(texture() - 0.5)):
        information = Information(lattice(), lattice(data=data), 8000, 16)
        here = information(np.eye(4))
        assert here > 1.5 * max(information(turned(6)), information(turned(0, (6, 0, 0))), 1e-3)
        assert information.glance(np.eye(4)) > information.glance(turned(12))


def test_unrelated_images_tell_little():
    information = Information(lattice(), lattice(data=texture(5)), 8000, 12)
    assert information(np.eye(4)) < 0.1 * Information(lattice(), lattice(), 8000, 12)(np.eye(4))


def test_beyond_cut_faces_nothing_is_known_beyond_open_ones_there_is_background():
    away = FRAME.about(np.eye(3), FRAME.centre + np.array([57.0, 0, 0]))  # of 60 mm
    unknown, background = (Information(lattice(cut), lattice(cut), 4000, 16) for cut in (CUT, OPEN))
    assert unknown(away) == unknown.glance(away) == 0
    assert not unknown.with_gradient(away)[1].any()
    assert background(away) > 0 and background.glance(away) > 0


def test_masked_samples_have_no_say():
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[4:16, 5:17, 3:20] = True
    noise = np.where(mask, texture(), np.random.default_rng(3).random(GRID.shape)).astype(
        np.float32
    )
    values = []
    for data in (texture(), noise):
        # interpolation at a voxel on the edge of a mask would use its neighbours outside
        inner = gaussian_filter(mask.astype(float), 1) > 0.99
        information = Information(
            lattice(mask=inner, data=data), lattice(mask=inner, data=data), 4000, 16
        )
        values.append((information(turned(1, (1, 0, 0))), information.glance(turned(1, (1, 0, 0)))))
    assert values[0] == pytest.approx(values[1], rel=0.02)


def test_samples_are_spread_and_linear():
    i, j, k = np.indices(GRID.shape)
    ramp = ((i + 2 * j + 3 * k) / 150).astype(np.float32)
    points, values = samples(lattice(data=ramp), 5000)
    v = np.clip(GRID.voxels(points.T), 0, np.array(GRID.shape) - 1)
    np.testing.assert_allclose(values, v @ [1, 2, 3] / 150, atol=1e-6)
    counts, _ = np.histogramdd(GRID.voxels(points.T), bins=(4, 4, 4))
    assert counts.min() > 0.8 * 5000 / 64


def test_pyramid_tells_cut_faces_from_open_ones():
    data = np.zeros(GRID.shape, dtype=np.float32)
    data[0:15, 4:18, 4:20] = 0.8
    levels = pyramid(Layer(data, GRID), (3.0, 6.0))
    assert [level.grid.shape for level in levels] == [(20, 22, 24), (10, 11, 12)]
    for level in levels:
        np.testing.assert_array_equal(level.cut, [[True, False, False], [False] * 3])
    grown, mask = levels[0].padded()
    assert not mask[0].any() and mask[1:].all()
    np.testing.assert_array_equal(grown[0], grown[1])
    assert not grown[-1].any()


@pytest.mark.parametrize("model", [rigid, similarity, affine])
def test_numbers_of_a_model_are_mm_and_zero_is_the_start(model):
    start = turned()
    x = np.zeros(SIZES[model])
    np.testing.assert_allclose(model(x, start, FRAME), start, atol=1e-12)
    for k in range(len(x)):
        x[:] = 0
        x[k] = 0.1
        assert 0.03 < FRAME.apart(model(x, start, FRAME), start) < 0.15


def test_apart_is_the_distance_over_a_ball():
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(200_000, 3))
    ball = FRAME.centre + ball / np.linalg.norm(ball, axis=1, keepdims=True) * FRAME.radius
    a, b = turned(), np.eye(4)
    d = ball @ (a - b)[:3, :3].T + (a - b)[:3, 3]
    assert FRAME.apart(a, b) == pytest.approx(np.sqrt((d**2).sum(axis=1).mean()), rel=0.01)


def test_a_climb_never_ends_below_its_start():
    information = Information(lattice(), lattice(), 3000, 16)
    for start in (turned(15, (10, 8, -9)), turned(3), np.eye(4)):
        score, matrix = climb(information, start, affine, FRAME, 8)
        assert score >= information(start)
        assert score == pytest.approx(information(matrix), abs=1e-12)


def test_poses_are_all_there_and_the_best_apart():
    images = [FRAME.centre, FRAME.centre + 0.1, FRAME.centre + 20]
    matrices = spread(FRAME, images, (-30.0, 0.0, 30.0), (0.8, 1.0))
    assert len(matrices) == 2 * 2 * 27
    score = [-FRAME.apart(m, np.eye(4)) for m in matrices]
    kept = best_apart(list(zip(score, matrices, strict=True)), 5, 10.0, FRAME)
    np.testing.assert_allclose(kept[0], np.eye(4), atol=1e-12)
    assert len(kept) == 5
    assert all(FRAME.apart(a, b) > 10 for n, a in enumerate(kept) for b in kept[:n])


def test_the_halton_sequence_is_scipys():
    from scipy.stats import qmc

    for count in (1, 2, 1000):
        np.testing.assert_array_equal(halton(count), qmc.Halton(3, scramble=False).random(count))
