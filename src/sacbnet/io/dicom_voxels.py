"""The values of DICOM frames: stored numbers, each with the slope and intercept of its frame."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import pixel_array

from sacbnet.errors import InputError

from .dicom_frames import Frame
from .itk_process import run_itk

# What a decoder needs; all that could change the stored numbers is left out
_PIXELS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
)


def values_of(frames: Sequence[Frame], name: str) -> NDArray[np.generic]:
    """Read the values of slices.

    Parameters
    ----------
    frames : sequence of Frame
        Slices of one size.
    name : str
        The series, for messages.

    Returns
    -------
    ndarray, shape (slices, rows, columns)
        Integers (int32 or int64) if all slopes are 1 and all intercepts are whole numbers; else
        float32.

    Raises
    ------
    InputError
        If voxels are missing, damaged, or compressed in a way that cannot be read.
    """
    whole = all(f.slope == 1 and f.intercept == int(f.intercept) for f in frames)
    whole = whole and max(abs(f.intercept) for f in frames) < 2**30
    places: dict[Path, list[int]] = {}
    for n, frame in enumerate(frames):
        places.setdefault(frame.file, []).append(n)
    out: NDArray[Any] | None = None
    for file, stored in _stored(list(places), name):
        size = frames[0].rows, frames[0].columns
        if stored.shape[1:] != size or len(stored) <= max(frames[n].index for n in places[file]):
            raise InputError(
                f"{file} holds voxels of shape {stored.shape}, its header says {size}; the file is"
                " damaged"
            )
        integers = whole and stored.dtype.kind in "iub"
        if out is None:
            kind = np.float32 if not integers else np.int64 if stored.itemsize > 2 else np.int32
            out = np.empty((len(frames), *size), kind)
        elif out.dtype.kind == "i" and (not integers or stored.itemsize > out.itemsize // 2):
            out = out.astype(np.int64 if integers else np.float32)
        for n in places[file]:
            frame = frames[n]
            values = stored[frame.index]
            if out.dtype.kind == "i":
                out[n] = values.astype(out.dtype) + int(frame.intercept)
            else:
                out[n] = values.astype(np.float64) * frame.slope + frame.intercept
    assert out is not None
    return out


def _stored(files: Sequence[Path], name: str) -> Iterator[tuple[Path, NDArray[Any]]]:
    """The stored numbers of each file, shape (frames, rows, columns)."""
    packed: list[Path] = []
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        needed = 0
        for file in files:
            data = pydicom.dcmread(file, force=True)
            syntax = data.file_meta.get("TransferSyntaxUID", pydicom.uid.ImplicitVRLittleEndian)
            if syntax.is_encapsulated:
                _check_code(data, file)
                _plain_copy(data, Path(place) / f"{len(packed)}.dcm")
                frames = int(data.get("NumberOfFrames") or 1)
                needed += frames * int(data.Rows) * int(data.Columns) * 4
                packed.append(file)
            else:
                data.file_meta.TransferSyntaxUID = syntax
                yield file, _native(data, file)
        if not packed:
            return
        run_itk("voxels", Path(place), needed, f"the compressed voxels of {name}")
        for n, file in enumerate(packed):
            stored = np.load(Path(place) / f"{n}.npy", allow_pickle=False)
            yield file, stored.reshape(-1, *stored.shape[-2:])


def _native(data: Dataset, file: Path) -> NDArray[Any]:
    """The numbers of a file that is not compressed."""
    if not any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise InputError(f"{file} has a header and no voxels; copy it again")
    try:
        found = np.asarray(pixel_array(data, raw=True))
    except Exception as error:  # damaged bytes can make a decoder raise many kinds
        raise InputError(f"the voxels of {file} cannot be read; the file is damaged") from error
    found = found.reshape(-1, *found.shape[-2:])
    used, bits = int(data.get("BitsStored") or 0), found.dtype.itemsize * 8
    if found.dtype.kind in "iu" and 0 < used < bits and int(data.get("BitsAllocated") or 0) > 1:
        # bits above those in use may hold an overlay
        found = (found << (bits - used)) >> (bits - used)
    return found


def _check_code(data: Dataset, file: Path) -> None:
    """Compare the size that the compressed voxels state with that of the header.

    A header that lies about it would let the decoder take minutes and much memory.
    """
    count = int(data.get("NumberOfFrames") or 1)
    size = int(data.Rows), int(data.Columns)
    try:
        first = next(iter(generate_frames(data.PixelData, number_of_frames=count)))
    except Exception as error:  # damaged bytes can make a parser raise many kinds
        raise InputError(
            f"the compressed voxels of {file} cannot be read; the file is damaged"
        ) from error
    stated = coded_size(first)
    if stated is not None and stated != size:
        raise InputError(
            f"the compressed voxels of {file} cannot be read: they have {stated[0]} × {stated[1]}"
            f" pixels, its header says {size[0]} × {size[1]}"
        )


def coded_size(code: bytes) -> tuple[int, int] | None:
    """Read the size of an image from its compressed form.

    Parameters
    ----------
    code : bytes
        JPEG, lossless JPEG, JPEG-LS or JPEG 2000.

    Returns
    -------
    tuple of int or None
        (rows, columns); None for other codes.
    """
    if code[:4] == b"\xff\x4f\xff\x51":  # JPEG 2000: SOC, then SIZ
        right, bottom, left, top = (int.from_bytes(code[n : n + 4], "big") for n in (8, 12, 16, 20))
        return bottom - top, right - left
    at = 2
    while code[:2] == b"\xff\xd8" and at + 9 < len(code) and code[at] == 0xFF:
        marker, length = code[at + 1], int.from_bytes(code[at + 2 : at + 4], "big")
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return int.from_bytes(code[at + 5 : at + 7], "big"), int.from_bytes(
                code[at + 7 : at + 9], "big"
            )
        at += 1 if marker == 0xFF else length + 2
    return None


def _plain_copy(data: Dataset, path: Path) -> None:
    """Write a file that holds the compressed voxels and no scaling."""
    copy = Dataset()
    for name in _PIXELS:
        if name in data:
            copy[name] = data[name]
    copy.PhotometricInterpretation = "MONOCHROME2"  # ITK inverts the values of MONOCHROME1
    copy.file_meta = data.file_meta
    copy.save_as(path, enforce_file_format=True)
