"""The headers of DICOM files, read by pydicom: which files are images, and what they state."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from sacbnet.errors import InputError

# The group of functions that holds an attribute of a frame in multi-frame files
GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "StackID": "FrameContentSequence",
    "TemporalPositionIndex": "FrameContentSequence",
    "FrameAcquisitionNumber": "FrameContentSequence",
    "EffectiveEchoTime": "MREchoSequence",
    "DiffusionBValue": "MRDiffusionSequence",
    "ReferencedSegmentNumber": "SegmentIdentificationSequence",
}
# What tells the volumes of one series apart
KINDS = (
    "ImageType",
    "EchoTime",
    "EffectiveEchoTime",
    "DiffusionBValue",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "ReferencedSegmentNumber",
    "StackID",
    "AcquisitionNumber",
    "FrameAcquisitionNumber",
)
_TAGS = [
    *GROUPS,
    *dict.fromkeys(GROUPS.values()),
    *KINDS,
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "InstanceNumber",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "BitsAllocated",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "GridFrameOffsetVector",
    "DoseGridScaling",
    "FrameIncrementPointer",
    "SliceVector",
    "DetectorInformationSequence",
    "SharedFunctionalGroupsSequence",
    "ModalityLUTSequence",
    "ConcatenationUID",
    "PerFrameFunctionalGroupsSequence",
]
_DEFLATED = "1.2.840.10008.1.2.1.99"
# Classes of objects without an image that may lie beside the slices: folders of media, waveforms,
# presentation states, reports, documents, radiotherapy's structures and plans, registrations
_NO_IMAGES = (
    "1.2.840.10008.1.3.10",
    *(
        f"1.2.840.10008.5.1.4.1.1.{n}"
        for n in ("9.", "11.", "88.", "104.", "481.3", "481.4", "481.5", "481.6", "481.7", "481.8")
    ),
    *(f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("66.1", "66.2", "66.3", "66.5", "66.6", "67")),
)
_STARTS = (b"\x08\x00", b"\x02\x00")  # of files without DICOM's mark: the first group's number


@dataclass(frozen=True)
class Header:
    """The header of one file of a series.

    Parameters
    ----------
    file : Path
        The file.
    data : Dataset
        The attributes that matter here, without voxels.
    """

    file: Path
    data: Dataset

    @property
    def series(self) -> str:
        """Identifier of the series; "" if there is none."""
        return str(self.data.get("SeriesInstanceUID") or "")

    @property
    def is_whole(self) -> bool:
        """Whether the file holds a series of its own: many frames, and not a part of them."""
        return self.count > 1 and "ConcatenationUID" not in self.data

    @property
    def count(self) -> int:
        """Number of frames."""
        return int(number_of(self.data, "NumberOfFrames", self.file) or 1)


def read_header(path: Path) -> Header | None:
    """Read the header of a DICOM image.

    Parameters
    ----------
    path : Path
        Any file.

    Returns
    -------
    Header or None
        None if the file is no DICOM file, or a DICOM file without an image, such as an RTSTRUCT.

    Raises
    ------
    InputError
        If the file is damaged, or compressed as a whole.
    """
    with path.open("rb") as file:
        start = file.read(132)
    marked = start[128:] == b"DICM"
    if not marked and start[:2] not in _STARTS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on values that break the standard; all are checked
            if marked and _syntax(path) == _DEFLATED:
                raise InputError(f"{path} is deflated as a whole; convert it with dcmconv +te")
            data = pydicom.dcmread(
                path, stop_before_pixels=True, force=not marked, specific_tags=_TAGS
            )
            if data.get("Rows") and data.get("Columns"):
                return Header(path, data)
            meta = data.file_meta.get("MediaStorageSOPClassUID")
            kind = str(data.get("SOPClassUID") or meta or "")
    except InputError:
        raise
    except Exception as error:  # damaged bytes can make a parser raise many kinds
        if not marked:
            return None
        raise InputError(
            f"{path} is not a DICOM image, or it is damaged; copy it again, or remove it"
        ) from error
    foreign = bool(kind) and not kind.startswith("1.2.840.10008.")  # of one maker
    if not marked or foreign or kind.startswith(_NO_IMAGES):
        return None
    raise InputError(
        f"{path} is not a DICOM image, or it is damaged: it states no size; copy it again, or"
        " remove it"
    )


def _syntax(path: Path) -> str:
    return str(pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID", ""))


def item_of(item: Dataset, name: str) -> Dataset | None:
    """Take the first item of a sequence.

    Parameters
    ----------
    item : Dataset
        The attributes.
    name : str
        Name of the sequence.

    Returns
    -------
    Dataset or None
        None if the sequence is absent or empty, or if `name` names no sequence.
    """
    found = item.get(name) if name else None
    return found[0] if isinstance(found, pydicom.Sequence) and len(found) else None


def number_of(item: Dataset, name: str, file: Path) -> float | None:
    """Take the number of an attribute.

    Parameters
    ----------
    item : Dataset
        The attributes.
    name : str
        Name of the attribute.
    file : Path
        The file, for the message.

    Returns
    -------
    float or None
        None if the attribute is absent or empty.

    Raises
    ------
    InputError
        If it is not one finite number.
    """
    found = numbers_of(item, name, 1, file)
    return None if found is None else found[0]


def numbers_of(item: Dataset, name: str, count: int, file: Path) -> tuple[float, ...] | None:
    """Take the numbers of an attribute.

    Parameters
    ----------
    item : Dataset
        The attributes.
    name : str
        Name of the attribute.
    count : int
        How many numbers it has.
    file : Path
        The file, for the message.

    Returns
    -------
    tuple of float or None
        None if the attribute is absent or empty.

    Raises
    ------
    InputError
        If these are not `count` finite numbers.
    """
    try:
        value: Any = item.get(name)
        if value is None or value == "":
            return None
        several = isinstance(value, list | tuple) or hasattr(value, "__iter__")
        found = tuple(float(v) for v in (value if several else [value]))
    except Exception as error:  # pydicom converts texts when they are asked for
        raise InputError(f"{file} holds no numbers as {name}; the file is damaged") from error
    if not found:
        return None
    if len(found) != count or not np.isfinite(found).all():
        raise InputError(
            f"{file} holds {len(found)} numbers as {name} ({found[:6]}); {count} finite ones were"
            " expected"
        )
    return found
