"""Other programs use what is written: SimpleITK and ANTs give our moved image (contract 2)."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

import sacbnet
from sacbnet.imaging.image import Image
from sacbnet.io.images import load_image, save_image
from sacbnet.spatial.grid import Grid

from .. import ants
from ..conftest import QUICK, relocated

LPS = np.array([-1.0, -1.0, 1.0])
TOLERANCE = 1e-3  # of the moving image's intensity range


def in_view(fixed: Image, moving: Image, transform) -> np.ndarray:
    """Voxels of the fixed grid that are not mapped onto an outer face of the moving image.

    Inside its box both programs interpolate, outside the box both write the value that is filled
    in. Only on the faces (within 0.001 voxel) may rounding decide.
    """
    points = transform(fixed.grid.world(np.argwhere(np.ones(fixed.grid.shape, bool))))
    return (moving.grid.contains(points, 0.499) | ~moving.grid.contains(points, 0.501)).reshape(
        fixed.grid.shape
    )


def itk_moved(fixed: Path, moving: Path, field: Path, fill: float = 0.0) -> np.ndarray:
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(field), sitk.sitkVectorFloat64))
    moved = sitk.Resample(
        sitk.ReadImage(str(moving), sitk.sitkFloat32),
        sitk.ReadImage(str(fixed)),
        transform,
        sitk.sitkLinear,
        fill,
    )
    return sitk.GetArrayFromImage(moved).T


def itk_points(field: Path, points: np.ndarray) -> np.ndarray:
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(field), sitk.sitkVectorFloat64))
    return np.array([transform.TransformPoint(p) for p in (points * LPS).tolist()]) * LPS


def largest_difference(
    ours: np.ndarray, theirs: np.ndarray, moving: Image, where: np.ndarray
) -> float:
    """Of the intensity range of the moving image."""
    return float(np.abs(ours - theirs)[where].max() / np.ptp(moving.data))


def check_both(fixed: Path, moving: Path, out: Path, result: sacbnet.Registration) -> None:
    f, m = load_image(fixed), load_image(moving)
    where = in_view(f, m, result.transform)
    ours = load_image(out / "moved.nii.gz").data
    assert where.mean() > 0.99 and (ours[where] > 0).mean() > 0.2  # there is something to compare
    field, fill = out / "transform.nii.gz", result.report.filled.value
    by_itk = largest_difference(ours, itk_moved(fixed, moving, field, fill), m, where)
    assert by_itk < TOLERANCE
    by_ants = ants.moved_image(fixed, moving, [field], outside=fill)
    by_ants = largest_difference(ours, by_ants, m, where)
    assert by_ants < TOLERANCE
    print(f"largest difference from SimpleITK {by_itk:.2e}, from ANTs {by_ants:.2e} of the range")


def test_moved_image_by_simpleitk_and_ants(files, result, registered) -> None:
    check_both(files["fixed"], files["moving"], result, registered)


@pytest.mark.parametrize("case", ["oblique fixed", "thick slices", "sheared moving"])
def test_moved_image_on_other_grids(pair, files, tmp_path, case, turn) -> None:
    fixed, moving = pair.fixed, pair.aligned
    if case == "oblique fixed":  # by 21° more, both
        fixed, moving = relocated(fixed, turn), relocated(moving, turn)
    elif case == "thick slices":
        thick = Grid((54, 50, 9), moving.grid.affine @ np.diag([1, 1, 3.0, 1]))
        moving = Image(moving.data[:, :, :27].reshape(54, 50, 9, 3).mean(-1), thick)
    else:
        # ITK reads no sheared image: only ours is checked, against the image resampled upright
        shear = np.eye(4)
        shear[0, 1] = 0.15
        moving = relocated(moving, shear)
    save_image(tmp_path / "fixed.nii.gz", fixed.data, fixed)
    if case == "sheared moving":
        nib.save(nib.Nifti1Image(moving.data, moving.grid.affine), tmp_path / "moving.nii.gz")
    else:
        save_image(tmp_path / "moving.nii.gz", moving.data, moving)
    result = sacbnet.register(
        fixed=tmp_path / "fixed.nii.gz", moving=tmp_path / "moving.nii.gz", **QUICK
    )
    result.save(tmp_path / "out")
    if case != "sheared moving":
        check_both(tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz", tmp_path / "out", result)
        return
    field = tmp_path / "out" / "transform.nii.gz"
    points = fixed.grid.world(np.argwhere(pair.fixed_labels.data > 3))
    mapped = moving.grid.voxels(itk_points(field, points))
    from scipy.ndimage import map_coordinates

    expected = map_coordinates(moving.data, mapped.T, order=1, mode="nearest")
    ours = load_image(tmp_path / "out" / "moved.nii.gz").data[pair.fixed_labels.data > 3]
    inside = moving.grid.contains(itk_points(field, points), 0.499)
    assert np.abs(ours - expected)[inside].max() < TOLERANCE * np.ptp(moving.data)


def test_sheared_fixed_keeps_its_grid_and_gets_a_transform_that_itk_reads(pair, tmp_path) -> None:
    shear = np.eye(4)
    shear[2, 0] = 0.12
    fixed = relocated(pair.fixed, shear)
    out = sacbnet.register(
        fixed=(fixed.data, fixed.grid.affine), moving=relocated(pair.aligned, shear), **QUICK
    )
    out.save(tmp_path)
    assert np.allclose(nib.load(tmp_path / "moved.nii.gz").affine, fixed.grid.affine, atol=1e-5)
    points = fixed.grid.world(np.argwhere(pair.fixed_labels.data > 3))
    assert (
        np.abs(itk_points(tmp_path / "transform.nii.gz", points) - out.transform(points)).max()
        < 1e-3
    )


def test_written_transform_is_the_one_returned(pair, result, registered) -> None:
    p = pair.in_head
    assert np.abs(itk_points(result / "transform.nii.gz", p) - registered.transform(p)).max() < 1e-3
    q = registered.transform(p)
    assert (
        np.abs(itk_points(result / "inverse_transform.nii.gz", q) - registered.inverse(q)).max()
        < 1e-3
    )


def test_written_inverse_carries_points_back(pair, result) -> None:
    """Through both files, by SimpleITK alone: the mean error is below 0.1 mm.

    In the head, and over the whole fixed image.
    """
    there = itk_points(result / "transform.nii.gz", p := pair.in_head)
    back = itk_points(result / "inverse_transform.nii.gz", there)
    error = np.linalg.norm(back - p, axis=1)
    print(
        f"inverse: mean {error.mean():.4f} mm, 99th percentile {np.percentile(error, 99):.3f},"
        f" max {error.max():.3f}"
    )
    assert error.mean() < 0.1 and np.percentile(error, 99) < 1.0
    everywhere = pair.fixed.grid.world(np.argwhere(np.ones(pair.fixed.grid.shape, bool))[::7])
    back = itk_points(
        result / "inverse_transform.nii.gz", itk_points(result / "transform.nii.gz", everywhere)
    )
    assert np.linalg.norm(back - everywhere, axis=1).mean() < 0.1


def test_inverse_carries_the_fixed_image_onto_the_moving_grid(
    pair, files, result, registered
) -> None:
    """As `antsApplyTransforms -i fixed -r moving -t inverse_transform.nii.gz` does it."""
    ours = sacbnet.Warper.of(registered).image(pair.fixed, "moving")
    assert ours.grid == pair.moving.grid
    where = in_view(pair.moving, pair.fixed, registered.inverse)
    theirs = itk_moved(files["moving"], files["fixed"], result / "inverse_transform.nii.gz")
    assert largest_difference(ours.data, theirs, pair.fixed, where) < TOLERANCE
    brain = pair.moving_labels.data > 3
    assert np.corrcoef(ours.data[brain], pair.moving.data[brain])[0, 1] > 0.6
    inverse = result / "inverse_transform.nii.gz"
    theirs = ants.moved_image(files["moving"], files["fixed"], [inverse])
    assert largest_difference(ours.data, theirs, pair.fixed, where) < TOLERANCE


def test_affine_is_read_by_simpleitk_and_ants(pair, result, registered) -> None:
    points = pair.landmarks[:20]
    expected = registered.affine(points)
    transform = sitk.ReadTransform(str(result / "affine.mat"))
    found = np.array([transform.TransformPoint(p) for p in (points * LPS).tolist()]) * LPS
    assert np.abs(found - expected).max() < 1e-5
    found = ants.moved_points(points, [result / "affine.mat"])
    assert np.abs(found - expected).max() < 1e-4
