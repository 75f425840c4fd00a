"""What DICOM objects that are derived from two series have in common.

Nothing in them depends on the hour of the run or on chance: the same registration gives the same
bytes. Identifiers are made from the content, and dates are those of the images.
"""

from __future__ import annotations

import hashlib
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat, PersonName

from sacbnet.environment import VERSION
from sacbnet.spatial.grid import Grid

from .dicom_source import DicomSource, Instance, references
from .headers import LPS

MAKER = "sacbnet"
_PATIENT = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight"),
)
_STUDY = (
    *("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
    "StudyDescription",
)
_EMPTY = {*_PATIENT[:4], *_STUDY[:5]}  # must be there, and may be empty (Type 2)
_DATES = ("Acquisition", "Content", "Series", "Study")


@dataclass(frozen=True)
class Derived:
    """Two series, and the registration that the new objects come from.

    Parameters
    ----------
    fixed, moving : DicomSource
        The series of the two images.
    seed : str
        Hash of the registration, from which identifiers are made.
    method : str
        How the registration was made, in words.
    """

    fixed: DicomSource
    moving: DicomSource
    seed: str
    method: str = field(default="")

    def uid(self, *what: object) -> str:
        """Make an identifier that depends on the registration and on nothing else.

        Parameters
        ----------
        *what : object
            What is identified.

        Returns
        -------
        str
            The identifier.
        """
        return str(generate_uid(entropy_srcs=[self.seed, *map(str, what)]))

    def dates(self) -> tuple[str, str]:
        """Find the date and time of the younger image.

        Returns
        -------
        tuple of str
            Date (YYYYMMDD) and time (HHMMSS).
        """
        found = [("19000101", "000000")]
        for source in (self.fixed, self.moving):
            for kind in _DATES:
                if day := source.text(f"{kind}Date"):
                    found.append((day, source.text(f"{kind}Time") or "000000"))
                    break
        return max(found)

    def dataset(self, sop_class: str, uid: str, series: str, modality: str) -> Dataset:
        """Begin an object of the patient and the study of the fixed image.

        Parameters
        ----------
        sop_class, uid, series : str
            Its SOP Class, its own identifier and that of its series.
        modality : str
            The modality of its series.

        Returns
        -------
        Dataset
            Patient, study, series, frame of reference and equipment.
        """
        out = Dataset()
        out.file_meta = FileMetaDataset()
        out.file_meta.MediaStorageSOPClassUID = UID(sop_class)
        out.file_meta.MediaStorageSOPInstanceUID = UID(uid)
        out.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        out.file_meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
        out.SpecificCharacterSet = "ISO_IR 192"
        out.SOPClassUID, out.SOPInstanceUID = sop_class, uid
        copy_attributes(self.fixed, out, (*_PATIENT, *_STUDY))
        for name in _EMPTY:
            if name not in out:
                setattr(out, name, "")
        out.StudyInstanceUID = self.fixed.study
        out.SeriesInstanceUID, out.Modality = series, modality
        out.SeriesDate, out.SeriesTime = self.dates()
        out.Laterality = self.fixed.text("Laterality")
        out.FrameOfReferenceUID = self.fixed.frame_of_reference
        out.PositionReferenceIndicator = self.fixed.text("PositionReferenceIndicator")
        out.Manufacturer = out.ManufacturerModelName = MAKER
        out.SoftwareVersions = out.DeviceSerialNumber = VERSION
        return out

    def refer(self, out: Dataset, fixed: bool, moving: tuple[Instance, ...]) -> None:
        """Name the objects that an object refers to, by series and study.

        Parameters
        ----------
        out : Dataset
            The object; the sequences are added to it.
        fixed : bool
            Whether it refers to the fixed image.
        moving : tuple of Instance
            The slices of the moving image that it refers to.
        """
        inside, outside = [], []
        if fixed:
            inside.append(_series_item(self.fixed, self.fixed.slices))
        if moving and self.moving.study == self.fixed.study:
            if fixed and self.moving.series == self.fixed.series:
                inside[0] = _series_item(self.fixed, (*self.fixed.slices, *moving))
            else:
                inside.append(_series_item(self.moving, moving))
        elif moving:
            study = Dataset()
            study.StudyInstanceUID = self.moving.study
            study.ReferencedSeriesSequence = Sequence([_series_item(self.moving, moving)])
            outside.append(study)
        if inside:
            out.ReferencedSeriesSequence = Sequence(inside)
        if outside:
            out.StudiesContainingOtherReferencedInstancesSequence = Sequence(outside)


def seed_of(*parts: object) -> str:
    """Hash what a registration consists of.

    Parameters
    ----------
    *parts : object
        Arrays, grids and texts.

    Returns
    -------
    str
        sha256, hexadecimal.
    """
    found = hashlib.sha256(VERSION.encode())
    for part in parts:
        if isinstance(part, Grid):
            found.update(repr(part.shape).encode() + (part.affine + 0.0).tobytes())
        elif isinstance(part, np.ndarray):
            found.update(np.ascontiguousarray(part).data)
        else:
            found.update(str(part).encode() + b"\0")
    return found.hexdigest()


def copy_attributes(source: DicomSource, out: Dataset, names: tuple[str, ...]) -> None:
    """Copy attributes, as far as they are there and not empty.

    Parameters
    ----------
    source : DicomSource
        The series that has them.
    out : Dataset
        The object that gets them.
    names : tuple of str
        Their names.
    """
    for name in names:
        value = source.header.get(name)
        if value is None or value == "":
            continue
        if isinstance(value, PersonName):  # as text, since the character set may be another
            value = str(value)
        setattr(out, name, deepcopy(value))


def code(value: str, meaning: str) -> Sequence:
    """Make a sequence with one code of DICOM's own list.

    Parameters
    ----------
    value, meaning : str
        The code and its meaning.

    Returns
    -------
    Sequence
        One item.
    """
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return Sequence([item])


def decimals(values: NDArray[np.floating]) -> list[DSfloat]:
    """Write numbers as decimal strings of at most 16 characters.

    Parameters
    ----------
    values : ndarray
        Finite numbers.

    Returns
    -------
    list of DSfloat
        One for each number.
    """
    return [DSfloat(float(v) + 0.0, auto_format=True) for v in np.ravel(values)]


def plane(grid: Grid) -> tuple[NDArray[np.float64], list[float]]:
    """Describe a grid in the frame of DICOM.

    Parameters
    ----------
    grid : Grid
        The grid.

    Returns
    -------
    affine : ndarray, shape (4, 4)
        Voxel to mm (LPS).
    orientation : list of float
        Unit vectors along the first and the second axis.
    """
    affine = np.asarray(LPS @ grid.affine)
    orientation = (affine[:3, :2] / grid.spacing[:2]).T.ravel() + 0.0
    return affine, [float(v) for v in orientation]


def save_dataset(path: Path, data: Dataset) -> None:
    """Write an object as a DICOM file.

    Parameters
    ----------
    path : Path
        The file.
    data : Dataset
        The object, with its file meta information.
    """
    data.save_as(path, enforce_file_format=True)


def _series_item(source: DicomSource, slices: tuple[Instance, ...]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = source.series
    item.ReferencedInstanceSequence = references(slices, frames=False)
    return item
