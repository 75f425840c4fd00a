"""Maps that come with a result say of the transform what is true of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from sacbnet import register
from sacbnet.config.registration import Options, map_names
from sacbnet.config.validation import OptionError
from sacbnet.io.images import load_image
from sacbnet.registration.maps import log_jacobian, warped_grid
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField

from .conftest import ball

QUICK = {"weights": "none", "affine": "none", "refine": 2}


def test_names_are_read_in_any_order_and_others_are_refused() -> None:
    assert map_names("grid, jacobian,") == map_names(["jacobian", "grid", "grid"])
    assert Options(save="grid,clusters").save == ("clusters", "grid")
    for wrong in ("jacobain", ("grid", "all"), (3,)):
        with pytest.raises(OptionError, match="jacobian, uncertainty, clusters or grid"):
            Options(save=wrong)


def test_the_log_jacobian_of_an_affine_is_that_of_its_determinant() -> None:
    grid = Grid((12, 14, 10), np.diag([1.0, 2.0, 0.5, 1]))
    matrix = np.diag([1.1, 0.8, 1.3, 1])
    field = DisplacementField.from_map(Affine(matrix), grid)
    np.testing.assert_allclose(log_jacobian(field), np.log(np.linalg.det(matrix)), atol=1e-4)
    mirror = DisplacementField.from_map(Affine(np.diag([-1.0, 1, 1, 1])), grid)
    assert np.isnan(log_jacobian(mirror)).all()


def test_the_grid_bends_with_the_transform_and_not_with_the_affine() -> None:
    grid = Grid((48, 40, 44), np.eye(4))
    affine = Affine(np.diag([1.2, 0.9, 1.0, 1]))
    still = warped_grid(DisplacementField.from_map(affine, grid), affine)
    lines = np.flatnonzero(still[:, 2, 2] > 0.99)
    step = lines[1] - lines[0]
    assert step == 4 and lines[0] == 0 and (np.diff(lines) == step).all()
    assert (still == 1).any(axis=(1, 2)).all()  # lines along the other axes are seen in each plane
    shifted = DisplacementField(grid, np.full((*grid.shape, 3), (1.5, 0, 0), np.float32))
    moved = warped_grid(shifted, Affine())
    np.testing.assert_allclose(moved[2:4, 2, 2], 0.5, atol=1e-5)  # the line of 4 lies at 2.5


def test_maps_are_written_on_the_fixed_grid_and_listed(tmp_path) -> None:
    fixed, moving = ball(), ball(shift=1.5)
    result = register(fixed=fixed, moving=moving, **QUICK, save="jacobian,uncertainty,grid")
    written = result.save(tmp_path)
    names = ["log_jacobian.nii.gz", "uncertainty_mm.nii.gz", "warped_grid.nii.gz"]
    told = json.loads(written["run.json"].read_text())
    assert list(told["maps"]) == names == list(result.maps)
    assert told["options"]["save"] == ["jacobian", "uncertainty", "grid"]
    for name in names:
        image = load_image(written[name])
        assert image.grid.matches(fixed.grid) and np.isfinite(image.data).all()
    volume = load_image(written[names[0]]).data
    folding = result.report.folding
    assert np.exp(volume.max()) == pytest.approx(folding.jacobian_max, rel=1e-3)
    assert np.exp(volume.min()) == pytest.approx(folding.jacobian_min, rel=1e-3)
    # without the option no map stays behind
    register(fixed=fixed, moving=moving, **QUICK).save(tmp_path)
    assert not any((tmp_path / name).exists() for name in names)


def test_a_sheared_fixed_grid_has_its_maps_too() -> None:
    image = ball()
    sheared = image.grid.affine.copy()
    sheared[0, 1] = 0.2
    fixed = replace(image, grid=Grid(image.data.shape, sheared))
    result = register(fixed=fixed, moving=fixed, **QUICK, save="jacobian,grid")
    for found in result.maps.values():
        assert found.grid is fixed.grid and found.data.shape == fixed.data.shape
    assert np.abs(result.maps["log_jacobian.nii.gz"].data).max() < 0.1
