"""Read and write images, of every format in the table and from memory."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from sacbnet.errors import GridError, InputError, OutputError
from sacbnet.files import Claim, atomic_file
from sacbnet.imaging.image import Image
from sacbnet.spatial.grid import Grid

from .format import ImageFormat, reason
from .headers import named_grid
from .itk import image_of_itk
from .nibabel_images import image_of_nibabel
from .table import reader, suffixes, writer, written_suffixes
from .voxels import Kind, check_dtype, check_shape, convert, integer_type, without_missing

ImageSource = Any  # str | Path | nibabel image | sitk.Image | (array, affine) | Image


def load_image(source: ImageSource, kind: Kind = "image") -> Image:
    """Read a 3-D image, label map or mask.

    Parameters
    ----------
    source : str, Path, nibabel image, sitk.Image, (ndarray, ndarray) or Image
        A path: .nii, .nii.gz, .mgz, .hdr/.img, .nrrd, .mha, .mhd, a folder with one DICOM series,
        one file of a DICOM series, or a format of another package (`sacbnet.io.table`). Or an image
        in memory. Or a pair of an array, shape (i, j, k), and its affine to mm (RAS), shape (4, 4);
        the array is shared if it needs no conversion.
    kind : {"image", "labels", "mask"}, default "image"
        "image" gives float32; the values must not be constant. Where they are NaN or infinite, the
        image gets its background (`Image.missing`). "labels" gives integers; the values must be
        whole numbers. "mask" gives bool: voxels that are not 0 are inside, and
        at least one must be.

    Returns
    -------
    Image
        The voxels and their grid in mm (RAS).

    Raises
    ------
    InputError
        If the file is missing, damaged or of an unknown format, or if its values cannot be used.
    GridError
        If the image gives no usable grid, or another shape than its grid.

    Examples
    --------
    >>> import numpy as np
    >>> image = load_image((np.arange(24).reshape(2, 3, 4), np.diag([2, 2, 2, 1])))
    >>> image.data.dtype, image.grid.spacing.tolist()
    (dtype('float32'), [2.0, 2.0, 2.0])
    """
    image = source if isinstance(source, Image) else _read(source)
    check_shape(image.data.shape, image.name)
    if image.data.shape != image.grid.shape:
        raise GridError(
            f"{image.name} has shape {image.data.shape}, its grid {image.grid.shape}; they must"
            " agree"
        )
    voxels = image.data
    if kind == "image":
        check_dtype(voxels.dtype, image.name)
        voxels, missing = without_missing(voxels, image.name)
        if missing is not None:
            image = replace(image, missing=missing)
        elif voxels is not image.data:
            count = image.data.size - int(np.count_nonzero(np.isfinite(image.data)))
            told = f"{count} voxels of {image.name} are NaN or infinite; their neighbours fill them"
            image = replace(image, warnings=(*image.warnings, told))
    data = convert(voxels, kind, image.name)
    return image if data is image.data else replace(image, data=data)


def load_reference(source: ImageSource) -> Image:
    """Read an image of which only the grid matters.

    Parameters
    ----------
    source : str, Path, nibabel image, sitk.Image, (ndarray, ndarray) or Image
        As for `load_image`. The image may be constant, hold NaN, or have several volumes, which
        share one grid.

    Returns
    -------
    Image
        The grid in mm (RAS) and the header; the voxels mean nothing.

    Raises
    ------
    InputError
        If the file is missing, damaged or of an unknown format, or has fewer than three axes.
    GridError
        If the image gives no usable grid.
    """
    return source if isinstance(source, Image) else _read(source, grid_only=True)


def _read(source: ImageSource, grid_only: bool = False) -> Image:
    """Voxels as they are stored (scaled), shape checked, values not."""
    if isinstance(source, (str, Path)):
        return _read_path(Path(source), grid_only)
    if isinstance(source, SpatialImage):
        return image_of_nibabel(source, source.get_filename() or "array", grid_only)
    if isinstance(source, sitk.Image):
        return image_of_itk(source, "array", grid_only)
    if isinstance(source, tuple) and len(source) == 2:
        data = np.asarray(source[0])
        if grid_only:
            data = np.zeros(data.shape[:3], np.uint8)
        shape = check_shape(data.shape, "array")
        return Image(data.reshape(shape), named_grid(shape, source[1], "array"))
    raise InputError(
        f"a {type(source).__name__} is no image; a path, an image or (array, affine) was expected"
    )


def _read_path(path: Path, grid_only: bool = False) -> Image:
    try:
        if not os.path.exists(path):
            raise InputError(f"{path} does not exist; check the path")
        if path.is_file() and path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes); copy it again")
        found = reader(ImageFormat, path)
        if found is not None:
            return found.read_grid(path) if grid_only else found.read(path)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(
            f"{path} does not fit into the memory; the header may be damaged"
        ) from error
    except Exception as error:  # readers raise many kinds: EOFError, zlib.error, RuntimeError, ...
        raise InputError(
            f"{path} cannot be read: damaged, cut short or not an image ({reason(error)})"
        ) from error
    known = ", ".join(suffixes(ImageFormat))
    raise InputError(f"{path} has an unknown format; one of {known}, or DICOM, was expected")


def save_image(
    path: str | Path,
    data: NDArray[Any],
    like: Image | Grid,
    labels: bool = False,
    claim: Claim | None = None,
) -> None:
    """Write voxels on exactly the grid of another image.

    The same input gives the same bytes.

    Parameters
    ----------
    path : str or Path
        The file to write: .nii, .nii.gz, .mgz, .nrrd, .mha, or a format of another package.
    data : ndarray, shape (i, j, k)
        The voxels. They are written as float32, unless `labels` is set.
    like : Image or Grid
        The grid. NIfTI files keep the sform and the qform of an image's header.
    labels : bool, default False
        Write whole numbers, in the smallest of uint8, int16 and int32 that holds them.
    claim : Claim or None, default None
        From the beginning of the work (`files.Claim`): what another process wrote since stays.

    Raises
    ------
    GridError
        If the data have another shape than the grid.
    InputError
        If a value is not finite, or if `labels` is set and a value is not a whole number.
    OutputError
        If the suffix is unknown, the file cannot be written, or another process wrote it since
        the claim.
    """
    path = Path(path)
    grid = like if isinstance(like, Grid) else like.grid
    if data.shape != grid.shape:
        raise GridError(f"the data for {path} have shape {data.shape}; the grid has {grid.shape}")
    found = writer(ImageFormat, path)
    if found is None:
        raise OutputError(
            f"{path} has an extension that cannot be written; one of"
            f" {', '.join(written_suffixes(ImageFormat))} was expected"
        )
    header = None if isinstance(like, Grid) else like.header
    image = Image(_voxels_to_write(data, labels, path), grid, str(path), header)
    with atomic_file(path, claim) as part:
        found.write(part, image)


def _voxels_to_write(data: NDArray[Any], labels: bool, path: Path) -> NDArray[Any]:
    if labels:
        whole = convert(data, "labels", f"the data for {path}")
        return whole.astype(integer_type(int(whole.min()), int(whole.max())), copy=False)
    out = np.asarray(data, dtype=np.float32)
    bad = out.size - int(np.count_nonzero(np.isfinite(out)))
    if bad:
        raise InputError(
            f"the data for {path} hold {bad} voxels that are NaN or infinite; nothing was written"
        )
    return out
