"""What DICOM objects that are derived from a series need to know of it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from sacbnet.errors import InputError

from .dicom_frames import frames_of
from .dicom_grid import stack
from .format import ImageFormat
from .formats.dicom import Dicom, headers_of
from .table import reader


@dataclass(frozen=True)
class Instance:
    """A stored object that holds one slice of a series.

    Parameters
    ----------
    sop_class, uid : str
        Its SOP Class UID and SOP Instance UID.
    frame : int or None, default None
        The number of the slice in the object, from 1; None: the object holds one slice.
    """

    sop_class: str
    uid: str
    frame: int | None = None


@dataclass(frozen=True, eq=False)
class DicomSource:
    """A series that was read: its header, and the object behind each slice.

    Parameters
    ----------
    name : str
        The path, for messages.
    header : Dataset
        The header of the first file, complete, without voxels.
    slices : tuple of Instance
        The stored slices, in the order of the third axis of the image.
    places : ndarray or None
        The slices of the image in units of stored slices; None: they are the same.
    """

    name: str
    header: Dataset = field(repr=False)
    slices: tuple[Instance, ...] = field(repr=False)
    places: NDArray[np.float64] | None = field(default=None, repr=False)

    @property
    def series(self) -> str:
        """SeriesInstanceUID."""
        return self._uid("SeriesInstanceUID")

    @property
    def study(self) -> str:
        """StudyInstanceUID."""
        return self._uid("StudyInstanceUID")

    @property
    def frame_of_reference(self) -> str:
        """FrameOfReferenceUID; where the files state none, one that belongs to the series."""
        return self._uid("FrameOfReferenceUID")

    @property
    def modality(self) -> str:
        """Modality; OT where the files state none."""
        return self.text("Modality") or "OT"

    def text(self, name: str) -> str:
        """Return an attribute of the first file as text.

        Parameters
        ----------
        name : str
            Name of the attribute.

        Returns
        -------
        str
            "" where it is absent or empty.
        """
        value = self.header.get(name)
        return "" if value is None else str(value)

    def between(self, low: float, high: float) -> tuple[Instance, ...]:
        """List the stored slices from which a part of the image comes.

        Parameters
        ----------
        low, high : float
            The part along the third axis, in voxels of the image.

        Returns
        -------
        tuple of Instance
            In their order; none if the part lies outside the image.
        """
        if self.places is not None:
            count = len(self.places)
            low, high = np.interp([low, high], np.arange(count), self.places).tolist()
        first, last = max(int(np.floor(low)), 0), min(int(np.ceil(high)), len(self.slices) - 1)
        return self.slices[first : last + 1]

    def _uid(self, name: str) -> str:
        """An identifier; made from the first object's own where it is absent."""
        return self.text(name) or str(generate_uid(entropy_srcs=[name, self.slices[0].uid]))


def dicom_source(name: str, role: str) -> DicomSource:
    """Read what derived objects need to know of a series.

    Parameters
    ----------
    name : str
        Path of an image.
    role : str
        What the image is, for the message: "fixed" or "moving".

    Returns
    -------
    DicomSource
        The header and the objects of the series.

    Raises
    ------
    InputError
        If the image is no DICOM series.
    """
    path = Path(name)
    if not path.exists() or not isinstance(reader(ImageFormat, path), Dicom):
        raise InputError(
            f"the {role} image ({name}) is no DICOM series; a DICOM result needs the patient, the"
            " study and the frame of reference of a series: give its folder, or leave DICOM out"
        )
    headers = headers_of(path)
    found = stack(frames_of(headers), name, grid_only=True)
    by_file = {header.file: header for header in headers}
    slices = []
    for frame in found.frames:
        data = by_file[frame.file].data
        number = frame.index + 1 if by_file[frame.file].count > 1 else None
        if not frame.uid or not data.get("SOPClassUID"):
            raise InputError(
                f"{frame.file} states no identifier of its object (SOPInstanceUID, SOPClassUID),"
                " so a DICOM result cannot refer to it; export the series again"
            )
        slices.append(Instance(str(data.SOPClassUID), frame.uid, number))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on values that break the standard
        header = pydicom.dcmread(found.frames[0].file, stop_before_pixels=True, force=True)
    return DicomSource(name, header, tuple(slices), found.places)


def references(instances: tuple[Instance, ...], frames: bool = True) -> Sequence:
    """Make the items of a sequence that refers to stored objects.

    Parameters
    ----------
    instances : tuple of Instance
        The slices.
    frames : bool, default True
        Whether the slices of an object with many slices are named.

    Returns
    -------
    Sequence
        One item for each object.
    """
    named: dict[str, Dataset] = {}
    for instance in instances:
        item = named.get(instance.uid)
        if item is None:
            item = named[instance.uid] = Dataset()
            item.ReferencedSOPClassUID = instance.sop_class
            item.ReferencedSOPInstanceUID = instance.uid
        if frames and instance.frame is not None:
            known = item.get("ReferencedFrameNumber") or []
            known = [known] if isinstance(known, int) else list(known)
            item.ReferencedFrameNumber = [*known, instance.frame]
    return Sequence(named.values())
