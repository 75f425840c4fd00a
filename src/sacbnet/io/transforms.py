"""Transforms in and out, in ITK's conventions (contract 2): LPS, mm, points of the fixed image -> points of the moving.

What is written here is used as it is by SimpleITK, `antsApplyTransforms -t` and 3D Slicer.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nibabel.nifti1 import Nifti1Header
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from sacbnet.errors import GridError, InputError, OutputError
from sacbnet.files import atomic_file
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField, Transform

from .images import write_itk
from .itk import LPS, affine_of_itk, array_of_itk, image_to_itk, matrix_of_itk, reason
from .nifti import check_pixdim, itk_grid, named_grid, nifti_grid, nifti_image

AFFINE_FORMATS = (".mat", ".txt", ".tfm")
FIELD_FORMATS = (".nii", ".nii.gz", ".nrrd", ".mha")
_VECTOR = 1007  # NIFTI_INTENT_VECTOR
_SIGNS = np.array([-1, -1, 1], dtype=np.float32)  # RAS <-> LPS components
_SAME_MM = 1e-3


def save_displacement(path: str | Path, displacement: DisplacementField) -> None:
    """Write a displacement field that ITK reads as a DisplacementFieldTransform.

    NIfTI: (i, j, k, 1, 3) float32, intent 1007 (vector; newer ITK turns the sign of 1006), mm, LPS components, on the
    field's grid; .nrrd and .mha: the same as vector pixels. Raises GridError for a sheared grid, which ITK cannot hold
    (write the field down on `grid.orthogonal()` first); OutputError where the file cannot be written.
    """
    path = Path(path)
    grid = displacement.grid
    if not path.name.lower().endswith(FIELD_FORMATS):
        raise OutputError(
            f"{path} is no name for a displacement field; {', '.join(FIELD_FORMATS)} were expected"
        )
    if not grid.is_orthogonal:
        raise GridError(
            f"the grid of {path} is sheared, which ITK cannot hold; write the field on grid.orthogonal()"
        )
    components = displacement.displacement_mm * _SIGNS
    with atomic_file(path) as part:
        if path.name.lower().endswith((".nrrd", ".mha")):
            write_itk(part, image_to_itk(components, grid))
        else:
            image = nifti_image(components[:, :, :, None], grid)
            image.header["intent_code"] = _VECTOR
            nib.save(image, part)


def load_displacement(path: str | Path) -> DisplacementField:
    """Read a displacement field in ITK's convention, such as `save_displacement` or ANTs write it, onto ITK's grid.

    Raises InputError for what ITK would not read so: other intents, 4-D variants, SPM's absolute positions.
    """
    path = _existing(path)
    try:
        if path.name.lower().endswith((".nii", ".nii.gz")):
            return _load_nifti_field(path)
        image = sitk.ReadImage(str(path))
    except InputError:
        raise
    except Exception as error:  # nibabel and zlib raise a dozen kinds
        raise InputError(
            f"{path} cannot be read, it is damaged, cut short or no image ({reason(error)})"
        ) from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 3:
        found = (
            f"{image.GetNumberOfComponentsPerPixel()} values a voxel in {image.GetDimension()}-D"
        )
        raise InputError(f"{path} holds {found}; a displacement field has 3 in 3-D")
    grid = named_grid(image.GetSize(), affine_of_itk(image), str(path))
    return _field(grid, cast(NDArray[np.floating], array_of_itk(image)), path)


def _load_nifti_field(path: Path) -> DisplacementField:
    image = cast(SpatialImage, nib.load(path, mmap=False))
    header, shape = image.header, tuple(image.shape)
    if not isinstance(header, Nifti1Header) or len(shape) != 5 or shape[3:] != (1, 3):
        raise InputError(
            f"{path} has shape {shape}; a displacement field has (i, j, k, 1, 3): ITK reads other shapes as time "
            "series, and their frame and unit are not told"
        )
    intent = int(header["intent_code"])
    if header.get_intent()[2] == "Mapping":
        raise InputError(
            f"{path} is a deformation of SPM (absolute positions); convert it to displacements first"
        )
    if intent != _VECTOR:
        raise InputError(
            f"{path} has the intent code {intent}, whose components ITK ignores or turns, depending on its version; "
            f"write it with {_VECTOR} (vector) and LPS components"
        )
    check_pixdim(header, str(path))
    grid = nifti_grid(header, image.affine, shape[:3], str(path))
    itk = itk_grid(header, shape[:3])
    if itk is None:
        raise GridError(
            f"{path} has a sheared or singular grid, which ITK refuses; write it on an orthogonal one"
        )
    return _field(
        grid if grid.matches(itk, _SAME_MM) else itk, np.asanyarray(image.dataobj)[:, :, :, 0], path
    )


def _field(grid: Grid, components_lps: NDArray[np.floating], path: Path) -> DisplacementField:
    try:
        return DisplacementField(grid, components_lps.astype(np.float32) * _SIGNS)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def save_affine(path: str | Path, affine: Affine) -> None:
    """Write ITK's AffineTransform_double_3_3 (LPS, centre 0): .mat as ANTs' 0GenericAffine.mat, .txt or .tfm.

    Raises OutputError where the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in AFFINE_FORMATS:
        raise OutputError(
            f"{path} is no name for an affine; {', '.join(AFFINE_FORMATS)} were expected"
        )
    matrix = LPS @ affine.matrix @ LPS
    transform = sitk.AffineTransform(3)
    transform.SetMatrix((matrix[:3, :3] + 0.0).ravel().tolist())  # + 0.0: no minus before a zero
    transform.SetTranslation((matrix[:3, 3] + 0.0).tolist())
    with atomic_file(path) as part:
        sitk.WriteTransform(transform, str(part))
        # ITK does not notice a full disk here
        if sitk.ReadTransform(str(part)).GetParameters() != transform.GetParameters():
            raise OSError(f"{path.name} reads back with other values")


