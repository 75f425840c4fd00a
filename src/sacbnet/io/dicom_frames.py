"""The frames of a DICOM series: each slice with its place and its scaling."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from sacbnet.errors import InputError

from .bounds import check_promise
from .dicom_headers import GROUPS, KINDS, Header, item_of, number_of, numbers_of

_SLICES = 0x00540080  # of nuclear medicine: the frames are slices


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
            place = _position(item_of(where, "PlanePositionSequence"), file)
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
            for place in (item, item_of(item, GROUPS.get(name, ""))):
                if place is not None and (found := numbers_of(place, name, count, file)):
                    return found
        return None

    def one(name: str) -> float | None:
        found = find(name, 1)
        return None if found is None else found[0]

    slope, intercept = one("RescaleSlope"), one("RescaleIntercept")
    if slope is None:
        slope = number_of(data, "DoseGridScaling", file)
    orientation = find("ImageOrientationPatient", 6) or _detector(data, file, 6)
    spacing, stated_as = _spacing(find("PixelSpacing", 2), data, file)
    number = number_of(data, "InstanceNumber", file) if header.count == 1 else None
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
            name, found = other, numbers_of(data, other, 2, file)
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
    offsets = numbers_of(data, "GridFrameOffsetVector", count, file)
    position = _position(data, file) or _detector(data, file, 3)
    orientation = numbers_of(data, "ImageOrientationPatient", 6, file) or _detector(data, file, 6)
    if offsets is None and str(data.get("Modality")) == "NM" and _SLICES in pointers:
        between = number_of(data, "SpacingBetweenSlices", file) or 0.0
        vector = numbers_of(data, "SliceVector", count, file) or tuple(range(count))
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
    item = item_of(data, "DetectorInformationSequence")
    name = "ImagePositionPatient" if count == 3 else "ImageOrientationPatient"
    return None if item is None else numbers_of(item, name, count, file)


def _position(item: Dataset | None, file: Path) -> tuple[float, ...] | None:
    return None if item is None else numbers_of(item, "ImagePositionPatient", 3, file)


def _kinds(items: Sequence[Dataset]) -> Iterator[tuple[str, str]]:
    for name in KINDS:
        for item in items:
            place = item_of(item, GROUPS.get(name, "")) or item
            if (value := place.get(name)) not in (None, ""):
                yield name, str(value)
                break
