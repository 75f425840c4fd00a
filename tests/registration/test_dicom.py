"""A registration as DICOM: read back by SimpleITK and pydicom, by the words of the standard.

The series are written by pydicom, oblique, with voxels of three sizes.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset

from sacbnet.errors import InputError, OutputError
from sacbnet.imaging.resampling import carry
from sacbnet.io.images import load_image
from sacbnet.registration.dicom import REGISTRATION, write_dicom
from sacbnet.spatial.transforms import Affine, DisplacementField, chain

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
CLASSES = {"CT": "2", "MR": "4", "PT": "128", "OT": "7", "NM": "20"}
SPATIAL, DEFORMABLE = (f"1.2.840.10008.5.1.4.1.1.66.{n}" for n in (1, 3))
ANGLE = 0.2
ROW, COLUMN = np.array([1.0, 0, 0]), np.array([0, np.cos(ANGLE), np.sin(ANGLE)])


def make_series(folder, modality="MR", shape=(14, 12, 9), step=3.0, number=1, scale=1.0, **values):
    """A blob with texture; one file a slice."""
    folder.mkdir()
    rng = np.random.default_rng(number)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    data = (900 * np.exp(-2 * (x**2 + y**2 + z**2)) + 50 * rng.random(shape)).astype(np.int16)
    normal = np.cross(ROW, COLUMN)
    for k in range(shape[2]):
        out = Dataset()
        out.file_meta = FileMetaDataset()
        out.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        out.SOPClassUID = f"1.2.840.10008.5.1.4.1.1.{CLASSES[modality]}"
        out.SOPInstanceUID = f"1.2.{number}.4.{k + 1}"
        out.SeriesInstanceUID, out.StudyInstanceUID = f"1.2.{number}.7", f"1.2.{number}.6"
        out.FrameOfReferenceUID, out.Modality = f"1.2.{number}.5", modality
        out.SpecificCharacterSet, out.PatientName = "ISO_IR 100", "Müller^Änne"
        out.PatientID, out.PatientBirthDate, out.PatientSex = f"p{number}", "19500101", "F"
        out.StudyDate, out.StudyTime, out.InstanceNumber = "20240301", "101112", k + 1
        out.ImagePositionPatient = (np.array([-20.0, -15, 7]) + normal * step * k).round(9).tolist()
        out.ImageOrientationPatient = [*ROW, *COLUMN.round(12)]
        out.PixelSpacing, out.SliceThickness = [1.5, 2.25], step
        out.Rows, out.Columns, out.SamplesPerPixel = shape[1], shape[0], 1
        out.PhotometricInterpretation, out.PixelRepresentation = "MONOCHROME2", 1
        out.BitsAllocated = out.BitsStored = 16
        out.HighBit, out.RescaleSlope, out.RescaleIntercept = 15, scale, 0
        for name, value in values.items():
            setattr(out, name, value)
        out.PixelData = np.ascontiguousarray(data[:, :, k].T).tobytes()
        out.save_as(folder / f"{k}.dcm", enforce_file_format=True)
    return folder


def an_affine(rigid=True) -> Affine:
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    matrix[:3, 3] = 2.5, -1.25, 0.75
    return Affine(matrix if rigid else matrix @ np.diag([1.1, 0.9, 1, 1]))


class Case:
    """Two series and a known transform, written."""

    def __init__(self, place, modality="MR", linear=False, rigid=True, **values) -> None:
        self.fixed_name = make_series(place / "fixed", "CT", PatientPosition="HFS")
        self.moving_name = make_series(
            place / "moving", modality, (11, 13, 12), 2.5, number=2, **values
        )
        fixed, self.moving = load_image(self.fixed_name), load_image(self.moving_name)
        self.grid, self.affine = fixed.grid, an_affine(rigid)
        bend = DisplacementField.from_map(
            lambda p: p + 1.5 * np.sin(p[..., [1, 2, 0]] / 9), fixed.grid
        )
        found = self.affine if linear else chain(self.affine, bend)
        self.transform = DisplacementField.from_map(found, fixed.grid)
        self.moved = carry(self.moving, fixed, self.transform, "linear")

    def write(self, folder, **options):
        return write_dicom(
            *(folder, self.moved, self.moving, self.transform, self.affine),
            str(self.fixed_name),
            **options,
        )


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    place = tmp_path_factory.mktemp("dicom")
    case = Case(place)
    case.paths = case.write(place / "out")
    return case


def read_by_itk(paths):
    names = [str(p) for name, p in paths.items() if name != REGISTRATION]
    return sitk.ReadImage(names, sitk.sitkFloat32), names


def points_of(grid):
    rng = np.random.default_rng(0)
    return grid.world(rng.integers(0, grid.shape, (50, 3)))


@pytest.mark.parametrize(
    ("modality", "scale"), [("CT", 1.0), ("MR", 0.0013), ("PT", 0.01), ("NM", 0.3), ("OT", 1.0)]
)
def test_simpleitk_reads_the_series(tmp_path, modality, scale) -> None:
    units = {"Units": "BQML", "CountsSource": "EMISSION", "DecayCorrection": "START"}
    times = {"ActualFrameDuration": 1000, "FrameReferenceTime": 0.0, "DecayFactor": 1.0}
    case = Case(tmp_path, modality, scale=scale, **(units | times if modality == "PT" else {}))
    paths = case.write(tmp_path / "out")
    image, _ = read_by_itk(paths)
    for index in np.ndindex(2, 2, 2):
        corner = np.array(index) * (np.array(case.grid.shape) - 1)
        seen = image.TransformIndexToPhysicalPoint(corner.tolist()) * np.array([-1, -1, 1])
        assert np.abs(seen - case.grid.world(corner)).max() < 1e-3
    values = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    first = pydicom.dcmread(paths["image_0001.dcm"])
    assert first.Modality == modality
    slope = float(first.RescaleSlope)
    assert slope <= (1 if scale == 1 else 900 * scale / 2**14)
    assert np.abs(values - case.moved.data).max() <= slope * 0.501
    assert np.ptp(case.moved.data) > 100 * slope


def test_simpleitk_finds_one_series_in_the_folder(case) -> None:
    folder = str(case.paths[REGISTRATION].parent)
    first = pydicom.dcmread(case.paths["image_0001.dcm"])
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(folder, first.SeriesInstanceUID)
    assert [n.rsplit("/")[-1] for n in names] == sorted(set(case.paths) - {REGISTRATION})
    again = load_image(folder)
    assert again.grid.matches(case.grid) and np.abs(again.data - case.moved.data).max() <= 0.501


def test_slices_belong_to_the_fixed_patient_and_study(case) -> None:
    slices = [pydicom.dcmread(p) for n, p in case.paths.items() if n != REGISTRATION]
    assert len({s.SOPInstanceUID for s in slices}) == len(slices) == case.grid.shape[2]
    assert len({s.SeriesInstanceUID for s in slices}) == 1
    for data in slices:
        assert (data.StudyInstanceUID, data.FrameOfReferenceUID) == ("1.2.1.6", "1.2.1.5")
        assert data.PatientID == "p1" and str(data.PatientName) == "Müller^Änne"
        assert data.PatientPosition == "HFS" and data.ImageType[:2] == ["DERIVED", "SECONDARY"]
        assert data.SeriesInstanceUID not in ("1.2.1.7", "1.2.2.7")
        assert "sacbnet" in data.DerivationDescription
        # MR Image, Type 1 (PS3.3 A.4 and its modules)
        assert all(
            data.get(name) not in (None, "")
            for name in (
                *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
                *("Modality", "FrameOfReferenceUID", "ImageType", "PixelSpacing", "Rows"),
                *("ImageOrientationPatient", "ImagePositionPatient", "SamplesPerPixel"),
                *("PhotometricInterpretation", "Columns", "BitsAllocated", "BitsStored"),
                *("HighBit", "PixelRepresentation", "PixelData", "ScanningSequence"),
                "SequenceVariant",
            )
        )


def test_a_slice_names_the_slices_it_was_interpolated_from(case) -> None:
    """Counted here from all voxels."""
    for k in (0, 4, 8):
        data = pydicom.dcmread(case.paths[f"image_{k + 1:04d}.dcm"])
        named = [int(i.ReferencedSOPInstanceUID.split(".")[-1]) for i in data.SourceImageSequence]
        index = np.stack(np.meshgrid(*map(np.arange, case.grid.shape[:2]), [k], indexing="ij"), -1)
        mapped = case.moving.grid.voxels(case.transform(case.grid.world(index)))
        inside = ((mapped > -1) & (mapped < np.array(case.moving.grid.shape))).all(-1)
        heights = mapped[inside][:, 2].clip(0, 11)
        expected = range(int(np.floor(heights.min())) + 1, int(np.ceil(heights.max())) + 2)
        assert set(named) <= set(expected) and len(named) >= len(expected) - 1
        study = data.StudiesContainingOtherReferencedInstancesSequence[0]
        assert study.StudyInstanceUID == "1.2.2.6"
        assert study.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.2.7"


def test_the_deformation_maps_registered_to_source(case) -> None:
    """source = Post (Pre p + D), C.20.3.1.1, at the voxels of the grid."""
    data = pydicom.dcmread(case.paths[REGISTRATION])
    assert data.SOPClassUID == DEFORMABLE and data.Modality == "REG"
    assert data.FrameOfReferenceUID == "1.2.1.5"
    (item,) = data.DeformableRegistrationSequence
    assert item.SourceFrameOfReferenceUID == "1.2.2.5"
    assert len(item.ReferencedImageSequence) == 12
    pre, post = (
        np.array(s[0].FrameOfReferenceTransformationMatrix, float).reshape(4, 4)
        for s in (
            item.PreDeformationMatrixRegistrationSequence,
            item.PostDeformationMatrixRegistrationSequence,
        )
    )
    (grid,) = item.DeformableRegistrationGridSequence
    size, spacing = grid.GridDimensions, np.array(grid.GridResolution)
    vectors = np.frombuffer(grid.VectorGridData, "<f4").reshape(*size[::-1], 3)
    row, column = np.array(grid.ImageOrientationPatient, float).reshape(2, 3)
    axes = np.stack([row, column, np.cross(row, column)], axis=1) * spacing
    start = np.array(grid.ImagePositionPatient, float)
    for i, j, k in np.random.default_rng(0).integers(0, size, (50, 3)):
        p = start + axes @ (i, j, k)
        source = (pre @ [*p, 1])[:3] + vectors[k, j, i]
        source = (post @ [*source, 1])[:3]
        expected = case.transform(p * [-1, -1, 1]) * [-1, -1, 1]
        assert np.abs(source - expected).max() < 1e-3
    needed = ("ContentDate", "ContentTime", "InstanceNumber", "ContentLabel", "Manufacturer")
    needed += ("ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions")
    assert all(data.get(name) not in (None, "") for name in needed)


@pytest.mark.parametrize(("rigid", "kind"), [(True, "RIGID"), (False, "AFFINE")])
def test_the_matrix_maps_source_to_registered(tmp_path, rigid, kind) -> None:
    """C.20.2.1.1, the other direction: moving to fixed."""
    case = Case(tmp_path, linear=True, rigid=rigid)
    data = pydicom.dcmread(case.write(tmp_path / "out")[REGISTRATION])
    assert data.SOPClassUID == SPATIAL and data.FrameOfReferenceUID == "1.2.1.5"
    fixed, moving = data.RegistrationSequence
    assert (fixed.FrameOfReferenceUID, moving.FrameOfReferenceUID) == ("1.2.1.5", "1.2.2.5")
    found = []
    for item in (fixed, moving):
        (matrix,) = item.MatrixRegistrationSequence[0].MatrixSequence
        found.append(np.array(matrix.FrameOfReferenceTransformationMatrix, float).reshape(4, 4))
    assert np.array_equal(found[0], np.eye(4))
    assert matrix.FrameOfReferenceTransformationMatrixType == kind
    p = points_of(case.grid)
    source = case.transform(p) * [-1, -1, 1]
    assert np.abs(source @ found[1][:3, :3].T + found[1][:3, 3] - p * [-1, -1, 1]).max() < 1e-3
    series = {s.SeriesInstanceUID for s in data.ReferencedSeriesSequence}
    assert series == {"1.2.1.7"}
    other = data.StudiesContainingOtherReferencedInstancesSequence[0]
    assert len(other.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 12


def test_the_same_registration_gives_the_same_bytes(case, tmp_path) -> None:
    again = case.write(tmp_path / "again")
    assert list(again) == list(case.paths)
    for name, path in again.items():
        assert path.read_bytes() == case.paths[name].read_bytes()
    case.moved.data[3, 3, 3] += 40
    try:
        other = case.write(tmp_path / "other")
    finally:
        case.moved.data[3, 3, 3] -= 40
    uids = [pydicom.dcmread(p["image_0001.dcm"]).SOPInstanceUID for p in (again, other)]
    assert uids[0] != uids[1]


def test_a_folder_with_files_is_kept(case, tmp_path) -> None:
    paths = case.write(tmp_path / "out")
    with pytest.raises(OutputError, match="holds files already"):
        case.write(tmp_path / "out")
    digest = hashlib.sha256(paths[REGISTRATION].read_bytes()).digest()
    case.write(tmp_path / "out", overwrite=True)
    assert hashlib.sha256(paths[REGISTRATION].read_bytes()).digest() == digest
    (tmp_path / "out" / "mine.dcm").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"mine\.dcm"):
        case.write(tmp_path / "out", overwrite=True)


def test_an_image_that_is_no_series_is_refused(case, tmp_path) -> None:
    name = tmp_path / "a.nii.gz"
    from sacbnet.io.images import save_image

    save_image(name, case.moved.data, case.moved)
    with pytest.raises(InputError, match=r"the fixed image .* no DICOM series") as raised:
        write_dicom(
            *(tmp_path / "out", case.moved, case.moving, case.transform, case.affine), str(name)
        )
    assert len(str(raised.value)) <= 300 + len(str(name)) and not (tmp_path / "out").exists()
