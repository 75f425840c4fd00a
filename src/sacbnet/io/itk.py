"""Between SimpleITK's images, (k, j, i) in LPS, and this program's arrays, (i, j, k) in RAS."""

from __future__ import annotations

import locale
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from sacbnet.spatial.grid import Grid

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS <-> LPS, its own inverse


def affine_of_itk(image: sitk.Image | sitk.ImageFileReader) -> NDArray[np.float64]:
    """4x4, voxel (i, j, k) -> world mm (RAS), of a 3-D SimpleITK image."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return LPS @ affine


def array_of_itk(image: sitk.Image) -> NDArray[np.generic]:
    """A copy of the voxels: (i, j, k), or (i, j, k, c) where they have several components."""
    array = sitk.GetArrayFromImage(image)
    return array.transpose(2, 1, 0) if array.ndim == 3 else array.transpose(2, 1, 0, 3)


def image_to_itk(data: NDArray[np.generic], grid: Grid) -> sitk.Image:
    """(i, j, k) or (i, j, k, c) voxels on a grid -> SimpleITK image (vector pixels for c components)."""
    order = (2, 1, 0) if data.ndim == 3 else (2, 1, 0, 3)
    image = sitk.GetImageFromArray(
        np.ascontiguousarray(data.transpose(order)), isVector=data.ndim == 4
    )
    affine = LPS @ grid.affine
    image.SetSpacing(grid.spacing.tolist())
    image.SetDirection((affine[:3, :3] / grid.spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def matrix_of_itk(transform: sitk.Transform) -> NDArray[np.float64]:
    """4x4, point -> point (mm, RAS), of a linear 3-D transform, whatever its parameters mean: by four points."""
    matrix = np.eye(4)
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    for axis in range(3):
        matrix[:3, axis] = (
            np.array(transform.TransformPoint(np.eye(3)[axis].tolist())) - matrix[:3, 3]
        )
    return LPS @ matrix @ LPS


@contextmanager
def quiet_itk() -> Iterator[None]:
    """ITK prints its warnings straight to stderr; where we say the same in words, it is silent meanwhile.

    It also sets the process's locale to "C" while it reads DICOM, and may leave it so (then Python reads text files as
    ASCII): that, too, is put back.
    """
    before, place = sitk.ProcessObject.GetGlobalWarningDisplay(), locale.setlocale(locale.LC_ALL)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
        locale.setlocale(locale.LC_ALL, place)


def reason(error: Exception) -> str:
    """The last line of an error's text: SimpleITK puts a traceback of its own before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
