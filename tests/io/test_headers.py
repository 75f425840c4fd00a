"""NIfTI headers that two programs read in two ways: what we say that ITK reads, ITK does read."""

from __future__ import annotations

import itertools
import struct

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from sacbnet.errors import GridError, InputError
from sacbnet.imaging.image import Image
from sacbnet.io.headers import itk_grid
from sacbnet.io.images import load_image, save_image
from sacbnet.spatial.grid import Grid

SPACING = (1.0, 2.0, 3.0)
SFORM = np.eye(4)
SFORM[:3, :3] = Rotation.from_euler("x", 20, degrees=True).as_matrix() * SPACING
SFORM[:3, 3] = 10, 20, 30
QFORM = np.eye(4)
QFORM[:3, :3] = Rotation.from_euler("z", 30, degrees=True).as_matrix() * SPACING
QFORM[:3, 3] = -5, 5, 0


def _write(path, volume, sform=SFORM, qform=QFORM, codes=(1, 1), unit="mm", pixdim=None):
    image = nib.Nifti1Image(volume, None)
    image.header.set_zooms(SPACING)
    image.header.set_qform(qform, codes[1])
    image.header.set_sform(sform, codes[0])
    image.header.set_xyzt_units(unit)
    if pixdim is not None:
        image.header["pixdim"][1:4] = pixdim
    nib.save(image, path)
    return path


def _patch(path, offset, value):
    raw = bytearray(path.read_bytes())
    raw[offset : offset + 4] = struct.pack("<f", value)
    path.write_bytes(raw)
    return path


def _sheared(angle):
    shear = np.array([[1, angle, 0], [0, 1, 0], [0, 0, 1]])
    affine = SFORM.copy()
    affine[:3, :3] = SFORM[:3, :3] / SPACING @ (shear / np.linalg.norm(shear, axis=0)) * SPACING
    return affine


ODD = [
    *[{"codes": c} for c in itertools.product((0, 1, 2, 4), (0, 1, 2))],
    *[
        {"codes": c, "pixdim": (1.5, 2.5, 3.5)}
        for c in ((1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 0))
    ],
    *[
        {"codes": c, "sform": _sheared(a)}
        for c in ((1, 0), (1, 1), (2, 1))
        for a in (5e-5, 1e-3, 0.2)
    ],
    *[
        {"codes": c, "unit": u}
        for c in ((1, 0), (0, 1), (0, 0))
        for u in ("meter", "micron", "unknown")
    ],
]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_we_know_what_itk_reads(tmp_path, volume, itk_world, odd):
    path = _write(tmp_path / "a.nii", volume, **odd)
    ours = itk_grid(nib.load(path).header, volume.shape)
    try:
        theirs = Grid(volume.shape, itk_world(path))
    except RuntimeError:
        assert ours is None
    else:
        assert ours is not None and ours.matches(theirs, 1e-4 * theirs.spacing.max())


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_a_result_lies_where_its_original_does_for_nibabel_and_for_itk(
    tmp_path, volume, itk_world, odd
):
    path = _write(tmp_path / "a.nii", volume, **odd)
    image = load_image(path)
    save_image(tmp_path / "b.nii.gz", volume, image)
    again = load_image(tmp_path / "b.nii.gz")
    tolerance = 1e-4 * max(1, image.grid.spacing.max() / 10)
    assert again.grid.matches(image.grid, tolerance)
    assert again.header.get_xyzt_units()[0] == "mm"
    if odd.get("unit", "mm") in ("mm", "unknown") and image.grid.is_orthogonal:
        assert (again.header["sform_code"], again.header["qform_code"]) == odd["codes"]
    if image.grid.is_orthogonal:
        a, b = (
            Grid(volume.shape, itk_world(path)),
            Grid(volume.shape, itk_world(tmp_path / "b.nii.gz")),
        )
        assert a.matches(b, tolerance)
    else:
        assert again.header["qform_code"] == 0


def test_no_orientation_is_read_as_itk_reads_it(tmp_path, volume, itk_world):
    path = _write(tmp_path / "a.nii", volume, codes=(0, 0))
    image = load_image(path)
    assert np.array_equal(image.grid.affine, np.diag([-1, -2, 3, 1]))
    assert np.allclose(itk_world(path), image.grid.affine)
    assert "left and right cannot be told" in image.warnings[0] and len(image.warnings) == 1


def test_analyze_is_read_as_itk_reads_it(tmp_path, volume, itk_world):
    image = nib.AnalyzeImage(volume, np.diag([-1, 2, 3, 1]))
    image.header.set_zooms(SPACING)
    nib.save(image, tmp_path / "a.img")
    ours = load_image(tmp_path / "a.hdr")
    assert np.array_equal(ours.data, volume)
    assert np.allclose(itk_world(tmp_path / "a.img"), ours.grid.affine)
    assert "left and right cannot be told" in ours.warnings[0]


