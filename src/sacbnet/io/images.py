"""Images in and out: NIfTI, MGH and Analyze by nibabel; NRRD, MetaImage and DICOM by SimpleITK."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.nifti1 import Nifti1Header
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from sacbnet.errors import GridError, InputError, OutputError
from sacbnet.files import atomic_file
from sacbnet.imaging.image import Image
from sacbnet.spatial.grid import Grid

from .dicom import is_dicom, read_dicom
from .itk import affine_of_itk, array_of_itk, image_to_itk, reason
from .nifti import check_pixdim, geometry_warnings, named_grid, nifti_grid, nifti_image
from .voxels import Kind, check_dtype, check_shape, convert, integer_type

NIBABEL_FORMATS = (".nii", ".nii.gz", ".mgz", ".mgh", ".hdr", ".img", ".hdr.gz", ".img.gz")
ITK_FORMATS = (".nrrd", ".nhdr", ".mha", ".mhd")
WRITABLE = (".nii", ".nii.gz", ".mgz", ".nrrd", ".mha")
ImageSource = Any  # str | Path | nibabel image | sitk.Image | (array, affine) | Image


def load_image(source: ImageSource, kind: Kind = "image") -> Image:
    """Read a 3-D image, label map or mask; anything else is an InputError or GridError of one sentence.

    source: a path (.nii, .nii.gz, .mgz, .hdr/.img, .nrrd, .mha, .mhd, a folder with one DICOM series, or one file of
    a DICOM series), a nibabel image, a SimpleITK image, a pair (array (i, j, k), 4x4 affine to mm RAS), or an Image.
    kind: "image" -> float32, must be finite and not constant; "labels" -> integers, must be whole numbers; "mask" ->
    bool, what is not 0 is inside, must not be empty. The array of a pair is shared where it needs no conversion.
    """
    image = source if isinstance(source, Image) else _read(source)
    check_shape(image.data.shape, image.name)
    if image.data.shape != image.grid.shape:
        raise GridError(
            f"{image.name} has shape {image.data.shape}, its grid {image.grid.shape}; they must agree"
        )
    data = convert(image.data, kind, image.name)
    return image if data is image.data else replace(image, data=data)


def _read(source: ImageSource) -> Image:
    """Voxels as they are stored (scaled), shape checked, values not."""
    if isinstance(source, (str, Path)):
        return _read_path(Path(source))
    if isinstance(source, SpatialImage):
        return _from_nibabel(source, source.get_filename() or "array")
    if isinstance(source, sitk.Image):
        return _from_itk(source, "array")
    if isinstance(source, tuple) and len(source) == 2:
        data = np.asarray(source[0])
        shape = check_shape(data.shape, "array")
        return Image(data.reshape(shape), named_grid(shape, source[1], "array"))
    raise InputError(
        f"a {type(source).__name__} is no image; a path, an image or (array, affine) was expected"
    )


def _read_path(path: Path) -> Image:
    name = path.name.lower()
    try:
        if not path.exists():
            raise InputError(f"{path} does not exist; check the path")
        if path.is_dir():
            return Image(*read_dicom(path))
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes); copy it again")
        if name.endswith(NIBABEL_FORMATS):
            with LoggingOutputSuppressor():  # nibabel prints what it repairs; we say it ourselves
                return _from_nibabel(cast(SpatialImage, nib.load(path, mmap=False)), str(path))
        if name.endswith(ITK_FORMATS):
            return _from_itk(sitk.ReadImage(str(path)), str(path))
        if name.endswith(".dcm") or is_dicom(path):
            return Image(*read_dicom(path))
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(
            f"{path} does not fit into the memory; the header may be damaged"
        ) from error
    except (
        Exception
    ) as error:  # the readers raise a dozen kinds: EOFError, zlib.error, RuntimeError, ...
        raise InputError(
            f"{path} cannot be read: damaged, cut short or not an image ({reason(error)})"
        ) from error
    known = ", ".join(NIBABEL_FORMATS + ITK_FORMATS)
    raise InputError(f"{path} has an unknown format; one of {known}, or DICOM, was expected")


def _from_nibabel(image: SpatialImage, name: str) -> Image:
    header: Any = image.header
    nifti = header if isinstance(header, Nifti1Header) else None
    vector = nifti is not None and int(nifti["intent_code"]) in (1006, 1007)
    shape = check_shape(image.shape, name, vector)
    check_dtype(image.get_data_dtype(), name)
    warnings: tuple[str, ...] = ()
    if nifti is not None:
        warnings = check_pixdim(_raw_header(image, nifti), name)
        grid = nifti_grid(nifti, image.affine, shape, name)
        warnings += geometry_warnings(nifti, grid, name)
    elif isinstance(
        image, nib.AnalyzeImage
    ):  # also says nothing of the orientation: read as ITK reads it
        like = Nifti1Header()
        like["pixdim"][1:4] = header["pixdim"][1:4]
        warnings = check_pixdim(like, name)
        grid = nifti_grid(like, None, shape, name)
        warnings += geometry_warnings(like, grid, name)
    else:
        grid = named_grid(shape, image.affine, name)
    return Image(np.asanyarray(image.dataobj).reshape(shape), grid, name, nifti, warnings)


def _raw_header(image: SpatialImage, header: Nifti1Header) -> Nifti1Header:
    """The header as it stands in the file: nibabel's own has voxel sizes of 0 replaced by 1."""
    holder = image.file_map.get("header", image.file_map["image"])
    if holder.filename is None and holder.fileobj is None:
        return header
    with holder.get_prepare_fileobj("rb") as file:
        return type(header).from_fileobj(cast(Any, file), check=False)


