"""What cannot be used is refused in one sentence that says what was seen."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from sacbnet.errors import GridError, InputError
from sacbnet.imaging.image import Image
from sacbnet.io.images import load_image, save_image
from sacbnet.spatial.grid import Grid


def _refused(source, words: str, kind="image") -> None:
    with pytest.raises(InputError, match=words) as caught:
        load_image(source, kind)
    assert "\n" not in str(caught.value)


def test_missing_empty_unknown(tmp_path):
    _refused(tmp_path / "a.nii", r"a\.nii does not exist")
    (tmp_path / "b.nii.gz").touch()
    _refused(tmp_path / "b.nii.gz", r"b\.nii\.gz is empty \(0 bytes\)")
    (tmp_path / "c.jpg").write_bytes(b"\xff\xd8" * 100)
    _refused(tmp_path / "c.jpg", r"c\.jpg has an unknown format; one of \.nii, ")
    _refused(5, "a int is no image")


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".mgz", ".nrrd", ".mha", ".hdr", ".dcm"])
def test_not_an_image_at_all(tmp_path, extension):
    path = tmp_path / f"a{extension}"
    path.write_text("<html>404 not found</html>" * 100)
    _refused(
        path,
        r"cannot be read: damaged, cut short or not an image"
        r"|is not a DICOM image, or it is damaged",
    )


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".mgz", ".nrrd", ".mha"])
@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
def test_cut_short(tmp_path, volume, grids, extension, part):
    path = tmp_path / f"a{extension}"
    save_image(path, volume, grids["oblique"])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    _refused(path, "cannot be read: damaged, cut short or not an image")


def test_gzip_cut_short_inside_the_voxels_only(tmp_path, volume):
    raw = nib.Nifti1Image(volume, np.eye(4)).to_bytes()
    # a sound gzip of half an image
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(raw[: len(raw) // 2]))
    _refused(tmp_path / "a.nii.gz", "cannot be read: damaged, cut short")


def test_header_that_promises_too_much(tmp_path, volume):
    image = nib.Nifti1Image(volume, np.eye(4))
    raw = bytearray(image.to_bytes())
    raw[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    _refused(tmp_path / "a.nii", "cannot be read|does not fit into the memory")


@pytest.mark.parametrize(
    "shape, words",
    [
        ((5, 6), r"is 2-D \(shape \(5, 6\)\)"),
        ((5, 6, 1), r"is a single slice \(shape \(5, 6, 1\)\)"),
        ((5, 6, 7, 4), "holds 4 volumes"),
        ((5, 6, 7, 3), "holds 3 volumes"),
        ((5, 6, 7, 1, 3), "is a displacement field"),
        ((5, 6, 7, 1, 6), "several values a voxel"),
        ((5, 6, 7, 2, 3), "several values a voxel"),
        ((0, 6, 7), "no voxels"),
    ],
)
def test_shapes(tmp_path, shape, words):
    data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    _refused((data, np.eye(4)), words)
    if data.size and data.ndim > 1:
        nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii")
        _refused(tmp_path / "a.nii", words)


def test_vector_intent_in_4d(tmp_path):
    image = nib.Nifti1Image(np.ones((5, 6, 7, 3), np.float32), np.eye(4))
    image.header.set_intent(1007)
    _refused(image, "is a displacement field")


def test_itk_images_of_several_values(tmp_path):
    for pixel, words in (
        (sitk.sitkVectorFloat32, "holds 3 values a voxel"),
        (sitk.sitkComplexFloat32, "holds complex numbers"),
    ):
        _refused(sitk.Image([4, 5, 6], pixel, 3 if pixel == sitk.sitkVectorFloat32 else 1), words)
    _refused(sitk.Image([4, 5], sitk.sitkFloat32), "is 2-D")
    _refused(sitk.Image([4, 5, 6, 2], sitk.sitkFloat32), "holds 2 volumes")


@pytest.mark.parametrize(
    "dtype, words",
    [
        ([("R", "u1"), ("G", "u1"), ("B", "u1")], "holds colours \\(R/G/B\\)"),
        ([("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")], "holds colours \\(R/G/B/A\\)"),
        ("c8", "holds complex numbers"),
    ],
)
def test_types(tmp_path, dtype, words):
    data = np.zeros((5, 6, 7), dtype)
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii")
    _refused(tmp_path / "a.nii", words)
    _refused((data, np.eye(4)), words)


def test_objects_and_texts():
    _refused((np.full((3, 3, 3), None), np.eye(4)), "values of type object")


def test_values(volume):
    bad = volume.copy()
    bad[0, 0, :3] = np.nan, np.inf, -np.inf
    _refused((bad, np.eye(4)), "holds 3 voxels that are NaN or infinite, of 990", "labels")
    _refused((bad, np.eye(4)), "holds 3 voxels", "mask")
    _refused((np.full((4, 5, 6), np.nan), np.eye(4)), "holds nothing but NaN")
    _refused((np.zeros((4, 5, 6)), np.eye(4)), r"constant \(every voxel is 0\)")
    _refused((np.full((4, 5, 6), -7), np.eye(4)), r"constant \(every voxel is -7\)")
    _refused((1e9 + volume.astype(float) * 1e-3, np.eye(4)), "constant in single precision")
    _refused((volume.astype(float) * 1e300, np.eye(4)), "beyond single precision")
    _refused((np.zeros((4, 5, 6)), np.eye(4)), "empty mask", "mask")


def test_labels_that_are_not_labels():
    soft = np.zeros((4, 5, 6))
    soft[0, 0] = 0.25
    _refused(
        (soft, np.eye(4)), r"holds 6 values that are not whole numbers \(e\.g\. 0\.25\)", "labels"
    )
    _refused((soft * 4e12, np.eye(4)), "whole numbers below 2", "labels")


def test_an_image_whose_grid_is_another(volume):
    with pytest.raises(GridError, match=r"its grid \(9, 10, 12\)"):
        load_image(Image(volume, Grid((9, 10, 12), np.eye(4))))


def test_unknown_kind_is_the_callers_mistake(volume):
    with pytest.raises(ValueError, match="kind 'seg'"):
        load_image((volume, np.eye(4)), "seg")
