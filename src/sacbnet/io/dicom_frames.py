"""The headers of DICOM files, read by pydicom: each frame with its place and its scaling."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from sacbnet.errors import InputError

from .bounds import check_promise

# The group of functions that holds an attribute of a frame in multi-frame files
_GROUPS = {
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
_KINDS = (
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
    *_GROUPS,
    *dict.fromkeys(_GROUPS.values()),
    *_KINDS,
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
_SLICES = 0x00540080  # of nuclear medicine: the frames are slices
_STARTS = (b"\x08\x00", b"\x02\x00")  # of files without DICOM's mark: the first group's number


@dataclass(frozen=True)
class Frame:
    """One slice: where it lies, and how its stored numbers become values.

    Parameters
    ----------
    file : Path
        The file.
    index : int
        The frame's place in its file.
    rows, columns : int
        Size of the slice, in pixels.
    spacing : tuple of float
        Distance between rows and between columns, mm.
    stated_as : str
        The attribute that states `spacing`; "PixelSpacing" unless the file lacks it.
    position : tuple of float or None
        Centre of the first pixel, mm (LPS).
    orientation : tuple of float or None
        Directions of a row and of a column, LPS.
    slope, intercept : float
        A value is the stored number times `slope` plus `intercept`.
    number : float
        Place in the order of the series, for frames without a position.
    step : float or None
        Distance to the next slice as the header states it, mm.
    kinds : tuple of (str, str)
        Names and values of the attributes that tell volumes apart.
    uid : str
        Identifier of the file's object.
    """

    file: Path
    index: int
    rows: int
    columns: int
    spacing: tuple[float, ...]
    stated_as: str
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    slope: float
    intercept: float
    number: float
    step: float | None
    kinds: tuple[tuple[str, str], ...]
    uid: str


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
        return int(_number(self.data, "NumberOfFrames", self.file) or 1)


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


def frames_of(headers: Sequence[Header]) -> list[Frame]:
    """List the frames of a series.

    Parameters
    ----------
    headers : sequence of Header
        The headers of the files.

    Returns
    -------
    list of Frame
        In the order of the files. Copies of a file are left out.

    Raises
    ------
    InputError
        If the files hold colours, state no pixel spacing, or hold values that are no numbers.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frames = [frame for header in headers for frame in _frames(header)]
    first = {(f.uid, f.position, f.index) if f.uid else (f.file, f.index): f for f in frames[::-1]}
    kept = set(map(id, first.values()))
    return [frame for frame in frames if id(frame) in kept]


def _frames(header: Header) -> Iterator[Frame]:
    data, file, count = header.data, header.file, header.count
    _check_pixels(data, file, count)
    if count == 1 and "PerFrameFunctionalGroupsSequence" not in data:
        yield _frame(header, 0, [data], _position(data, file), data)
        return
    shared = list(data.get("SharedFunctionalGroupsSequence") or [])[:1]
    own = list(data.get("PerFrameFunctionalGroupsSequence") or [])
    if own and len(own) != count:
        raise InputError(
            f"{file} describes {len(own)} of its {count} frames; the file is damaged: export it"
            " again"
        )
    places = None if own else _places(data, file, count)
    for n in range(count):
        items = [*own[n : n + 1], *shared]
        where: Any = next((g for g in items if "PlanePositionSequence" in g), None)
        place = places[n] if places else None
        if where is not None:
            place = _position(_first(where, "PlanePositionSequence"), file)
        elif count == 1:
            place = _position(data, file)
        yield _frame(header, n, [*items, data], place, data)


def _frame(
    header: Header, n: int, items: list[Dataset], position: tuple[float, ...] | None, data: Dataset
) -> Frame:
    """The frame n; `items` may hold an attribute, the first of them that has it counts."""
    file = header.file

    def find(name: str, count: int) -> tuple[float, ...] | None:
        for item in items:
            for place in (item, _first(item, _GROUPS.get(name, ""))):
                if place is not None and (found := _numbers(place, name, count, file)):
                    return found
        return None

    def one(name: str) -> float | None:
        found = find(name, 1)
        return None if found is None else found[0]

    slope, intercept = one("RescaleSlope"), one("RescaleIntercept")
    if slope is None:
        slope = _number(data, "DoseGridScaling", file)
    orientation = find("ImageOrientationPatient", 6) or _detector(data, file, 6)
    spacing, stated_as = _spacing(find("PixelSpacing", 2), data, file)
    number = _number(data, "InstanceNumber", file) if header.count == 1 else None
    return Frame(
        file,
        n,
        int(data.Rows),
        int(data.Columns),
        spacing,
        stated_as,
        position,
        orientation,
        1.0 if slope is None else slope,
        intercept or 0.0,
        float(n) if number is None else number,
        one("SpacingBetweenSlices") or one("SliceThickness"),
        tuple(_kinds(items)),
        str(data.get("SOPInstanceUID") or ""),
    )


