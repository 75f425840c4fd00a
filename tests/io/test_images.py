"""Images: every orientation and format, there and back, with nibabel and SimpleITK as witnesses."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sacbnet.errors import GridError, InputError, OutputError
from sacbnet.imaging.image import Image
from sacbnet.io.images import load_image, save_image
from sacbnet.spatial.grid import Grid

EXTENSIONS = (".nii", ".nii.gz", ".mgz", ".nrrd", ".mha")


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_round_trip_on_every_grid(tmp_path, volume, grid, extension):
    path = tmp_path / f"a{extension}"
    save_image(path, volume, grid)
    image = load_image(path)
    assert np.array_equal(image.data, volume)
    assert image.data.dtype == np.float32 and image.data.flags.c_contiguous
    assert image.grid.matches(grid, 1e-4)
    assert image.name == str(path)
    assert not [p for p in tmp_path.iterdir() if p != path]


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_simpleitk_reads_the_same(tmp_path, volume, orthogonal_grid, itk_world, extension):
    path = tmp_path / f"a{extension}"
    save_image(path, volume, orthogonal_grid)
    image = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(image), volume.transpose(2, 1, 0))
    assert Grid(volume.shape, itk_world(path)).matches(orthogonal_grid, 1e-4)


def test_simpleitk_refuses_sheared_nifti_rather_than_misread_it(tmp_path, volume, grids):
    save_image(tmp_path / "a.nii", volume, grids["sheared"])
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(str(tmp_path / "a.nii"))
    assert any("not perpendicular" in w for w in load_image(tmp_path / "a.nii").warnings)


@pytest.mark.parametrize("extension", [".nii.gz", ".mgz", ".nrrd", ".mha"])
@pytest.mark.parametrize(
    "labels, dtype", [([0, 1, 255], "u1"), ([-2, 0, 300], "<i2"), ([0, 70000], "<i4")]
)
def test_labels_round_trip_in_the_smallest_type(tmp_path, grids, extension, labels, dtype):
    data = np.random.default_rng(1).choice(labels, size=(9, 10, 11))  # int64
    save_image(tmp_path / f"a{extension}", data, grids["oblique"], labels=True)
    image = load_image(tmp_path / f"a{extension}", "labels")
    assert image.data.dtype == np.dtype(dtype)
    assert np.array_equal(image.data, data)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_same_bytes_again(tmp_path, volume, grids, extension, monkeypatch):
    (tmp_path / "later").mkdir()
    save_image(tmp_path / f"a{extension}", volume, grids["oblique"])
    monkeypatch.setattr("time.time", lambda: 4e9)  # gzip's time stamp comes from here
    save_image(tmp_path / "later" / f"b{extension}", volume, grids["oblique"])
    assert (tmp_path / f"a{extension}").read_bytes() == (
        tmp_path / "later" / f"b{extension}"
    ).read_bytes()


@pytest.mark.parametrize(
    "stored", ["u1", "i1", ">i2", "<i2", "u2", ">f4", ">f8", "f8", "i4", "u4", "i8", "u8"]
)
def test_every_number_type(tmp_path, stored):
    data = np.random.default_rng(2).integers(0, 100, (4, 5, 6)).astype(stored)
    header = nib.Nifti1Header(endianness=data.dtype.newbyteorder("=").str.replace("|", "<")[0])
    if stored.startswith(">"):
        header = header.as_byteswapped(">")
    header.set_data_dtype(data.dtype)
    nib.save(nib.Nifti1Image(data, np.eye(4), header), tmp_path / "a.nii")
    image, labels = load_image(tmp_path / "a.nii"), load_image(tmp_path / "a.nii", "labels")
    assert image.data.dtype == np.dtype("float32") and image.data.dtype.isnative
    assert np.array_equal(image.data, data.astype(float))
    assert (
        np.array_equal(labels.data, data)
        and labels.data.dtype.kind in "iu"
        and labels.data.dtype.isnative
    )
    if data.dtype.kind in "iu":
        assert labels.data.dtype == data.dtype.newbyteorder("=")


def test_scale_slope_and_intercept_are_applied_and_cleared(tmp_path):
    raw = bytearray(
        nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4)).to_bytes()
    )
    raw[112:120] = np.array([0.5, 10], "<f4").tobytes()  # scl_slope, scl_inter
    (tmp_path / "a.nii").write_bytes(raw)
    image = load_image(tmp_path / "a.nii")
    assert image.data[0, 0, 1] == 10.5 and image.data.max() == 39.5
    save_image(tmp_path / "b.nii", image.data, image)
    assert (
        nib.load(tmp_path / "b.nii").dataobj.slope == 1
        and nib.load(tmp_path / "b.nii").dataobj.inter == 0
    )
    assert np.array_equal(
        sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "b.nii"))).T, image.data
    )


def test_other_sources_agree(tmp_path, volume, grids):
    grid = grids["oblique-flipped"]
    save_image(tmp_path / "a.mha", volume, grid)
    sources = [
        (volume, grid.affine),
        nib.Nifti1Image(volume, grid.affine),
        nib.MGHImage(volume, grid.affine),
        sitk.ReadImage(str(tmp_path / "a.mha")),
        str(tmp_path / "a.mha"),
        Image(volume, grid),
    ]
    for source in sources:
        image = load_image(source)
        assert np.array_equal(image.data, volume) and image.data.flags.c_contiguous
        assert image.grid.matches(grid, 1e-4)


def test_no_needless_copy(volume):
    assert np.shares_memory(load_image((volume, np.eye(4))).data, volume)
    image = Image(volume, Grid(volume.shape, np.eye(4)))
    assert load_image(image) is image


def test_one_volume_in_4d_is_squeezed(tmp_path, volume):
    nib.save(nib.Nifti1Image(volume[..., None], np.eye(4)), tmp_path / "a.nii")
    assert load_image(tmp_path / "a.nii").data.shape == volume.shape
    sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(volume.T)]), str(tmp_path / "a.nrrd"))
    assert np.array_equal(load_image(tmp_path / "a.nrrd").data, volume)


def test_masks_and_bools(tmp_path):
    data = np.zeros((3, 4, 5), dtype=np.int16)
    data[1, 1, 1:4] = 1, -7, 255
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii.gz")
    mask = load_image(tmp_path / "a.nii.gz", "mask")
    assert mask.data.dtype == bool and mask.data.sum() == 3
    assert load_image((mask.data, np.eye(4)), "labels").data.dtype == np.uint8
    assert load_image((mask.data, np.eye(4))).data.dtype == np.float32
    save_image(tmp_path / "b.nii", mask.data, mask, labels=True)
    assert nib.load(tmp_path / "b.nii").get_data_dtype() == np.uint8


def test_whole_floating_point_labels(tmp_path):
    data = np.array([-2, 0, 1, 300], dtype=np.float64).reshape(2, 2, 1).repeat(2, axis=2)
    labels = load_image((data, np.eye(4)), "labels")
    assert labels.data.dtype == np.int16 and np.array_equal(labels.data, data)


def test_labels_stored_with_a_slope_are_whole_again():
    slope = np.float32(0.1)
    # 0.1 in single precision is not 0.1
    data = (np.arange(27).reshape(3, 3, 3) * 10) * float(slope)
    assert (data != np.round(data)).any()
    assert np.array_equal(
        load_image((data, np.eye(4)), "labels").data, np.arange(27).reshape(3, 3, 3)
    )


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 6)] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    flip=st.booleans(),
    extension=st.sampled_from(EXTENSIONS),
)
def test_any_grid_round_trips(tmp_path, volume, angles, spacing, origin, flip, extension):
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.diag([-1 if flip else 1, 1, 1]) * spacing
    affine[:3, 3] = origin
    grid = Grid(volume.shape, affine)
    save_image(tmp_path / f"a{extension}", volume, grid)
    assert load_image(tmp_path / f"a{extension}").grid.matches(grid, 1e-4)


def test_saving_refuses_what_would_mislead(tmp_path, volume, grids):
    grid = grids["oblique"]
    with pytest.raises(GridError, match=r"shape \(9, 10, 10\); the grid has \(9, 10, 11\)"):
        save_image(tmp_path / "a.nii", volume[:, :, :-1], grid)
    with pytest.raises(
        InputError, match="hold 1 voxels that are NaN or infinite; nothing was written"
    ):
        save_image(tmp_path / "a.nii", _one_nan(volume), grid)
    with pytest.raises(InputError, match="not whole numbers"):
        save_image(tmp_path / "a.nii", volume, grid, labels=True)
    with pytest.raises(OutputError, match=r"\.nii\.gz, \.mgz, \.nrrd, \.mha was expected"):
        save_image(tmp_path / "a.png", volume, grid)
    with pytest.raises(OutputError, match="create its folder first"):
        save_image(tmp_path / "nowhere" / "a.nii", volume, grid)
    assert not list(tmp_path.iterdir())


def _one_nan(volume: np.ndarray) -> np.ndarray:
    out = volume.copy()
    out[0, 0, 0] = np.nan
    return out
