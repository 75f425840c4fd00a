"""The expected error: large where the images leave the displacement open, and near the true one."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.stats import spearmanr

from sacbnet import register
from sacbnet.imaging.resampling import mask_on_grid
from sacbnet.registration.inputs import read_inputs
from sacbnet.registration.prepare import prepare
from sacbnet.registration.uncertainty import (
    WEIGHTS,
    error_map,
    expected_error,
    lattice,
    left_open,
    likeness,
    signs,
)
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField, chain

from ..conftest import QUICK
from .conftest import ball

SHAPE = (48, 40, 44)


def tensor(data):
    return torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))[None, None]


def scene(seed=0, noise=0.02):
    """A block with many corners in one half, nothing but noise in the other; two images of it."""
    rng = np.random.default_rng(seed)
    clean = np.full(SHAPE, 0.4)
    clean[:22] += 0.2 * gaussian_filter(rng.standard_normal((22, *SHAPE[1:])), 2) / 0.03
    return [tensor(clean + noise * rng.standard_normal(SHAPE)) for _ in range(2)]


def still():
    return torch.zeros(1, 3, *SHAPE), torch.ones(1, 1, *SHAPE, dtype=torch.bool)


def opened(fixed, moved, window=5):
    slopes = [list(torch.gradient(x, dim=(2, 3, 4))) for x in (fixed, moved)]
    return left_open(slopes, *likeness(fixed, moved, window), window=window)


def test_flat_places_are_less_certain_than_structure():
    found = expected_error(*scene(), *still())[0, 0]
    assert found.shape == SHAPE
    assert found[35:45, 8:-8, 8:-8].min() > 2 * found[8:12, 8:-8, 8:-8].max()


def test_structure_along_an_axis_fixes_that_axis_alone():
    """What stays open is the prior, along the axes on which nothing changes."""
    waves = [0.5 + 0.1 * np.sin(1.2 * at) for at in np.indices(SHAPE)]
    images = [tensor(np.full(SHAPE, 0.4)), *(tensor(sum(waves[:n])) for n in (1, 2, 3))]
    values = [float(opened(x, x, 15)[0, 0, 20, 20, 20]) for x in images]
    prior = 2.5
    assert values[:3] == pytest.approx([prior * 3**0.5, prior * 2**0.5, prior], rel=0.02)
    assert values[3] < 0.6


def test_what_the_images_do_not_share_counts_as_unknown():
    fixed, moved = scene(noise=0.0)
    other = scene(seed=1)[1]
    place = (0, 0, slice(8, 12), slice(8, -8), slice(8, -8))
    alike, noisy, unlike = (
        opened(fixed, x)[place].mean()
        for x in (moved, moved + 0.1 * torch.randn(fixed.shape), other)
    )
    assert alike < 0.7 * noisy and noisy < 0.7 * unlike


def test_brightness_and_sign_of_contrast_change_nothing():
    fixed, moved = scene(noise=0.05)
    found = expected_error(fixed, moved, *still())
    for other in (0.5 * moved + 0.2, 1 - moved):
        torch.testing.assert_close(
            expected_error(fixed, other, *still()), found, rtol=0.03, atol=0.01
        )


def test_a_registration_leaves_a_share_of_the_displacement():
    images, (u, inside) = scene(), still()
    sizes = [float(signs(*images, u + shift, inside)[2]) for shift in (0.0, 1.0, 2.0)]
    assert sizes == pytest.approx([0.5, 0.5 + 3**0.5, 0.5 + 2 * 3**0.5], rel=1e-5)
    means = [float(expected_error(*images, u + shift, inside).mean()) for shift in (0.0, 1.0, 2.0)]
    assert 0 < means[0] < means[1] < means[2]
    assert len(WEIGHTS) == 3 and all(weight > 0 for weight in WEIGHTS)


def test_less_likeness_never_makes_a_pair_more_certain():
    fixed, moved = scene(noise=0.0)
    grain = torch.randn(fixed.shape, generator=torch.Generator().manual_seed(0))
    means = [
        float(expected_error(fixed, moved + noise * grain, *still()).mean())
        for noise in (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
    ]
    assert means == sorted(means) and means[-1] > 1.5 * means[0]


@pytest.mark.parametrize("shape", [(1, 1, 1), (20, 1, 9), (3, 40, 40)])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_finite_for_any_image(shape, value):
    images = [torch.full((1, 1, *shape), value) for _ in range(2)]
    images[1].view(-1)[0] = 0.5
    found = expected_error(
        *images, torch.zeros(1, 3, *shape), torch.ones(1, 1, *shape, dtype=torch.bool)
    )
    assert bool(torch.isfinite(found).all()) and float(found.min()) > 0


def test_the_lattice_covers_the_working_grid():
    grid = Grid((161, 100, 140), np.diag([1.0, 1, 1, 1]))
    coarse = lattice(grid, 1.0)
    assert coarse.shape == (81, 50, 70)
    np.testing.assert_allclose(coarse.world([0, 0, 0]), [0.5, 0.5, 0.5])
    assert lattice(grid, 2.0) is grid
    assert lattice(grid, 0.5).shape == (81, 50, 70)  # three large boxes wide
    small = Grid((60, 60, 60), np.eye(4))
    assert lattice(small, 1.0) is small


def test_near_the_true_error_of_the_small_head(pair, registered):
    """Calibrated within a factor of two, although made of another head, spacing and network."""
    inputs = read_inputs(fixed=pair.fixed, moving=pair.moving).canonical()
    found = error_map(prepare(inputs), registered.affine, registered.transform)
    points = pair.in_head
    true = np.linalg.norm(registered.transform(points) - pair.true_map(points), axis=1)
    expected = map_coordinates(found.error_mm, found.grid.voxels(points).T, order=1)
    assert true.mean() / 2 < expected.mean() < 2 * true.mean()
    assert spearmanr(expected, true)[0] > 0.1  # the large box is a third of this head
    said = registered.report.expected_error
    assert said.mean_mm == pytest.approx(found.summary().mean_mm, rel=1e-3)
    assert said.mean_mm < said.p95_mm < 10


def test_a_wrong_transform_is_expected_to_be_worse(pair, registered):
    """The same displacement, backwards."""
    ready = prepare(read_inputs(fixed=pair.fixed, moving=pair.moving).canonical())
    right = error_map(ready, registered.affine, registered.transform).summary()
    affine, grid = registered.affine, registered.transform.grid
    local = DisplacementField.from_map(chain(affine.inverse, registered.transform), grid)
    backwards = DisplacementField(grid, -local.displacement_mm)
    wrong = DisplacementField.from_map(chain(affine, backwards), grid)
    assert error_map(ready, affine, wrong).summary().mean_mm > 1.2 * right.mean_mm


def test_without_a_search_there_is_no_map(tmp_path):
    options = {"weights": "none", "affine": "none", "refine": 0, "save": ("uncertainty",)}
    result = register(fixed=ball(), moving=ball(shift=1.5), **options)
    assert result.report.expected_error is None and not result.maps
    assert any("no uncertainty" in warning for warning in result.report.warnings)
    assert json.loads(result.report.to_text())["expected_error"] is None


def test_the_map_lies_on_the_fixed_grid_and_is_finite(tmp_path):
    fixed, moving = ball(), ball(shift=1.5)
    result = register(fixed=fixed, moving=moving, **QUICK, save=("uncertainty",))
    image = result.maps["uncertainty_mm.nii.gz"]
    assert image.grid is fixed.grid and image.data.shape == fixed.data.shape
    assert np.isfinite(image.data).all() and image.data.min() > 0
    assert result.report.expected_error.mean_mm < image.data.max() < 20
    assert "uncertainty_mm.nii.gz" in result.save(tmp_path)


def test_a_mask_limits_the_summary():
    fixed, moving = ball(), ball(shift=1.5)
    mask = np.zeros(fixed.data.shape, bool)
    mask[14:26, 16:28, 12:24] = True
    whole = prepare(read_inputs(fixed=fixed, moving=moving))
    layer = replace(whole.fixed, mask=on_mask(mask, fixed, whole.grid))
    still = DisplacementField.zeros(fixed.grid)
    everywhere = error_map(whole, Affine(), still)
    within = error_map(replace(whole, fixed=layer), Affine(), still)
    np.testing.assert_array_equal(everywhere.error_mm > 0, True)
    assert within.inside.sum() == layer.mask.sum() < everywhere.inside.sum()
    assert within.summary() != everywhere.summary()


def on_mask(mask, image, grid):
    return mask_on_grid(mask, image.grid, grid)[0, 0].numpy() > 0


def test_equal_images_are_nearly_certain():
    found = register(fixed=ball(), moving=ball(), **QUICK).report.expected_error
    assert 0 < found.mean_mm < 1.0
