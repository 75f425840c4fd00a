"""Between nibabel's images and this program's: NIfTI, MGH and Analyze."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from isal import igzip
from nibabel.filebasedimages import SerializableImage
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.nifti1 import Nifti1Header
from nibabel.spatialimages import SpatialImage

from sacbnet.errors import InputError
from sacbnet.imaging.image import Image

from .bounds import DEFLATE, check_promise, count_of
from .format import first_bytes
from .headers import VECTOR_INTENTS, check_pixdim, geometry_warnings, named_grid, nifti_grid
from .voxels import check_dtype, check_shape

PACKED = (".gz", ".mgz")  # suffixes of files that are compressed by gzip
_MOST_EXTENSIONS = 1 << 26  # bytes between the header and the voxels of a NIfTI file


def open_nibabel(path: Path) -> SpatialImage:
    """Open an image file through nibabel; its voxels are read later.

    Parameters
    ----------
    path : Path
        A file of a format that nibabel knows.

    Returns
    -------
    SpatialImage
        The image. Its header promises no more voxels than the file can hold.

    Raises
    ------
    InputError
        If the header promises more than the file can hold, or than fits into the memory.
    """
    offset = _voxel_offset(first_bytes(path, 352))
    if offset > _MOST_EXTENSIONS:
        raise InputError(
            f"{path} cannot be read: damaged, cut short or not an image (its voxels start at byte"
            f" {offset:.6g}; at most {_MOST_EXTENSIONS} was expected)"
        )
    image = cast(SpatialImage, nib.load(path, mmap=False))
    place = image.file_map.get("image")
    if place is not None and place.filename is not None and Path(place.filename).is_file():
        width, count = image.get_data_dtype().itemsize, count_of(image.shape)
        # a scaled image is float64 until it becomes float32
        loaded = count * (width + 16)
        packed = Path(place.filename).suffix.lower() in PACKED
        check_promise(Path(place.filename), count * width, loaded, DEFLATE if packed else 1)
    return image


def _voxel_offset(head: bytes) -> float:
    """Where the voxels of a NIfTI-1 or NIfTI-2 file start; 0 for other formats."""
    for order in "<>":
        for size, kind, at in ((348, "f4", 108), (540, "i8", 168)):
            if len(head) >= 352 and np.frombuffer(head, f"{order}i4", 1)[0] == size:
                return float(np.frombuffer(head, order + kind, 1, at)[0])
    return 0.0


def read_nibabel(path: Path, grid_only: bool = False) -> Image:
    """Read an image file through nibabel.

    Parameters
    ----------
    path : Path
        A file of a format that nibabel knows.
    grid_only : bool, default False
        Whether the voxels do not matter (`image_of_nibabel`).

    Returns
    -------
    Image
        Voxels as stored, after scaling by the header.

    Raises
    ------
    InputError
        If the file does not hold one 3-D volume of real numbers.
    GridError
        If the header gives no usable grid.
    """
    with LoggingOutputSuppressor():  # nibabel prints its repairs; the image's warnings state them
        image = open_nibabel(path)
        found = image_of_nibabel(image, str(path), grid_only)
    # nibabel itself sets the flag after it has assumed a geometry
    if isinstance(image, nib.MGHImage) and first_bytes(path, 30)[28:30] == b"\0\0":
        told = (
            f"{path} states neither voxel size nor orientation (goodRASFlag 0); 1 mm and coronal"
            " slices are assumed, as FreeSurfer does"
        )
        return replace(found, warnings=(*found.warnings, told))
    return found


def save_nibabel(image: SerializableImage, path: Path) -> None:
    """Write an image file that is one stream: NIfTI, MGH.

    The gzip files are those of ISA-L, which takes a tenth of zlib's time for a field of the same
    size. They name no file and no time, so the same image gives the same bytes.

    Parameters
    ----------
    image : SerializableImage
        The image.
    path : Path
        The file; with the suffix .gz or .mgz it is compressed.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    with path.open("wb") as file:
        if path.suffix.lower() not in PACKED:
            image.to_stream(file)
            return
        with igzip.IGzipFile("", "wb", 1, file, mtime=0) as packed:
            image.to_stream(packed)


def image_of_nibabel(image: SpatialImage, name: str, grid_only: bool = False) -> Image:
    """Convert an image of nibabel.

    Parameters
    ----------
    image : SpatialImage
        Any spatial image of nibabel. Analyze states no orientation; it is read as ITK reads it.
    name : str
        The name for messages: a path, or "array".
    grid_only : bool, default False
        Whether the voxels do not matter. They are then not read, and all are 0; the image may be a
        time series or have several values a voxel.

    Returns
    -------
    Image
        Voxels as stored, after scaling by the header.

    Raises
    ------
    InputError
        If the image is not one 3-D volume of real numbers.
    GridError
        If the header gives no usable grid.
    """
    header: Any = image.header
    nifti = header if isinstance(header, Nifti1Header) else None
    vector = nifti is not None and int(nifti["intent_code"]) in VECTOR_INTENTS
    if grid_only:
        shape = check_shape(image.shape[:3], name)
    else:
        shape = check_shape(image.shape, name, vector)
        check_dtype(image.get_data_dtype(), name)
    warnings: tuple[str, ...] = ()
    if nifti is not None:
        warnings = check_pixdim(_raw_header(image, nifti), name)
        grid = nifti_grid(nifti, image.affine, shape, name)
        warnings += geometry_warnings(nifti, grid, name)
    elif isinstance(image, nib.AnalyzeImage):  # a NIfTI header without orientation means the same
        like = Nifti1Header()
        like["pixdim"][1:4] = header["pixdim"][1:4]
        warnings = check_pixdim(like, name)
        grid = nifti_grid(like, None, shape, name)
        warnings += geometry_warnings(like, grid, name)
    else:
        grid = named_grid(shape, image.affine, name)
    data = np.zeros(shape, np.uint8) if grid_only else np.asanyarray(image.dataobj).reshape(shape)
    return Image(data, grid, name, nifti, warnings)


def _raw_header(image: SpatialImage, header: Nifti1Header) -> Nifti1Header:
    """The header as it stands in the file: nibabel's own has voxel sizes of 0 replaced by 1."""
    holder = image.file_map.get("header", image.file_map["image"])
    if holder.filename is None and holder.fileobj is None:
        return header
    with holder.get_prepare_fileobj("rb") as file:
        found: Nifti1Header = type(header).from_fileobj(cast(Any, file), check=False)
        return found