def _from_itk(image: sitk.Image, name: str) -> Image:
    components = image.GetNumberOfComponentsPerPixel()
    if components > 1:
        raise InputError(
            f"{name} holds {components} values a voxel (a displacement field? colours?); an image with one was expected"
        )
    shape = check_shape(image.GetSize(), name)
    while image.GetDimension() > 3:
        image = image[..., 0]
    if "complex" in image.GetPixelIDTypeAsString():
        raise InputError(
            f"{name} holds complex numbers; a real image was expected: take the magnitude"
        )
    return Image(array_of_itk(image), named_grid(shape, affine_of_itk(image), name), name)


def save_image(
    path: str | Path, data: NDArray[Any], like: Image | Grid, labels: bool = False
) -> None:
    """Write (i, j, k) voxels on exactly the grid of `like`: .nii, .nii.gz, .mgz, .nrrd or .mha by the extension.

    labels: write the smallest of uint8, int16, int32 that holds the values (whole numbers); else float32. NIfTI keeps
    the sform and qform of `like`'s header. The same input gives the same bytes. Raises GridError for another shape,
    InputError for values that are not finite (or not whole), OutputError where the file cannot be written.
    """
    path = Path(path)
    grid = like if isinstance(like, Grid) else like.grid
    if data.shape != grid.shape:
        raise GridError(f"the data for {path} have shape {data.shape}; the grid has {grid.shape}")
    if not path.name.lower().endswith(WRITABLE):
        raise OutputError(
            f"{path} has an extension that cannot be written; one of {', '.join(WRITABLE)} was expected"
        )
    voxels = _voxels_to_write(data, labels, path)
    with atomic_file(path) as part:
        if path.name.lower().endswith((".nrrd", ".mha")):
            write_itk(part, image_to_itk(voxels, grid))
        elif path.name.lower().endswith(".mgz"):
            nib.save(nib.MGHImage(voxels, grid.affine), part)
        else:
            nib.save(
                nifti_image(voxels, grid, None if isinstance(like, Grid) else like.header), part
            )


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


def write_itk(path: Path, image: sitk.Image) -> None:
    """Write by SimpleITK and read back, which fails where a full disk cut the file short; not every writer notices.

    NRRD is left uncompressed: a cut in its gzip trailer would show nowhere.
    """
    sitk.WriteImage(image, str(path), useCompression=path.suffix.lower() != ".nrrd")
    sitk.ReadImage(str(path))
