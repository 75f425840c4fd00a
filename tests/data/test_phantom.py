"""The phantom pair: reproducible, true to its known warp, with the differences of two scans."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from scipy import ndimage

from sacbnet.data.phantom import HEAD_CENTRE, STRUCTURES, KnownWarp, PhantomPair, make_pair
from sacbnet.data.phantom.head import ENVELOPE, Anatomy
from sacbnet.data.phantom.shapes import Ellipsoid, Waves, rotation, union
from sacbnet.errors import InputError
from sacbnet.imaging.image import Image


@pytest.fixture(scope="module")
def pair() -> PhantomPair:
    return make_pair(seed=3)


def lattice(half_mm: float, step_mm: float) -> np.ndarray:
    axis = np.arange(-half_mm, half_mm + 1e-6, step_mm)
    return HEAD_CENTRE + np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)


def label_at(image: Image, world: np.ndarray) -> np.ndarray:
    """Label of the nearest voxel; 0 outside the image."""
    v = np.rint(image.grid.voxels(world)).astype(int)
    inside = np.all((v >= 0) & (v < image.grid.shape), axis=-1)
    return np.where(inside, image.data[tuple(np.where(inside[:, None], v, 0).T)], 0)


def inner_points(image: Image, voxels: int = 1) -> np.ndarray:
    """World points of the voxels whose neighbours all carry their own, non-zero, label."""
    size = 2 * voxels + 1
    same = ndimage.minimum_filter(image.data, size) == ndimage.maximum_filter(image.data, size)
    return image.grid.world(np.argwhere(same & (image.data > 0)))


def test_same_seed_same_bytes_and_no_global_random_state(pair: PhantomPair) -> None:
    before = np.random.get_state()[1].tobytes(), torch.get_rng_state(), random.getstate()  # noqa: NPY002
    again = make_pair(seed=3)
    assert np.random.get_state()[1].tobytes() == before[0]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])
    assert random.getstate() == before[2]
    for name in ("fixed", "fixed_labels", "moving", "moving_labels"):
        one, other = getattr(pair, name), getattr(again, name)
        assert one.data.tobytes() == other.data.tobytes(), name
        assert one.grid == other.grid
    assert pair.landmarks.tobytes() == again.landmarks.tobytes()
    assert pair.true_map(pair.landmarks).tobytes() == again.true_map(pair.landmarks).tobytes()


def test_another_seed_is_another_pair(pair: PhantomPair) -> None:
    other = KnownWarp.random(np.random.default_rng(4))
    assert np.linalg.norm(other(pair.landmarks) - pair.true_map(pair.landmarks), axis=1).mean() > 2


@pytest.mark.parametrize("seed", range(5))
def test_warp_is_one_to_one_and_of_the_promised_size(seed: int) -> None:
    warp = KnownWarp.random(np.random.default_rng(seed))
    p, h = lattice(96, 12), 0.5
    columns = [(warp(p + h * e) - warp(p - h * e)) / (2 * h) for e in np.eye(3)]
    determinant = np.linalg.det(np.stack(columns, axis=-1))
    assert determinant.min() > 0.3 and determinant.max() < 3.5

    bend = np.linalg.norm(warp(p) - warp.affine(p), axis=-1)
    assert 4 < bend.max() < 12
    linear = warp.affine.matrix[:3, :3]
    scale = np.linalg.svd(linear, compute_uv=False)
    assert np.all((np.abs(scale - 1) > 0.028) & (np.abs(scale - 1) < 0.061))
    turn = linear / np.linalg.norm(linear, axis=0)
    assert 6 <= np.rad2deg(np.arccos((np.trace(turn) - 1) / 2)) <= 10
    assert 10 <= np.linalg.norm(warp.affine(HEAD_CENTRE) - HEAD_CENTRE) <= 15


def test_map_and_inverse_undo_each_other(pair: PhantomPair) -> None:
    p = np.random.default_rng(0).uniform(-100, 100, (2000, 3)) + HEAD_CENTRE
    assert np.abs(pair.true_map.inverse(pair.true_map(p)) - p).max() < 1e-4
    assert np.abs(pair.true_map(pair.true_map.inverse(p)) - p).max() < 1e-4
    assert pair.true_map(p[:6].reshape(2, 3, 3)).shape == (2, 3, 3)
    assert pair.true_map(p[0]).shape == (3,)
    assert pair.true_map(np.empty((0, 3))).shape == (0, 3)


def test_labels_agree_through_the_known_warp(pair: PhantomPair) -> None:
    there = inner_points(pair.fixed_labels)
    expected = label_at(pair.fixed_labels, there)
    found = label_at(pair.moving_labels, pair.true_map(there))
    seen = pair.moving.grid.contains(pair.true_map(there))
    assert seen.mean() > 0.93 and seen[expected >= 4].mean() > 0.99  # the neck may leave the box
    assert (found == expected)[seen].mean() > 0.99
    for label, name in STRUCTURES.items():
        here = seen & (expected == label)
        if here.sum() >= 20:
            assert (found[here] == label).mean() > 0.97, name

    back = inner_points(pair.moving_labels)
    inside = pair.fixed.grid.contains(pair.true_map.inverse(back))
    same = label_at(pair.moving_labels, back) == label_at(
        pair.fixed_labels, pair.true_map.inverse(back)
    )
    assert same[inside].mean() > 0.99


def test_intensities_agree_through_the_known_warp(pair: PhantomPair) -> None:
    """Inside tissues the two images differ by bias, noise and contrast, and nothing else."""
    p = inner_points(pair.fixed_labels)
    q = pair.true_map(p)
    keep = pair.moving.grid.contains(q, margin_voxels=0)
    a = pair.fixed.data[tuple(np.rint(pair.fixed.grid.voxels(p[keep])).astype(int).T)]
    b = pair.moving.data[tuple(np.rint(pair.moving.grid.voxels(q[keep])).astype(int).T)]
    assert np.corrcoef(a, b)[0, 1] > 0.9


def test_grids_differ_in_spacing_orientation_and_size(pair: PhantomPair) -> None:
    fixed, moving = pair.fixed.grid, pair.moving.grid
    assert fixed.shape != moving.shape
    np.testing.assert_allclose(fixed.spacing, 1.8)
    np.testing.assert_allclose(moving.spacing, [1.5, 1.5, 2.2])
    assert fixed.canonical()[1:] == ((0, 1, 2), (-1, 1, 1))  # LAS
    assert moving.canonical()[1:] == ((2, 0, 1), (1, -1, -1))  # PIR
    for grid in (fixed, moving):
        assert grid.is_orthogonal
        tilt = np.rad2deg(np.arccos(np.abs(grid.direction).max(axis=0)))
        assert 3 < tilt.max() < 12
    assert pair.fixed_labels.grid == fixed and pair.moving_labels.grid == moving


def test_values_and_structures(pair: PhantomPair) -> None:
    assert pair.structures == STRUCTURES and len(STRUCTURES) == 14
    for labels in (pair.fixed_labels, pair.moving_labels):
        assert labels.data.dtype == np.uint8 and labels.data.flags.c_contiguous
        counts = np.bincount(labels.data.ravel(), minlength=15)
        assert len(counts) == 15 and counts.min() > 300
    for image in (pair.fixed, pair.moving):
        assert (
            image.data.dtype == np.float32
            and np.isfinite(image.data).all()
            and image.data.min() >= 0
        )
        assert image.data.shape == image.grid.shape
    assert (
        np.all(pair.fixed.data == np.rint(pair.fixed.data)) and 900 < pair.fixed.data.max() < 2000
    )
    assert 60 < pair.moving.data.max() < 120


def test_head_does_not_touch_the_box_but_at_the_neck(pair: PhantomPair) -> None:
    for labels in (pair.fixed_labels, pair.moving_labels):
        canonical, axes, signs = labels.grid.canonical()
        data = labels.data.transpose(axes)[tuple(slice(None, None, s) for s in signs)]
        assert data.shape == canonical.shape
        brain = data >= 4
        for axis in range(2):
            assert not brain.take([0, -1], axis=axis).any()
        assert not data[:, :, -1].any()


def test_landmarks_lie_in_both_images_within_the_brain(pair: PhantomPair) -> None:
    p = pair.landmarks
    assert p.dtype == np.float64 and p.shape[1] == 3 and 50 <= len(p) <= 250
    assert pair.fixed.grid.contains(p).all() and pair.moving.grid.contains(pair.true_map(p)).all()
    assert (label_at(pair.fixed_labels, p) >= 3).mean() > 0.99
    assert (label_at(pair.fixed_labels, p) == 4).sum() > 50
    assert np.linalg.norm(pair.true_map(p) - p, axis=1).mean() > 5  # there is something to register


def test_peak_of_zero_is_an_affine_and_nonsense_is_refused() -> None:
    warp = KnownWarp.random(np.random.default_rng(0), peak_mm=0.0)
    p = lattice(60, 30)
    np.testing.assert_allclose(warp(p), warp.affine(p), atol=1e-9)
    for peak in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="from 0 to 50"):
            make_pair(peak_mm=peak)


def test_anatomy_is_left_right_named_as_the_world_is() -> None:
    anatomy = Anatomy.random(np.random.default_rng(0))
    centres = np.array([[-12.0, -19, 6], [12, -19, 6], [-28, 4, 1], [28, 4, 1]])
    assert [STRUCTURES[int(n)] for n in anatomy.sample(centres, 1.0)[1]] == [
        "left thalamus",
        "right thalamus",
        "left putamen",
        "right putamen",
    ]


def test_envelope_cuts_nothing_off() -> None:
    p = lattice(120, 4).reshape(-1, 3)
    p = p[ENVELOPE.distance(p) > -1]
    assert all(
        (distance > 1).all()
        for _, _, distance in Anatomy.random(np.random.default_rng(0)).layers(p)
    )


def test_parts() -> None:
    ball = Ellipsoid((1, 2, 3), (5, 5, 5), pitch=20, yaw=40)
    np.testing.assert_allclose(
        ball.distance(np.array([[1.0, 2, 11], [1, 4, 3]])), [3, -3], atol=1e-5
    )
    egg = Ellipsoid((10, 0, 0), (3, 6, 9), pitch=15, yaw=30)
    np.testing.assert_allclose(egg.distance(egg.surface(np.eye(3))), 0, atol=1e-6)
    np.testing.assert_allclose(
        egg.mirrored.surface(np.eye(3))[1], egg.surface(np.eye(3))[1] * [-1, 1, 1], atol=1e-12
    )
    assert (egg.surface(np.eye(3))[1] - egg.centre)[0] < 0  # yaw turns the front to the left
    assert (egg.surface(np.eye(3))[1])[2] > 0  # pitch turns it up
    np.testing.assert_allclose(rotation((0, 0, 1), 90) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    d = union(np.array([1.0, 8.0]), np.array([1.0, 2.0]), blend=4)
    np.testing.assert_allclose(d, [0.0, 2.0])  # a seam is filled, elsewhere nothing moves

    wave = Waves.random(np.random.default_rng(1), 9, 20, 50, components=2)
    p, h = np.random.default_rng(2).normal(0, 30, (50, 3)), 1e-4
    numeric = np.stack([(wave(p + h * e) - wave(p - h * e)) / (2 * h) for e in np.eye(3)], axis=-1)
    np.testing.assert_allclose(wave.gradient(p), numeric, atol=1e-7)
