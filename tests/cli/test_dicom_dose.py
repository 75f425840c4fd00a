"""`sacbnet apply` of an RT Dose, against SimpleITK through the same warp."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset

from sacbnet.io.images import load_image, load_reference
from sacbnet.io.transforms import save_displacement
from sacbnet.spatial.transforms import DisplacementField

from ..registration.test_dicom import make_series

DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
SCALING = 0.0007


def make_dose(path, units="GY", heights=None):
    """An axial dose of 60 Gy in the middle, on a grid of its own."""
    shape = (16, 14, 12)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    stored = np.rint(60 / SCALING * np.exp(-2 * (x**2 + y**2 + z**2))).astype(np.uint32)
    out = Dataset()
    out.file_meta = FileMetaDataset()
    out.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    out.SOPClassUID, out.SOPInstanceUID = DOSE, "1.2.9.1"
    out.SeriesInstanceUID, out.StudyInstanceUID = "1.2.9.2", "1.2.9.3"
    out.FrameOfReferenceUID, out.Modality = "1.2.9.4", "RTDOSE"
    out.PatientName, out.PatientID = "A^B", "p9"
    out.DoseUnits, out.DoseType, out.DoseSummationType = units, "PHYSICAL", "FRACTION"
    plan = Dataset()
    plan.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.5"
    plan.ReferencedSOPInstanceUID = "1.2.9.9"
    out.ReferencedRTPlanSequence = [plan]
    out.ImagePositionPatient, out.ImageOrientationPatient = [-22, -18, -4], [1, 0, 0, 0, 1, 0]
    out.PixelSpacing, out.SliceThickness, out.DoseGridScaling = [2.5, 2.0], 3, SCALING
    out.NumberOfFrames, out.FrameIncrementPointer = shape[2], 0x3004000C
    out.GridFrameOffsetVector = (np.arange(shape[2]) * 3.0).tolist() if heights is None else heights
    out.Rows, out.Columns, out.SamplesPerPixel = shape[1], shape[0], 1
    out.PhotometricInterpretation, out.PixelRepresentation = "MONOCHROME2", 0
    out.BitsAllocated = out.BitsStored = 32
    out.HighBit = 31
    out.PixelData = np.ascontiguousarray(stored.transpose(2, 1, 0)).tobytes()
    out.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def given(tmp_path):
    """A dose, a CT, and a field from the CT to the dose; the dose on the CT by SimpleITK, Gy."""
    series = make_series(tmp_path / "ct", "CT")
    grid = load_reference(series).grid
    field = DisplacementField.from_map(
        lambda p: p + 2 * np.sin(p[..., [1, 2, 0]] / 9) + [1, -2, 3], grid
    )
    save_displacement(tmp_path / "t.nii.gz", field)
    dose = make_dose(tmp_path / "dose.dcm")
    warp = sitk.DisplacementFieldTransform(
        sitk.Cast(sitk.ReadImage(str(tmp_path / "t.nii.gz")), sitk.sitkVectorFloat64)
    )
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(series))
    ct = sitk.ReadImage(names)
    # SimpleITK reads stored numbers here, and keeps the scaling as an attribute
    stored = sitk.ReadImage(str(dose), sitk.sitkFloat64)
    read = pydicom.dcmread(dose)
    scale = 1.0 if sitk.GetArrayFromImage(stored).max() < 100 else float(read.DoseGridScaling)
    moved = sitk.Resample(stored * scale, ct, warp, sitk.sitkLinear, 0.0)
    return tmp_path, series, dose, sitk.GetArrayFromImage(moved).transpose(2, 1, 0)


def apply(sacbnet, place, series, dose, out):
    return sacbnet(
        *("apply", "--transform", place / "t.nii.gz", "--reference", series),
        *("--image", dose, "--out", place / out),
    )


def inside(found, expected):
    """Not within one voxel of the edge of the dose, where ITK has no half voxel outside."""
    return (found > 0) & (expected > 0)


def test_a_dose_is_carried_in_gy(sacbnet, given) -> None:
    place, series, dose, expected = given
    done = apply(sacbnet, place, series, dose, "a.nii.gz")
    assert done.code == 0 and "is a dose; the result is in Gy, 0 outside it" in done.err
    found = load_image(place / "a.nii.gz").data
    both = inside(found, expected)
    assert both.mean() > 0.5 and expected.max() > 40
    assert np.abs(found - expected)[both].max() < 1e-3 * 60


def test_a_dose_is_written_as_rt_dose(sacbnet, given) -> None:
    place, series, dose, expected = given
    done = apply(sacbnet, place, series, dose, "a.dcm")
    assert done.code == 0, done.err
    data = pydicom.dcmread(place / "a.dcm")
    assert data.SOPClassUID == DOSE and data.Modality == "RTDOSE"
    assert (data.DoseUnits, data.DoseType, data.DoseSummationType) == ("GY", "PHYSICAL", "FRACTION")
    assert data.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == "1.2.9.9"
    assert (data.FrameOfReferenceUID, data.StudyInstanceUID) == ("1.2.1.5", "1.2.1.6")
    assert data.DoseComment.startswith("carried by sacbnet")
    assert data.PatientID == "p1" and data.SOPInstanceUID != "1.2.9.1"
    values = data.pixel_array.transpose(2, 1, 0) * float(data.DoseGridScaling)
    both = inside(values, expected)
    assert both.mean() > 0.5 and np.abs(values - expected)[both].max() < 1e-3 * 60
    again = load_image(place / "a.dcm")
    assert again.grid.matches(load_reference(series).grid)
    assert np.allclose(again.data, values, atol=1e-4)
    read = sitk.ReadImage(str(place / "a.dcm"))
    ct = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(series)))
    for corner in ((0, 0, 0), tuple(n - 1 for n in ct.GetSize())):
        apart = np.subtract(
            read.TransformIndexToPhysicalPoint(corner), ct.TransformIndexToPhysicalPoint(corner)
        )
        assert np.abs(apart).max() < 1e-3
    first = (place / "a.dcm").read_bytes()
    apply(sacbnet, place, series, dose, "b.dcm")
    assert (place / "b.dcm").read_bytes() == first


def test_a_relative_dose_is_not_called_gy(sacbnet, given) -> None:
    place, series, _, _ = given
    done = apply(sacbnet, place, series, make_dose(place / "r.dcm", "RELATIVE"), "a.dcm")
    assert done.code == 0 and "relative unit" in done.err and "Gy" not in done.err
    assert pydicom.dcmread(place / "a.dcm").DoseUnits == "RELATIVE"


def test_dicom_is_refused_in_words(sacbnet, given) -> None:
    place, series, dose, _ = given
    assert (
        apply(sacbnet, place, series, series, "a.dcm").sentence().startswith(f"{place / 'a.dcm'}")
    )
    apply(sacbnet, place, series, dose, "a.nii.gz")
    said = apply(sacbnet, place, place / "a.nii.gz", dose, "b.dcm").sentence()
    assert "the reference image" in said and "is no DICOM series" in said
    assert not (place / "a.dcm").exists() and not (place / "b.dcm").exists()