def load_affine(path: str | Path) -> Affine:
    """Read an ITK transform file (.mat, .txt, .tfm, .h5) that holds anything linear in 3-D, centre and all.

    Rigid, similarity, affine, translation, or several composed. Raises InputError for FSL's and FreeSurfer's matrices,
    2-D transforms and transforms that are not linear.
    """
    path = _existing(path)
    suffix = path.suffix.lower()
    if suffix not in (*AFFINE_FORMATS, ".h5"):
        hint = ": convert it with lta_convert --outitk" if suffix == ".lta" else ""
        raise InputError(
            f"{path} is no transform file of ITK ({', '.join(AFFINE_FORMATS)}, .h5){hint}"
        )
    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise InputError(
            f"{path} is not a transform that ITK reads; convert matrices of FSL with c3d_affine_tool -fsl2ras -oitk"
        ) from error
    if transform.GetDimension() != 3:
        raise InputError(
            f"{path} is a {transform.GetDimension()}-D transform; a 3-D one was expected"
        )
    if not transform.IsLinear():
        raise InputError(
            f"{path} is not linear ({transform.GetName()}); pass its displacement field as NIfTI, its affine apart"
        )
    try:
        return Affine(matrix_of_itk(transform))
    except GridError as error:
        raise InputError(f"{path}: {error}") from error


def load_transform(path: str | Path) -> Transform:
    """Read an affine or a displacement field, whichever the file holds."""
    path = _existing(path)
    return load_displacement(path) if _is_image(path) else load_affine(path)


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path} {'is a folder' if path.is_dir() else 'does not exist'}; a transform was expected"
        )
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); copy it again")
    return path


def _is_image(path: Path) -> bool:
    """By the first bytes: NIfTI (size of its header), NRRD or MetaImage."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
        if head[:2] == b"\x1f\x8b":
            with gzip.open(path) as file:
                head = file.read(12)
    except (OSError, EOFError) as error:
        raise InputError(
            f"{path} cannot be read, it is damaged or cut short ({reason(error)})"
        ) from error
    sizes = [n.to_bytes(4, order) for n in (348, 540) for order in ("little", "big")]
    return head[:4] in sizes or head.startswith((b"NRRD", b"ObjectType", b"NDims"))
