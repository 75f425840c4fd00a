"""DICOM series, by SimpleITK's GDCM reader: a folder that holds one series, or any file of a series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from sacbnet.errors import InputError
from sacbnet.spatial.grid import Grid

from .itk import affine_of_itk, array_of_itk, quiet_itk
from .nifti import named_grid
from .voxels import check_shape

_SERIES, _POSITION, _ORIENTATION = "0020|000e", "0020|0032", "0020|0037"
Parts = tuple[NDArray[Any], Grid, str, None, tuple[str, ...]]  # the fields of an Image


def is_dicom(path: Path) -> bool:
    """Whether a file carries DICOM's mark behind its preamble; DICOM files often have no extension."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_dicom(path: Path) -> Parts:
    """(data (i, j, k), grid, name, None, warnings) of a series; InputError where there is none, or not one volume."""
    with quiet_itk():
        files = _folder_files(path) if path.is_dir() else _sibling_files(path)
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(files)
        reader.MetaDataDictionaryArrayUpdateOn()
        try:
            image = reader.Execute()
        except RuntimeError as error:
            raise InputError(
                f"the DICOM series {path} cannot be read; files are damaged or differ in size"
            ) from error
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise InputError(f"the DICOM series {path} holds colours; a grey-scale image was expected")
    while image.GetDimension() > 3:
        image = image[..., 0]
    shape = check_shape(image.GetSize(), str(path))
    affine = affine_of_itk(image)
    warnings: tuple[str, ...] = ()
    if len(files) > 1:
        warnings = _check_slices(reader, len(files), affine, str(path))
    return array_of_itk(image), named_grid(shape, affine, str(path)), str(path), None, warnings


def _folder_files(folder: Path) -> tuple[str, ...]:
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise InputError(
            f"the folder {folder} holds no DICOM series; pass an image file or the folder of one series"
        )
    named = {uid: sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid) for uid in series}
    if len(named) > 1:
        listed = "; ".join(
            f"{uid}: {len(files)} files, e.g. {Path(files[0]).name}" for uid, files in named.items()
        )
        raise InputError(
            f"the folder {folder} holds {len(named)} DICOM series ({listed}); pass one file of the series that is meant"
        )
    return named[series[0]]


def _sibling_files(path: Path) -> tuple[str, ...]:
    """All files of the series that a file belongs to, in order of position; the file alone if it holds all slices."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("GDCMImageIO")
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"{path} is not a DICOM image, or it is damaged") from error
    size = reader.GetSize()
    if (len(size) > 2 and size[2] > 1) or not reader.HasMetaDataKey(_SERIES):
        return (str(path),)
    uid = reader.GetMetaData(_SERIES).strip("\0 ")
    return sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path.parent), uid) or (str(path),)


def _numbers(reader: sitk.ImageSeriesReader, count: int, tag: str) -> NDArray[np.float64] | None:
    if not all(reader.HasMetaDataKey(n, tag) for n in range(count)):
        return None
    return np.array(
        [[float(v) for v in reader.GetMetaData(n, tag).split("\\")] for n in range(count)]
    )


def _check_slices(
    reader: sitk.ImageSeriesReader, count: int, affine: NDArray[np.float64], name: str
) -> tuple[str, ...]:
    """Warnings on gaps between the slices; a tilted gantry's shear is put into `affine`, which ITK leaves out."""
    positions, orientations = (
        _numbers(reader, count, _POSITION),
        _numbers(reader, count, _ORIENTATION),
    )
    if positions is None or orientations is None:
        return (
            f"{name} does not give the position of every slice; the slices are taken as evenly spaced",
        )
    if np.abs(orientations - orientations[0]).max() > 1e-3:
        raise InputError(
            f"{name} holds slices of several orientations (a scout?); parallel slices were expected"
        )
    normal = np.cross(orientations[0, :3], orientations[0, 3:])
    heights = positions @ normal
    if np.diff(np.sort(heights)).min() < 1e-3:
        raise InputError(
            f"{name} holds several slices at one position (several volumes?); one volume was expected"
        )
    gaps = np.diff(heights) * np.sign(heights[-1] - heights[0])
    if gaps.min() < 0:
        raise InputError(
            f"{name} gives its slices in no order of position; convert it to NIfTI, e.g. with dcm2niix"
        )
    if gaps.max() - gaps.min() > max(0.01 * float(np.median(gaps)), 2e-3):
        return (
            f"{name} has slices missing or unevenly spaced (from {gaps.min():.4g} to {gaps.max():.4g} mm apart); they "
            f"are taken as {np.linalg.norm(affine[:3, 2]):.4g} mm apart, so distances across slices are wrong",
        )
    step = (positions[-1] - positions[0]) / (count - 1)
    tilt = np.linalg.norm(step - (step @ normal) * normal) / np.linalg.norm(step)
    if tilt <= 1e-3:
        return ()
    affine[:3, 2] = step * [-1, -1, 1]
    return (
        f"{name} has a tilted gantry: its grid is sheared, which ITK, ANTs and 3D Slicer would not see",
    )
