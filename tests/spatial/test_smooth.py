"""Cubic and Lanczos interpolation against SimpleITK and ANTs, and on what they keep exactly."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import resample, resample_counted
from sacbnet.spatial.transforms import Affine

from .. import ants

GRID = Grid((16, 17, 18), np.eye(4))


def image() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=GRID.shape).astype(np.float32)


def shifted() -> Affine:
    matrix = np.eye(4)
    matrix[:3, :3] += 0.03 * np.random.default_rng(2).normal(size=(3, 3))
    matrix[:3, 3] = 0.4, -0.3, 0.2
    return Affine(matrix)


def inner(values: np.ndarray, width: int = 4) -> np.ndarray:
    return values[(slice(width, -width),) * 3]


def test_cubic_is_the_b_spline_of_itk():
    ours = resample(image(), GRID, GRID, shifted(), "cubic")
    moving = sitk.GetImageFromArray(image())  # axes k, j, i
    there = sitk.AffineTransform(3)
    m = shifted().matrix
    there.SetMatrix(m[:3, :3][::-1, ::-1].T.T.ravel().tolist())
    there.SetTranslation(m[:3, 3][::-1].tolist())
    # SimpleITK's world axes are (x, y, z) = our (k, j, i) here
    theirs = sitk.Resample(moving, moving, there, sitk.sitkBSpline, 0.0, sitk.sitkFloat32)
    assert np.abs(inner(ours - sitk.GetArrayFromImage(theirs))).max() < 2e-3


def test_lanczos_is_near_that_of_ants(tmp_path):
    """ANTs' weights do not add up to 1; ours do, so they differ by a per cent of the noise."""
    from sacbnet.io.images import save_image
    from sacbnet.io.transforms import save_affine

    ours = resample(image(), GRID, GRID, shifted(), "lanczos")
    save_image(tmp_path / "m.nii", image(), GRID)
    save_affine(tmp_path / "a.mat", shifted())
    files = ("-i", tmp_path / "m.nii", "-r", tmp_path / "m.nii", "-o", tmp_path / "o.nii")
    how = ("-t", tmp_path / "a.mat", "-n", "LanczosWindowedSinc", "--float", 0)
    ants.run("antsApplyTransforms", "-d", 3, *files, *how)
    theirs = nib.load(tmp_path / "o.nii").get_fdata()
    assert np.abs(inner(ours - theirs)).max() < 0.05
    assert np.abs(inner(ours - theirs)).mean() < 0.01


@pytest.mark.parametrize("way", ["cubic", "lanczos"])
def test_voxels_constants_and_the_outside(way):
    assert np.abs(resample(image(), GRID, GRID, Affine(), way) - image()).max() < 1e-5
    flat = np.full(GRID.shape, 7, np.int16)
    found, outside = resample_counted(flat, GRID, GRID, Affine.translation([3.4, 0, 0]), way, -5)
    assert found.dtype == np.float32 and outside == 3 * 17 * 18
    assert np.abs(found[:-3] - 7).max() < 1e-5 and (found[-3:] == -5).all()


def test_smooth_shapes_lose_less_than_by_linear():
    i = np.indices(GRID.shape)
    wave = np.sin(i[0] * 0.9) * np.sin(i[1] * 0.8) * np.sin(i[2] * 0.7)
    shift = np.array([0.5, 0.5, 0.5])
    truth = np.sin((i[0] + 0.5) * 0.9) * np.sin((i[1] + 0.5) * 0.8) * np.sin((i[2] + 0.5) * 0.7)
    worst = {
        way: np.abs(inner(resample(wave, GRID, GRID, Affine.translation(shift), way) - truth)).max()
        for way in ("linear", "cubic", "lanczos")
    }
    assert worst["cubic"] < worst["linear"] / 5 and worst["lanczos"] < worst["linear"] / 5, worst
