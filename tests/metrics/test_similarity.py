"""Likeness of images against its definition, or for images where it is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from sacbnet.metrics.similarity import LocalMoments, local_correlation, mutual_information


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
    # upside down: only bin edges differ
    assert mutual_information(x, 1000 - 7 * x) == pytest.approx(2, abs=0.02)


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


def test_local_correlation():
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(1, 1, 20, 20, 20, generator=g), torch.rand(1, 1, 20, 20, 20, generator=g)
    assert local_correlation(x, x) == pytest.approx(1, abs=1e-3)
    inner = torch.zeros_like(x)
    inner[:, :, 4:-4, 4:-4, 4:-4] = 1  # boxes that do not see the zeros beyond the edge
    # squared: contrast may turn over
    assert local_correlation(1 - 0.5 * x, x, inner) == pytest.approx(1, abs=1e-3)
    assert 0 <= local_correlation(x, y, inner) < 0.05
    mixed = torch.cat([x[:, :, :10], y[:, :, 10:]], dim=2)
    mask = torch.zeros_like(x)
    mask[:, :, :4] = 1  # here a box of 9³ sees only what is equal
    assert local_correlation(mixed, x, mask) == pytest.approx(1, abs=1e-3)
    assert local_correlation(mixed, x, 1 - mask) < 0.8


def test_local_moments_are_those_of_the_voxels_that_count():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 6, 5, 7))
    counts = rng.random(a.shape) < 0.6
    found = LocalMoments.of(a, b, counts, 3)
    for i, j, k in ((0, 0, 0), (2, 3, 4), (5, 4, 6), (0, 2, 6)):
        near = tuple(slice(max(0, n - 1), n + 2) for n in (i, j, k))
        x, y = a[near][counts[near]], b[near][counts[near]]
        assert found.number[i, j, k] == pytest.approx(max(1, len(x)))
        assert found.means[0][i, j, k] == pytest.approx(x.mean())
        assert found.means[1][i, j, k] == pytest.approx(y.mean())
        assert found.variances[0][i, j, k] == pytest.approx(x.var())
        assert found.variances[1][i, j, k] == pytest.approx(y.var())
        assert found.covariance[i, j, k] == pytest.approx(((x - x.mean()) * (y - y.mean())).mean())
