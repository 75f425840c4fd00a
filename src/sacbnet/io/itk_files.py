"""Image files that SimpleITK reads and writes: the common part of NRRD and MetaImage."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from typing_extensions import override

from sacbnet.errors import InputError
from sacbnet.imaging.image import Image
from sacbnet.spatial.transforms import DisplacementField

from .format import FieldFormat, ImageFormat
from .headers import named_grid
from .itk import (
    affine_of_itk,
    array_of_itk,
    field_of_lps,
    image_of_itk,
    image_to_itk,
    itk_name,
    lps_components,
)


class ItkImage(ImageFormat):
    """An image format of SimpleITK; a subclass names the suffixes and the header's check.

    Attributes
    ----------
    compressed : bool, default True
        Whether SimpleITK compresses the voxels that it writes.
    check_header : staticmethod[[Path], None]
        Raises `InputError` for a damaged header at which ITK's reader would crash. It runs before
        every read.
    """

    compressed: ClassVar[bool] = True
    check_header: ClassVar[staticmethod[[Path], None]]

    @override
    def read(self, path: Path) -> Image:
        """Read through SimpleITK."""
        self.check_header(path)
        return image_of_itk(sitk.ReadImage(itk_name(path)), str(path))

    @override
    def read_grid(self, path: Path) -> Image:
        """Read through SimpleITK, whatever the voxels hold."""
        self.check_header(path)
        return image_of_itk(sitk.ReadImage(itk_name(path)), str(path), grid_only=True)

    @override
    def write(self, path: Path, content: Image) -> None:
        """Write through SimpleITK and read the file back."""
        _write(path, image_to_itk(content.data, content.grid), self.compressed)


class ItkField(FieldFormat):
    """A format of SimpleITK that holds displacement fields as vector voxels, in mm and LPS.

    Attributes
    ----------
    compressed : bool, default True
        Whether SimpleITK compresses the voxels that it writes.
    check_header : staticmethod[[Path], None]
        Raises `InputError` for a damaged header at which ITK's reader would crash. It runs before
        every read.
    """

    compressed: ClassVar[bool] = True
    check_header: ClassVar[staticmethod[[Path], None]]

    @override
    def holds_vectors(self, path: Path) -> bool:
        """Look for three floating-point numbers in each voxel."""
        self.check_header(path)
        reader = sitk.ImageFileReader()
        reader.SetFileName(itk_name(path))
        reader.ReadImageInformation()
        kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
        return reader.GetNumberOfComponents() == 3 and "float" in kind

    @override
    def read(self, path: Path) -> DisplacementField:
        """Read through SimpleITK."""
        self.check_header(path)
        image = sitk.ReadImage(itk_name(path))
        components, axes = image.GetNumberOfComponentsPerPixel(), image.GetDimension()
        if axes != 3 or components != 3:
            raise InputError(
                f"{path} holds {components} values a voxel in {axes}-D; a displacement field has 3"
                " in 3-D"
            )
        grid = named_grid(image.GetSize(), affine_of_itk(image), str(path))
        return field_of_lps(grid, cast(NDArray[np.floating], array_of_itk(image)), str(path))

    @override
    def write(self, path: Path, content: DisplacementField) -> None:
        """Write through SimpleITK and read the file back."""
        _write(path, image_to_itk(lps_components(content), content.grid), self.compressed)


def _write(path: Path, image: sitk.Image, compressed: bool) -> None:
    sitk.WriteImage(image, itk_name(path), useCompression=compressed)
    sitk.ReadImage(itk_name(path))  # fails if a full disk cut the file; not every writer notices
