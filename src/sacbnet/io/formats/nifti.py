"""NIfTI-1 and NIfTI-2 in one file: images, and displacement fields as ITK and ANTs write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from typing_extensions import override

from sacbnet.errors import GridError, InputError
from sacbnet.imaging.image import Image
from sacbnet.io.format import FieldFormat, ImageFormat, first_bytes
from sacbnet.io.headers import VECTOR_INTENTS, check_pixdim, itk_grid, nifti_grid, nifti_image
from sacbnet.io.itk import field_of_lps, lps_components
from sacbnet.io.nibabel_images import open_nibabel, read_nibabel, save_nibabel
from sacbnet.spatial.transforms import DisplacementField

_VECTOR = 1007  # NIFTI_INTENT_VECTOR
_SAME_MM = 1e-3
_SIZES = tuple(n.to_bytes(4, order) for n in (348, 540) for order in ("little", "big"))


class Nifti(ImageFormat):
    """NIfTI images. What is written keeps the sform and qform of the image's header."""

    suffixes = (".nii", ".nii.gz")
    written = suffixes

    @override
    def read(self, path: Path) -> Image:
        """Read through nibabel; the header's geometry is checked."""
        return read_nibabel(path)

    @override
    def read_grid(self, path: Path) -> Image:
        """Read the header only."""
        return read_nibabel(path, grid_only=True)

    @override
    def write(self, path: Path, content: Image) -> None:
        """Write through nibabel, unscaled, in millimetres."""
        save_nibabel(nifti_image(content.data, content.grid, content.header), path)


class NiftiField(FieldFormat):
    """NIfTI displacement fields: (i, j, k, 1, 3) float32, intent 1007 (vector), mm, LPS components.

    Newer versions of ITK change the signs of a file with the intent 1006, so 1007 is the intent.
    """

    suffixes = (".nii", ".nii.gz")
    written = suffixes
    tools = ("itk", "ants", "slicer")

    @override
    def recognises(self, path: Path) -> bool:
        """Look at the size of the header, which is the first number in the file."""
        return first_bytes(path)[:4] in _SIZES

    @override
    def holds_vectors(self, path: Path) -> bool:
        """Look at the number of axes and at the intent code."""
        header: Any = open_nibabel(path).header
        intent = int(header["intent_code"])
        return len(header.get_data_shape()) == 5 or intent in VECTOR_INTENTS

    @override
    def read(self, path: Path) -> DisplacementField:
        """Read the field onto the grid that ITK takes from the header."""
        image = open_nibabel(path)
        header, shape = image.header, tuple(image.shape)
        if not isinstance(header, Nifti1Header) or len(shape) != 5 or shape[3:] != (1, 3):
            raise InputError(
                f"{path} has shape {shape}; a displacement field has (i, j, k, 1, 3): ITK reads"
                " other shapes as time series, and such files do not state their frame and unit"
            )
        if header.get_intent()[2] == "Mapping":
            raise InputError(
                f"{path} is a deformation of SPM (absolute positions); convert it to displacements"
                " first"
            )
        intent = int(header["intent_code"])
        if intent != _VECTOR:
            raise InputError(
                f"{path} has the intent code {intent}; depending on its version, ITK ignores the"
                f" components or changes their signs: write the file with {_VECTOR} (vector) and"
                " LPS components"
            )
        check_pixdim(header, str(path))
        grid = nifti_grid(header, image.affine, shape[:3], str(path))
        itk = itk_grid(header, shape[:3])
        if itk is None:
            raise GridError(
                f"{path} has a sheared or singular grid, which ITK refuses; write it on an"
                " orthogonal grid"
            )
        grid = grid if grid.matches(itk, _SAME_MM) else itk
        return field_of_lps(grid, np.asanyarray(image.dataobj)[:, :, :, 0], str(path))

    @override
    def write(self, path: Path, content: DisplacementField) -> None:
        """Write through nibabel."""
        image = nifti_image(lps_components(content)[:, :, :, None], content.grid)
        image.header["intent_code"] = _VECTOR
        save_nibabel(image, path)