def _spacing(
    found: tuple[float, ...] | None, data: Dataset, file: Path
) -> tuple[tuple[float, ...], str]:
    """The size of the pixels, and the attribute that states it."""
    name = "PixelSpacing"
    for other in ("ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        if found is None:
            name, found = other, _numbers(data, other, 2, file)
    if found is None:
        raise InputError(
            f"{file} does not state the size of its pixels (PixelSpacing); convert it to NIfTI with"
            " the right voxel size"
        )
    if min(found) <= 0:
        raise InputError(f"{file} has the pixel spacing {found} mm; positive numbers were expected")
    return found, name


def _check_pixels(data: Dataset, file: Path, count: int) -> None:
    """Refuse what is no grey-scale image, and headers that promise more than the file can hold."""
    colours = str(data.get("PhotometricInterpretation") or "MONOCHROME2")
    if int(data.get("SamplesPerPixel") or 1) != 1 or not colours.startswith("MONOCHROME"):
        raise InputError(f"{file} holds colours ({colours}); a grey-scale image was expected")
    if "ModalityLUTSequence" in data:
        raise InputError(
            f"{file} maps its numbers by a table (ModalityLUTSequence); convert it to NIfTI first"
        )
    bits = int(data.get("BitsAllocated") or 0)
    voxels = int(data.Rows) * int(data.Columns) * count
    if count < 1 or bits not in (1, 8, 16, 32, 64):
        raise InputError(f"{file} has {count} frames of {bits} bits; the file is damaged")
    syntax = data.file_meta.get("TransferSyntaxUID")
    packed = syntax is not None and syntax.is_encapsulated
    # each compressed frame has a header of its own
    needed = 8 * count if packed else voxels * bits // 8
    check_promise(file, needed, voxels * max(4, bits // 8))


def _places(data: Dataset, file: Path, count: int) -> list[tuple[float, ...]] | None:
    """Positions of the frames of RT Dose and of nuclear medicine; None if the file states none."""
    pointer = data.get("FrameIncrementPointer")
    pointers = [int(p) for p in pointer] if isinstance(pointer, list | tuple) else [pointer or 0]
    offsets = _numbers(data, "GridFrameOffsetVector", count, file)
    position = _position(data, file) or _detector(data, file, 3)
    orientation = _numbers(data, "ImageOrientationPatient", 6, file) or _detector(data, file, 6)
    if offsets is None and str(data.get("Modality")) == "NM" and _SLICES in pointers:
        between = _number(data, "SpacingBetweenSlices", file) or 0.0
        vector = _numbers(data, "SliceVector", count, file) or tuple(range(count))
        offsets = tuple((v - min(vector)) * between for v in vector) if between else None
    elif offsets is None and any(p not in (0, _SLICES) for p in map(int, pointers)):
        raise InputError(
            f"{file} holds {count} frames that differ in time or otherwise, not slices of one"
            " volume; a 3-D image was expected"
        )
    if offsets is None or position is None or orientation is None:
        return None
    normal = np.cross(orientation[:3], orientation[3:])
    if offsets[0] != 0 and abs(offsets[0] - position[2]) < 1e-3:  # absolute heights
        offsets = tuple(offset - offsets[0] for offset in offsets)
    return [tuple(np.add(position, offset * normal).tolist()) for offset in offsets]


def _detector(data: Dataset, file: Path, count: int) -> tuple[float, ...] | None:
    """Position (3 numbers) or orientation (6) of the first detector of nuclear medicine."""
    item = _first(data, "DetectorInformationSequence")
    name = "ImagePositionPatient" if count == 3 else "ImageOrientationPatient"
    return None if item is None else _numbers(item, name, count, file)


def _position(item: Dataset | None, file: Path) -> tuple[float, ...] | None:
    return None if item is None else _numbers(item, "ImagePositionPatient", 3, file)


def _kinds(items: Sequence[Dataset]) -> Iterator[tuple[str, str]]:
    for name in _KINDS:
        for item in items:
            place = _first(item, _GROUPS.get(name, "")) or item
            if (value := place.get(name)) not in (None, ""):
                yield name, str(value)
                break


def _first(item: Dataset, name: str) -> Dataset | None:
    """The first item of a sequence."""
    found = item.get(name) if name else None
    return found[0] if isinstance(found, pydicom.Sequence) and len(found) else None


def _number(item: Dataset, name: str, file: Path) -> float | None:
    found = _numbers(item, name, 1, file)
    return None if found is None else found[0]


def _numbers(item: Dataset, name: str, count: int, file: Path) -> tuple[float, ...] | None:
    """The finite numbers of an attribute; None if it is absent or empty."""
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
