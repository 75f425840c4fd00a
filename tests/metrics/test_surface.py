"""HD95 of known shapes, from its definition by all pairs of points, and MONAI's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from sacbnet.errors import GridError, InputError
from sacbnet.metrics.surface import hausdorff95


def blobs(seed: int, shape=(14, 12, 10), labels: int = 4) -> np.ndarray:
    """A smooth random label map, 0 between the labels."""
    smooth = gaussian_filter(
        np.random.default_rng(seed).normal(size=(labels, *shape)), (0, 2, 2, 2)
    )
    return np.where(smooth.max(0) > 0.02, smooth.argmax(0) + 1, 0).astype(np.int16)


def border(mask: np.ndarray) -> np.ndarray:
    """Voxels (n, 3) of the mask with a face neighbour outside the mask or outside the image."""
    padded = np.pad(mask, 1)
    steps = [sign * np.eye(3, dtype=int)[axis] for axis in range(3) for sign in (-1, 1)]
    return np.array(
        [p for p in np.argwhere(mask) if not all(padded[tuple(p + 1 + s)] for s in steps)]
    )


def naive(a: np.ndarray, b: np.ndarray, spacing) -> float:
    distances = cdist(border(a) * spacing, border(b) * spacing)
    return max(np.percentile(distances.min(axis), 95) for axis in (0, 1))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.sampled_from([(1, 1, 1), (0.7, 1.5, 3)]))
def test_equals_its_definition(seed, spacing):
    moved, fixed = blobs(seed), blobs(seed + 1)
    found = hausdorff95(moved, fixed, spacing_mm=spacing)
    assert set(found) == set(np.union1d(moved, fixed).tolist()) - {0}
    for label, value in found.items():
        a, b = moved == label, fixed == label
        if a.any() and b.any():
            assert value == pytest.approx(naive(a, b, np.array(spacing, float)))
        else:
            assert math.isnan(value)
    reverse = hausdorff95(fixed, moved, spacing_mm=spacing)
    np.testing.assert_array_equal(list(reverse.values()), list(found.values()))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 1.25, 2.0)])
def test_equals_monai(spacing):
    metrics = pytest.importorskip("monai.metrics")
    for seed in range(4):
        moved, fixed = blobs(seed, (24, 20, 22), 5), blobs(seed + 100, (24, 20, 22), 5)
        one_hot = [
            torch.from_numpy(np.stack([x == label for label in range(1, 6)])[None])
            for x in (moved, fixed)
        ]
        expected = metrics.compute_hausdorff_distance(
            *one_hot, include_background=True, percentile=95, spacing=list(spacing)
        )
        found = hausdorff95(moved, fixed, labels=range(1, 6), spacing_mm=spacing)
        np.testing.assert_allclose(list(found.values()), expected[0].numpy(), rtol=1e-5)


def test_shifted_boxes():
    """A box moved by d along one axis.

    Each border voxel has its nearest one no farther than d, those of a whole face exactly d.
    """
    moved, fixed = np.zeros((2, 20, 12, 12), dtype=np.uint8)
    fixed[4:8, 3:9, 3:9] = 7
    for d in range(1, 9):
        moved[:] = 0
        moved[4 + d : 8 + d, 3:9, 3:9] = 7
        assert hausdorff95(moved, fixed, spacing_mm=(1.5, 1, 1))[7] == pytest.approx(1.5 * d)
    assert hausdorff95(fixed, fixed)[7] == 0


def test_the_larger_of_the_two_directions_counts():
    """A speck far away: from it and to it are two things, and pooled it would drown."""
    fixed = np.zeros((30, 10, 10), dtype=np.uint8)
    fixed[2:8, 2:8, 2:8] = 1  # 152 border voxels
    moved = fixed.copy()
    moved[28, 2:8, 2] = 1  # 6 of 158: below 5% ...
    assert hausdorff95(moved, fixed)[1] == hausdorff95(fixed, moved)[1] == 0
    moved[28, 2:8, 2:4] = 1  # ... 12 of 164: above, but of both directions together still below
    assert hausdorff95(moved, fixed)[1] == hausdorff95(fixed, moved)[1] == 21


def test_a_label_at_the_edge_of_the_image_has_its_border_there():
    whole = np.ones((7, 7, 7), dtype=np.uint8)
    speck = np.zeros_like(whole)
    speck[3, 3, 3] = 1
    assert hausdorff95(whole, speck)[1] == pytest.approx(naive(whole == 1, speck == 1, 1.0))


def test_what_is_missing_is_nan():
    moved, fixed = np.zeros((2, 5, 5, 5), dtype=np.int32)
    moved[1], fixed[1], fixed[3], moved[4] = -3, -3, 2**30, 8
    found = hausdorff95(moved, fixed, labels=(8, -3, 2**30, 77))
    assert list(found) == [8, -3, 2**30, 77]
    assert found[-3] == 0 and all(math.isnan(found[label]) for label in (8, 2**30, 77))
    assert set(hausdorff95(moved, fixed)) == {8, -3, 2**30}
    assert hausdorff95(0 * moved, 0 * fixed) == {}


def test_refuses_what_makes_no_sense():
    x = np.zeros((3, 4, 5), dtype=np.uint8)
    with pytest.raises(GridError, match=r"\(3, 4, 5\) and \(5, 4, 3\)"):
        hausdorff95(x, x.T)
    for spacing in ((1, 1), (1, 0, 1), (1, 1, float("nan"))):
        with pytest.raises(InputError, match="3 positive numbers"):
            hausdorff95(x, x, spacing_mm=spacing)
