"""Between SimpleITK and this program: (k, j, i) voxels in LPS, and (i, j, k) voxels in RAS."""

from __future__ import annotations

import locale
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from sacbnet.errors import InputError
from sacbnet.imaging.image import Image
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import DisplacementField

from .headers import LPS, named_grid
from .voxels import check_shape

_SIGNS = np.array([-1, -1, 1], dtype=np.float32)  # RAS <-> LPS components


def affine_of_itk(image: sitk.Image | sitk.ImageFileReader) -> NDArray[np.float64]:
    """Give the affine of a 3-D image of SimpleITK.

    Parameters
    ----------
    image : sitk.Image or sitk.ImageFileReader
        The image, or a reader that has read its header.

    Returns
    -------
    ndarray, shape (4, 4)
        Voxel (i, j, k) to world mm (RAS).
    """
    header: Any = image  # SimpleITK has no types
    affine = np.eye(4)
    affine[:3, :3] = np.array(header.GetDirection()).reshape(3, 3) * np.array(header.GetSpacing())
    affine[:3, 3] = header.GetOrigin()
    return LPS @ affine


def array_of_itk(image: sitk.Image) -> NDArray[np.generic]:
    """Copy the voxels of a 3-D image of SimpleITK.

    Parameters
    ----------
    image : sitk.Image
        A 3-D image.

    Returns
    -------
    ndarray, shape (i, j, k) or (i, j, k, c)
        The voxels; with a last axis if they have several components.
    """
    array = sitk.GetArrayFromImage(image)
    return array.transpose(2, 1, 0) if array.ndim == 3 else array.transpose(2, 1, 0, 3)


def image_of_itk(image: sitk.Image, name: str, grid_only: bool = False) -> Image:
    """Convert an image of SimpleITK.

    Parameters
    ----------
    image : sitk.Image
        An image with one real number a voxel. Axes of length 1 after the third one are dropped.
    name : str
        The name for messages: a path, or "array".
    grid_only : bool, default False
        Whether the voxels do not matter. All are then 0; the image may be a time series or have
        several values a voxel.

    Returns
    -------
    Image
        The same voxels.

    Raises
    ------
    InputError
        If the image is not 3-D, or has several components or complex numbers.
    GridError
        If the directions or the spacing give no usable grid.
    """
    if grid_only:
        shape = check_shape(image.GetSize()[:3], name)
        while image.GetDimension() > 3:
            image = image[..., 0]
        grid = named_grid(shape, affine_of_itk(image), name)
        return Image(np.zeros(shape, np.uint8), grid, name)
    components = image.GetNumberOfComponentsPerPixel()
    if components > 1:
        raise InputError(
            f"{name} holds {components} values a voxel (a displacement field? colours?); an image"
            " with one was expected"
        )
    shape = check_shape(image.GetSize(), name)
    while image.GetDimension() > 3:
        image = image[..., 0]
    if "complex" in image.GetPixelIDTypeAsString():
        raise InputError(
            f"{name} holds complex numbers; a real image was expected: take the magnitude"
        )
    return Image(array_of_itk(image), named_grid(shape, affine_of_itk(image), name), name)


def image_to_itk(data: NDArray[np.generic], grid: Grid) -> sitk.Image:
    """Convert voxels on a grid to an image of SimpleITK.

    Parameters
    ----------
    data : ndarray, shape (i, j, k) or (i, j, k, c)
        The voxels; c components become vector voxels.
    grid : Grid
        The grid of the voxels, in mm (RAS), without shear.

    Returns
    -------
    sitk.Image
        The image, in LPS.
    """
    order = (2, 1, 0) if data.ndim == 3 else (2, 1, 0, 3)
    image = sitk.GetImageFromArray(
        np.ascontiguousarray(data.transpose(order)), isVector=data.ndim == 4
    )
    affine = LPS @ grid.affine
    image.SetSpacing(grid.spacing.tolist())
    image.SetDirection((affine[:3, :3] / grid.spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def lps_components(displacement: DisplacementField) -> NDArray[np.float32]:
    """Give the vectors of a displacement field in ITK's frame.

    Parameters
    ----------
    displacement : DisplacementField
        The field, with components in RAS.

    Returns
    -------
    ndarray, shape (i, j, k, 3)
        The displacement in mm, components in LPS.
    """
    return displacement.displacement_mm * _SIGNS


def field_of_lps(grid: Grid, components: NDArray[np.floating], name: str) -> DisplacementField:
    """Make a displacement field of vectors in ITK's frame.

    Parameters
    ----------
    grid : Grid
        The grid of the field, in mm (RAS).
    components : ndarray, shape (i, j, k, 3)
        The displacement in mm, components in LPS.
    name : str
        The file, for messages.

    Returns
    -------
    DisplacementField
        The field, with components in RAS.

    Raises
    ------
    InputError
        If a component is NaN or infinite.
    """
    try:
        return DisplacementField(grid, components.astype(np.float32) * _SIGNS)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def matrix_of_corners(corners: list[list[float]]) -> NDArray[np.float64]:
    """Give the matrix of a linear 3-D transform, found from the images of four points.

    This works for every kind of linear transform, whatever its parameters mean.

    Parameters
    ----------
    corners : list of list of float
        Where the transform takes the points 0, (1, 0, 0), (0, 1, 0) and (0, 0, 1), in LPS.

    Returns
    -------
    ndarray, shape (4, 4)
        Point to point, in mm (RAS).
    """
    origin, *ends = np.array(corners, dtype=np.float64)
    matrix = np.eye(4)
    matrix[:3, 3] = origin
    matrix[:3, :3] = (np.array(ends) - origin).T
    return np.asarray(LPS @ matrix @ LPS)


def itk_name(path: Path) -> str:
    """Give a path as SimpleITK takes it.

    Parameters
    ----------
    path : Path
        A file or folder.

    Returns
    -------
    str
        The path.

    Raises
    ------
    InputError
        If the path is not UTF-8. SimpleITK would end the whole process.
    """
    name = str(path)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{path} has a name that is not UTF-8, which this format cannot have; rename the file"
            " or folder"
        ) from error
    return name


@contextmanager
def plain_numbers() -> Iterator[None]:
    """Let ITK read and write numbers with a decimal point, whatever the locale.

    In a locale with a decimal comma ITK's NRRD code drops all digits behind the point. Programs
    with a window, such as 3D Slicer, may set such a locale. The locale is set back at the end. ITK
    also prints some warnings straight to stderr; meanwhile it is silent, because this program
    states the same facts in its own words.

    Yields
    ------
    None
    """
    before, place = sitk.ProcessObject.GetGlobalWarningDisplay(), locale.setlocale(locale.LC_ALL)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        locale.setlocale(locale.LC_NUMERIC, "C")
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
        locale.setlocale(locale.LC_ALL, place)
