"""DICOM series, written here by SimpleITK slice by slice."""

from __future__ import annotations

import locale

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from sacbnet.errors import InputError
from sacbnet.io.images import load_image

TURN = Rotation.from_euler("xyz", [10, 20, 5], degrees=True).as_matrix()
SPACING = np.array([0.5, 0.75, 2.0])
ORIGIN = np.array([-30.0, 12.0, 400.0])


def _write(folder, uid="1.2.3.1", count=6, offsets=None, tilt=0.0, suffix=".dcm", seed=0, skip=()):
    """Slices (k, j, i) int16 in LPS; offsets: position of each along the normal, in slices."""
    folder.mkdir(exist_ok=True)
    data = np.random.default_rng(seed).integers(-1000, 1000, (count, 7, 8)).astype(np.int16)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetImageIO("GDCMImageIO")
    for k in range(count):
        if k in skip:
            continue
        step = (k if offsets is None else offsets[k]) * SPACING[2]
        position = ORIGIN + TURN @ np.array([0, tilt * step, step])
        image = sitk.GetImageFromArray(data[k][None])
        image.SetSpacing(SPACING.tolist())
        tags = {
            "0020|000e": uid,
            "0020|000d": "1.2.3",
            "0008|0018": f"{uid}.{k + 1}",
            "0020|0032": "\\".join(f"{v:.10g}" for v in position),
            "0020|0037": "\\".join(f"{v:.10g}" for v in TURN[:, :2].T.ravel()),
            "0020|0013": str(k + 1),
            "0008|0060": "MR",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        # names out of order
        writer.SetFileName(str(folder / f"{uid}-{(k * 5) % count:03d}{suffix}"))
        writer.Execute(image)
    return data


def _affine() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = TURN * SPACING
    affine[:3, 3] = ORIGIN
    affine[:2] *= -1
    return affine


@pytest.mark.parametrize("suffix", [".dcm", ""])
def test_a_folder_and_one_file_of_it(tmp_path, suffix):
    data = _write(tmp_path / "a", suffix=suffix)
    (tmp_path / "a" / "notes.txt").write_text("not DICOM")
    for source in (
        tmp_path / "a",
        next(p for p in (tmp_path / "a").iterdir() if p.name != "notes.txt"),
    ):
        image = load_image(source)
        assert np.array_equal(image.data, data.T)
        assert np.allclose(image.grid.affine, _affine(), atol=1e-4)
        assert image.warnings == () and image.name == str(source)


def test_several_series(tmp_path):
    _write(tmp_path / "a")
    other = _write(tmp_path / "a", uid="1.2.3.2", count=4, seed=1)
    with pytest.raises(InputError, match="2 DICOM series") as caught:
        load_image(tmp_path / "a")
    for words in ("1.2.3.1: 6 files", "1.2.3.2: 4 files", "pass one file of the series"):
        assert words in str(caught.value)
    assert np.array_equal(load_image(tmp_path / "a" / "1.2.3.2-000.dcm").data, other.T)


def test_no_series_and_one_slice(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match="holds no DICOM series"):
        load_image(tmp_path / "a")
    _write(tmp_path / "b", count=1)
    with pytest.raises(InputError, match="is a single slice"):
        load_image(tmp_path / "b")


def test_missing_and_uneven_slices_are_told(tmp_path, capfd):
    _write(tmp_path / "a", skip=(2,))
    assert (
        "slices missing or unevenly spaced (from 2 to 4 mm apart)"
        in load_image(tmp_path / "a").warnings[0]
    )
    _write(tmp_path / "b", offsets=[0, 1, 2, 3.2, 4, 5])
    assert "from 1.6 to 2.4 mm" in load_image(tmp_path / "b").warnings[0]
    assert sitk.ProcessObject.GetGlobalWarningDisplay()  # silenced only meanwhile
    assert "WARNING" not in capfd.readouterr().err


def test_several_volumes_in_one_series(tmp_path):
    _write(tmp_path / "a", offsets=[0, 1, 2, 0, 1, 2])
    with pytest.raises(InputError, match="several slices at one position"):
        load_image(tmp_path / "a")


def test_tilted_gantry_keeps_its_shear(tmp_path):
    data = _write(tmp_path / "a", tilt=0.2)
    image = load_image(tmp_path / "a")
    expected = _affine()
    expected[:3, 2] = np.array([-1, -1, 1]) * (TURN @ [0, 0.2 * 2, 2])
    assert np.allclose(image.grid.affine, expected, atol=1e-4) and not image.grid.is_orthogonal
    assert np.array_equal(image.data, data.T)
    assert "tilted gantry" in image.warnings[0]


def test_the_locale_is_left_as_it_was(tmp_path):
    """ITK's reader of DICOM sets it to "C"; Python would then take text files for ASCII."""
    _write(tmp_path)
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, "C.UTF-8")
        load_image(tmp_path)
        assert locale.setlocale(locale.LC_CTYPE) == "C.UTF-8"
    finally:
        locale.setlocale(locale.LC_ALL, before)
