"""DICOM series through SimpleITK's GDCM: a folder with one series, or any file of a series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from typing_extensions import override

from sacbnet.errors import InputError
from sacbnet.imaging.image import Image
from sacbnet.io.format import ImageFormat
from sacbnet.io.headers import named_grid
from sacbnet.io.itk import affine_of_itk, array_of_itk, itk_name, quiet_itk
from sacbnet.io.voxels import check_shape

_SERIES, _POSITION, _ORIENTATION = "0020|000e", "0020|0032", "0020|0037"
_TILT = 1e-3  # sine of the angle between the slices' normal and their step, beyond rounding


class Dicom(ImageFormat):
    """One DICOM series. Gaps between the slices give a warning; a tilted gantry shears the grid."""

    suffixes = ()  # its files often have none

    @override
    def recognises(self, path: Path) -> bool:
        """Accept every folder, names that end with .dcm, and files with DICOM's mark."""
        return path.is_dir() or path.name.lower().endswith(".dcm") or _is_marked(path)

    @override
    def read(self, path: Path) -> Image:
        """Read all files of the series, in the order of their positions."""
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
            raise InputError(
                f"the DICOM series {path} holds colours; a grey-scale image was expected"
            )
        while image.GetDimension() > 3:
            image = image[..., 0]
        shape = check_shape(image.GetSize(), str(path))
        affine = affine_of_itk(image)
        warnings: tuple[str, ...] = ()
        if len(files) > 1:
            warnings = _check_slices(reader, len(files), affine, str(path))
        grid = named_grid(shape, affine, str(path))
        return Image(array_of_itk(image), grid, str(path), None, warnings)


def _is_marked(path: Path) -> bool:
    """Whether a file carries DICOM's mark after its preamble."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _folder_files(folder: Path) -> tuple[str, ...]:
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(itk_name(folder))
    if not series:
        raise InputError(
            f"the folder {folder} holds no DICOM series; pass an image file or the folder of one"
            " series"
        )
    named = {uid: sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid) for uid in series}
    if len(named) > 1:
        listed = "; ".join(
            f"{uid}: {len(files)} files, e.g. {Path(files[0]).name}" for uid, files in named.items()
        )
        raise InputError(
            f"the folder {folder} holds {len(named)} DICOM series ({listed}); pass one file of the"
            " series that you mean"
        )
    return tuple(named[series[0]])


def _sibling_files(path: Path) -> tuple[str, ...]:
    """All files of the series that a file belongs to, in the order of their positions.

    The file alone if it holds all slices.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(itk_name(path))
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
    """Warnings on gaps between the slices.

    ITK leaves out the shear of a tilted gantry; here it is put into `affine`.
    """
    positions, orientations = (
        _numbers(reader, count, _POSITION),
        _numbers(reader, count, _ORIENTATION),
    )
    if positions is None or orientations is None:
        return (
            f"{name} does not give the position of every slice; the slices are taken as evenly"
            " spaced",
        )
    if np.abs(orientations - orientations[0]).max() > 1e-3:
        raise InputError(
            f"{name} holds slices of several orientations (a scout?); parallel slices were expected"
        )
    normal = np.cross(orientations[0, :3], orientations[0, 3:])
    heights = positions @ normal
    if np.diff(np.sort(heights)).min() < 1e-3:
        raise InputError(
            f"{name} holds several slices at one position (several volumes?); one volume was"
            " expected"
        )
    gaps = np.diff(heights) * np.sign(heights[-1] - heights[0])
    if gaps.min() < 0:
        raise InputError(
            f"{name} gives its slices in no order of position; convert it to NIfTI, e.g. with"
            " dcm2niix"
        )
    if gaps.max() - gaps.min() > max(0.01 * float(np.median(gaps)), 2e-3):
        return (
            f"{name} has slices missing or unevenly spaced (from {gaps.min():.4g} to"
            f" {gaps.max():.4g} mm apart); they are taken as {np.linalg.norm(affine[:3, 2]):.4g} mm"
            " apart, so distances across slices are wrong",
        )
    step = (positions[-1] - positions[0]) / (count - 1)
    tilt = np.linalg.norm(step - (step @ normal) * normal) / np.linalg.norm(step)
    if tilt <= _TILT:
        return ()
    affine[:3, 2] = step * [-1, -1, 1]
    return (
        f"{name} has a tilted gantry: its grid is sheared, which ITK, ANTs and 3D Slicer would not"
        " see",
    )
