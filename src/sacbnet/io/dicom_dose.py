"""RT Dose: a dose that was carried onto another image, written as DICOM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.uid import RTDoseStorage
from pydicom.valuerep import DSfloat

from sacbnet.environment import VERSION
from sacbnet.errors import InputError, OutputError
from sacbnet.files import Claim, atomic_file
from sacbnet.imaging.image import Image

from .dicom_derived import MAKER, Derived, copy_attributes, decimals, plane, save_dataset, seed_of
from .dicom_headers import read_header
from .dicom_source import dicom_source

_KEPT = (
    *("DoseUnits", "DoseType", "DoseSummationType", "TissueHeterogeneityCorrection"),
    "ReferencedRTPlanSequence",
)
_MOST = 2**32 - 1


def dose_units(path: Path) -> str | None:
    """Find the unit of a dose file.

    Parameters
    ----------
    path : Path
        A file or folder that exists.

    Returns
    -------
    str or None
        DoseUnits: "GY" or "RELATIVE"; None if the file is no RT Dose.
    """
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    found = (read_header(file) for file in files if file.is_file())
    header = next((header for header in found if header is not None), None)
    if header is None or header.data.get("SOPClassUID") != RTDoseStorage:
        return None
    return dicom_source(str(path), "dose").text("DoseUnits") or "GY"


def check_dose_out(out: Path, source: Path | None, place: str | None) -> None:
    """Check before the work that a result can be written as RT Dose.

    Parameters
    ----------
    out : Path
        The file to write.
    source : Path or None
        The image that is carried; None: what is carried is no image.
    place : str or None
        The image on which the dose will lie; None: not known.

    Raises
    ------
    InputError
        If the source is no RT Dose, or the place is no DICOM series.
    """
    if source is None or not source.exists() or dose_units(source) is None:
        raise InputError(
            f"{out} is DICOM, which is written of an RT Dose only; write {source or 'the data'} as"
            " NIfTI, e.g. .nii.gz"
        )
    if place is None:
        raise InputError(f"{out} needs the DICOM image on which the dose lies: give --reference")
    dicom_source(place, "reference")


def save_dose(path: Path, dose: Image, source: Path, place: str, claim: Claim | None = None) -> int:
    """Write a dose that was carried onto another image.

    It belongs to the patient, the study and the frame of reference of that image. The same dose
    gives the same bytes.

    Parameters
    ----------
    path : Path
        The file to write.
    dose : Image
        The carried dose, in the unit of the source.
    source : Path
        The RT Dose file that it comes from.
    place : str
        The DICOM series on which it lies.
    claim : Claim or None, default None
        From the beginning of the work: what another process wrote since stays.

    Returns
    -------
    int
        The number of voxels that were below 0, as cubic interpolation makes them; they hold 0.

    Raises
    ------
    InputError
        If the source or the place is no DICOM object.
    OutputError
        If the grid is sheared or left-handed, or the file cannot be written.
    """
    affine, orientation = plane(dose.grid)
    if not dose.grid.is_orthogonal or np.linalg.det(affine[:3, :3]) < 0:
        raise OutputError(
            f"{path} cannot be written: the grid is sheared or left-handed, which RT Dose cannot"
            " hold; give an upright --reference, or write .nii.gz"
        )
    on, origin = dicom_source(place, "reference"), dicom_source(str(source), "dose")
    seed = seed_of(dose.data, dose.grid, origin.slices[0].uid, on.series)
    derived = Derived(on, origin, seed)
    out = derived.dataset(str(RTDoseStorage), derived.uid("dose"), derived.uid("dose series"), "")
    del out.Laterality  # images and registrations have it, objects of radiotherapy do not
    out.Modality = "RTDOSE"
    out.OperatorsName, out.SeriesNumber, out.InstanceNumber = "", 1, 1
    out.SeriesDescription = f"{origin.text('SeriesDescription')[:50]} registered".strip()
    copy_attributes(origin, out, _KEPT)
    out.DoseComment = f"carried by {MAKER} {VERSION}; {origin.text('DoseComment')}".strip("; ")[:64]
    out.DoseUnits = out.get("DoseUnits") or "GY"
    out.DoseType = out.get("DoseType") or "PHYSICAL"
    out.DoseSummationType = out.get("DoseSummationType") or "PLAN"
    out.ImagePositionPatient = decimals(affine[:3, 3])
    out.ImageOrientationPatient = decimals(np.array(orientation))
    out.PixelSpacing = decimals(dose.grid.spacing[[1, 0]])
    columns, rows, frames = dose.grid.shape
    step = float(dose.grid.spacing[2])
    (out.SliceThickness,) = decimals(np.array([step]))
    out.NumberOfFrames, out.FrameIncrementPointer = frames, 0x3004000C
    out.GridFrameOffsetVector = decimals(np.arange(frames) * step)
    out.SamplesPerPixel, out.PhotometricInterpretation = 1, "MONOCHROME2"
    out.Rows, out.Columns, out.PixelRepresentation = rows, columns, 0
    out.BitsAllocated = out.BitsStored = 32
    out.HighBit = 31
    values = dose.data.astype(np.float64)
    below = int((values < 0).sum())
    scale = DSfloat(max(float(values.max()), 1e-6) / (_MOST - 2**12), auto_format=True)
    out.DoseGridScaling = scale
    numbers = np.clip(np.rint(values / float(scale)), 0, _MOST).astype("<u4")
    out.PixelData = np.ascontiguousarray(numbers.transpose(2, 1, 0)).tobytes()
    with atomic_file(path, claim) as part:
        save_dataset(part, out)
    return below