@pytest.mark.parametrize("codes, elsewhere", [((1, 1), False), ((2, 1), True), ((4, 2), True)])
def test_forms_that_differ_are_told(tmp_path, volume, codes, elsewhere):
    image = load_image(_write(tmp_path / "a.nii", volume, codes=codes))
    assert np.allclose(image.grid.affine, SFORM, atol=1e-5)
    assert "a sform and a qform that differ" in image.warnings[0]
    assert any("ITK, ANTs and 3D Slicer place" in w for w in image.warnings) == elsewhere


def test_forms_that_agree_are_not_told(tmp_path, volume):
    near = SFORM.copy()
    near[:3, 3] += 0.05
    assert load_image(_write(tmp_path / "a.nii", volume, qform=near, codes=(2, 1))).warnings == ()


def test_units_become_mm(tmp_path, volume):
    image = load_image(_write(tmp_path / "a.nii", volume, codes=(1, 0), unit="micron"))
    assert np.allclose(image.grid.spacing, np.array(SPACING) / 1000)
    assert "in microns; it was converted to mm" in image.warnings[0]


@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("value", [0.0, np.nan])
def test_voxel_size_zero_or_nan(tmp_path, volume, codes, value):
    path = _patch(_write(tmp_path / "a.nii", volume, codes=codes), 84, value)
    with pytest.raises(GridError, match=r"a\.nii has the voxel size \[1\.0, (0\.0|nan), 3\.0\] mm"):
        load_image(path)


def test_negative_voxel_size_is_taken_as_positive(tmp_path, volume):
    path = _patch(_write(tmp_path / "a.nii", volume, codes=(0, 0)), 84, -2.0)
    image = load_image(path)
    assert image.grid.spacing.tolist() == [1, 2, 3]
    assert (
        "[1.0, -2.0, 3.0] (pixdim): its magnitude is used, but ITK mirrors the image"
        in image.warnings[0]
    )


@pytest.mark.parametrize("codes", [(0, 0), (0, 1), (2, 0)])
@pytest.mark.parametrize("name", ["half-turn", "oblique", "sheared"])
def test_a_header_of_another_grid_does_not_move_the_result(tmp_path, volume, grids, codes, name):
    """The grid decides, whatever codes the header brings, and however coarse its quaternion is."""
    header = load_image(_write(tmp_path / "a.nii", volume, codes=codes)).header
    save_image(tmp_path / "b.nii", volume, Image(volume, grids[name], header=header))
    assert load_image(tmp_path / "b.nii").grid.matches(grids[name], 1e-4)


@pytest.mark.parametrize(
    "value, words", [(np.nan, "holds NaN or infinite values"), (0.0, "is singular")]
)
def test_bad_sform_names_the_file(tmp_path, volume, value, words):
    with pytest.raises(GridError, match=rf"a\.nii: the affine {words}"):
        load_image(_patch(_write(tmp_path / "a.nii", volume, codes=(1, 0)), 280, value))


def test_singular_affine_of_an_array(volume):
    with pytest.raises(GridError, match="array: the affine is singular"):
        load_image((volume, np.diag([1.0, 1, 0, 1])))


def test_a_qform_that_cannot_be_used(tmp_path, volume):
    # quaternion longer than 1
    path = _patch(_write(tmp_path / "a.nii", volume, codes=(1, 1)), 256, 3.0)
    assert "has a qform that cannot be used" in load_image(path).warnings[0]
    path = _patch(_write(tmp_path / "b.nii", volume, codes=(0, 1)), 256, 3.0)
    with pytest.raises(InputError, match=r"b\.nii cannot be read"):
        load_image(path)


def test_nifti_2_and_big_endian_headers_keep_their_codes(tmp_path, volume, itk_world):
    two = nib.Nifti2Image(volume, SFORM)
    big = nib.Nifti1Image(volume, SFORM, nib.Nifti1Header(endianness=">"))
    for name, image in (("two", two), ("big", big)):
        image.set_sform(SFORM, 2)
        image.set_qform(SFORM, 1)
        nib.save(image, tmp_path / f"{name}.nii")
        loaded = load_image(tmp_path / f"{name}.nii")
        assert np.array_equal(loaded.data, volume)
        save_image(tmp_path / "b.nii", volume, loaded)
        again = load_image(tmp_path / "b.nii")
        assert (again.header["sform_code"], again.header["qform_code"]) == (2, 1)
        assert again.grid.matches(loaded.grid, 1e-4)
        assert np.allclose(itk_world(tmp_path / "b.nii"), SFORM, atol=1e-4)
    assert sitk.ReadImage(str(tmp_path / "b.nii")).GetMetaData("descrip") == "sacbnet"
