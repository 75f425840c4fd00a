"""An image on the grid of a DICOM series, written as a DICOM series: one file a slice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
)
from pydicom.valuerep import DSfloat

from sacbnet.imaging.image import Image
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import DisplacementField

from .dicom_derived import Derived, code, copy_attributes, decimals, plane, save_dataset
from .dicom_source import DicomSource, Instance, references
from .images import load_reference

_COARSE = 4  # every so many voxels of a slice are mapped to find the slices that it comes from


@dataclass(frozen=True)
class _Kind:
    """How images of one modality are stored: class, attributes kept, attributes needed."""

    sop_class: str
    kept: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()  # Type 1: without them the general class is written
    empty: tuple[str, ...] = ()  # Type 2


_KINDS = {
    "CT": _Kind(
        str(CTImageStorage),
        ("KVP", "ConvolutionKernel", "ContrastBolusAgent"),
        empty=("KVP", "AcquisitionNumber"),
    ),
    "MR": _Kind(
        str(MRImageStorage),
        (
            *("ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType"),
            *("RepetitionTime", "EchoTime", "EchoTrainLength", "InversionTime", "FlipAngle"),
            *("MagneticFieldStrength", "SequenceName", "ContrastBolusAgent", "ProtocolName"),
        ),
        empty=(
            *("ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime"),
            "EchoTrainLength",
        ),
    ),
    "PT": _Kind(
        str(PositronEmissionTomographyImageStorage),
        (
            *("AcquisitionDate", "AcquisitionTime", "CorrectedImage", "CollimatorType"),
            *("RandomsCorrectionMethod", "AttenuationCorrectionMethod", "ReconstructionMethod"),
            *("ScatterCorrectionMethod", "DecayFactor", "RadiopharmaceuticalInformationSequence"),
            *("PatientOrientationCodeSequence", "PatientGantryRelationshipCodeSequence"),
        ),
        (
            *("Units", "CountsSource", "DecayCorrection", "ActualFrameDuration"),
            "FrameReferenceTime",
        ),
        (
            *("AcquisitionDate", "AcquisitionTime", "CorrectedImage", "CollimatorType"),
            *("RadiopharmaceuticalInformationSequence", "PatientOrientationCodeSequence"),
            "PatientGantryRelationshipCodeSequence",
        ),
    ),
}
_GENERAL = _Kind(str(SecondaryCaptureImageStorage))
_WINDOW = ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation")


@dataclass(frozen=True)
class Steps:
    """How values become whole numbers of 16 bits: value = number x slope + intercept.

    Parameters
    ----------
    slope, intercept : DSfloat
        As they stand in the file.
    """

    slope: DSfloat
    intercept: DSfloat

    def numbers(self, values: NDArray[np.floating]) -> NDArray[np.int16]:
        """Round values to the nearest step.

        Parameters
        ----------
        values : ndarray
            Values of the image.

        Returns
        -------
        ndarray of int16
            The numbers to store.
        """
        found = np.rint((values.astype(np.float64) - float(self.intercept)) / float(self.slope))
        return np.clip(found, -(2**15), 2**15 - 1).astype("<i2")


def steps_of(values: NDArray[np.floating], whole: bool, centred: bool = False) -> Steps:
    """Choose slope and intercept.

    Parameters
    ----------
    values : ndarray
        All values of the image, finite.
    whole : bool
        Whether the values of the image before it was interpolated are whole numbers: the step is
        then 1, if 16 bits hold them.
    centred : bool, default False
        Whether the intercept must be 0, as PET has it.

    Returns
    -------
    Steps
        The finest steps with which 16 bits hold all values.
    """
    low, high = float(values.min()), float(values.max())
    if whole and low >= -(2**15) and high <= 2**15 - 1:
        return Steps(DSfloat(1.0, auto_format=True), DSfloat(0.0, auto_format=True))
    if centred:
        largest = max(-low, high) or 1.0
        return Steps(_above(largest / (2**15 - 1)), DSfloat(0.0, auto_format=True))
    slope = _above((high - low) / (2**16 - 2) or 1.0)
    middle = DSfloat((low + high) / 2, auto_format=True)
    return Steps(slope, middle)


def write_series(
    folder: Path, moved: Image, derived: Derived, transform: DisplacementField, whole: bool
) -> list[str]:
    """Write the moved image as a DICOM series.

    Parameters
    ----------
    folder : Path
        An empty folder.
    moved : Image
        The image, on the grid of the fixed series.
    derived : Derived
        The two series.
    transform : DisplacementField
        The transform, fixed to moving.
    whole : bool
        Whether the values of the moving image are whole numbers.

    Returns
    -------
    list of str
        The names of the files.
    """
    kind = _kind(derived.moving)
    steps = steps_of(moved.data, whole, centred=derived.moving.modality == "PT")
    series = derived.uid("image series")
    sources = _sources(derived.moving, transform, moved.grid)
    names = []
    for k in range(moved.grid.shape[2]):
        uid = derived.uid("image", k)
        out = derived.dataset(kind.sop_class, uid, series, derived.moving.modality)
        out.SeriesNumber, out.InstanceNumber = 1, k + 1
        _describe(out, derived, kind, sources[k])
        _place(out, derived, moved.grid, k)
        _values(out, moved.data[:, :, k], steps, kind, derived.moving)
        if "NumberOfSlices" in out:
            out.NumberOfSlices, out.ImageIndex = moved.grid.shape[2], k + 1
        derived.refer(out, fixed=False, moving=sources[k])
        names.append(f"image_{k + 1:04d}.dcm")
        save_dataset(folder / names[-1], out)
    return names


def _kind(moving: DicomSource) -> _Kind:
    kind = _KINDS.get(moving.modality, _GENERAL)
    needed = kind.needed
    if kind is _KINDS["PT"] and moving.text("DecayCorrection") != "NONE":
        needed = (*needed, "DecayFactor")
    return kind if all(moving.text(name) for name in needed) else _GENERAL


def _describe(out: Dataset, derived: Derived, kind: _Kind, sources: tuple[Instance, ...]) -> None:
    """What the image is, and what it was made from."""
    moving = derived.moving
    given = list(moving.header.get("ImageType") or [])
    third = str(given[2]) if len(given) > 2 else {"CT": "AXIAL", "MR": "OTHER"}.get(moving.modality)
    out.ImageType = ["DERIVED", "SECONDARY", *([third] if third else [])]
    if kind is _KINDS["PT"]:
        out.ImageType = ["DERIVED", "PRIMARY"]
    told = moving.text("SeriesDescription")
    out.SeriesDescription = f"{told[:50]} registered".strip()
    out.DerivationDescription = derived.method
    out.DerivationCodeSequence = code("113085", "Spatial resampling")
    out.SourceImageSequence = references(sources)
    for item in out.SourceImageSequence:
        item.PurposeOfReferenceCodeSequence = code(
            "121322", "Source image for image processing operation"
        )
        item.SpatialLocationsPreserved = "NO"
    if not sources:
        del out.SourceImageSequence
    if moving.text("BodyPartExamined"):
        out.BodyPartExamined = moving.text("BodyPartExamined")
    copy_attributes(moving, out, (*kind.kept, *kind.needed))
    for name in kind.empty:
        if name not in out:
            setattr(out, name, [] if name.endswith("Sequence") else None)
    if kind is _KINDS["MR"]:
        out.ScanningSequence = out.get("ScanningSequence") or "RM"
        out.SequenceVariant = out.get("SequenceVariant") or "NONE"
    elif kind is _KINDS["PT"]:
        out.SeriesType = ["STATIC", "IMAGE"]
        out.NumberOfSlices = out.ImageIndex = 0  # counted for each slice
    elif kind is _GENERAL:
        out.ConversionType, out.PatientOrientation = "SYN", ""


def _place(out: Dataset, derived: Derived, grid: Grid, k: int) -> None:
    affine, orientation = plane(grid)
    position = affine[:3, 3] + affine[:3, 2] * k
    across, down = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(across, down)
    out.ImagePositionPatient = decimals(position)
    out.ImageOrientationPatient = decimals(np.array(orientation))
    out.PixelSpacing = decimals(grid.spacing[[1, 0]])  # between rows, between columns
    step = abs(float(normal @ affine[:3, 2]))
    (out.SliceThickness,) = (out.SpacingBetweenSlices,) = [decimals(np.array([step]))[0]]
    (out.SliceLocation,) = decimals(np.array([normal @ position]))
    if "PatientOrientationCodeSequence" not in out:  # PET has one of the two
        out.PatientPosition = derived.fixed.text("PatientPosition")
    if out.SOPClassUID == _GENERAL.sop_class:
        out.NominalScannedPixelSpacing = out.PixelSpacing


def _values(
    out: Dataset, values: NDArray[np.float32], steps: Steps, kind: _Kind, moving: DicomSource
) -> None:
    columns, rows = values.shape
    out.SamplesPerPixel, out.PhotometricInterpretation = 1, "MONOCHROME2"
    out.Rows, out.Columns = rows, columns
    out.BitsAllocated = out.BitsStored = 16
    out.HighBit, out.PixelRepresentation = 15, 1
    out.RescaleSlope, out.RescaleIntercept = steps.slope, steps.intercept
    if kind is not _KINDS["PT"]:
        given = moving.text("RescaleType")
        out.RescaleType = given or ("HU" if kind is _KINDS["CT"] else "US")
    copy_attributes(moving, out, _WINDOW)
    out.PixelData = np.ascontiguousarray(steps.numbers(values).T).tobytes()


def _sources(
    moving: DicomSource, transform: DisplacementField, grid: Grid
) -> list[tuple[Instance, ...]]:
    """The slices of the moving image between which each slice of the result was interpolated."""
    source = load_reference(moving.name).grid
    found = []
    for k in range(grid.shape[2]):
        axes = [np.append(np.arange(0, n - 1, _COARSE), n - 1) for n in grid.shape[:2]]
        index = np.stack(np.meshgrid(*axes, [k], indexing="ij"), axis=-1)
        mapped = source.voxels(transform(grid.world(index)))
        inside = ((mapped > -1) & (mapped < np.array(source.shape))).all(axis=-1)
        heights = mapped[inside][:, 2]
        found.append(moving.between(heights.min(), heights.max()) if heights.size else ())
    return found


def _above(value: float) -> DSfloat:
    """The decimal string of a number, or the next larger one: no value may lie beyond the steps."""
    found = DSfloat(value, auto_format=True)
    return found if float(found) >= value else DSfloat(value * (1 + 1e-9), auto_format=True)
