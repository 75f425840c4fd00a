"""Image files that SimpleITK reads and writes: the common part of NRRD and MetaImage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from typing_extensions import override

from sacbnet.errors import GridError, InputError
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
    plain_numbers,
)

# Units of length as files spell them, in mm; "" and "?" stand for no unit
_MM = {"": 1.0, "?": 1.0, "mm": 1.0, "millimeter": 1.0, "millimetre": 1.0}
_MM |= {"m": 1e3, "meter": 1e3, "metre": 1e3, "cm": 10.0, "centimeter": 10.0, "centimetre": 10.0}
_MM |= {"um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "micrometer": 1e-3, "micrometre": 1e-3}
_MM |= {"nm": 1e-6, "nanometer": 1e-6, "nanometre": 1e-6}


@dataclass(frozen=True)
class Stated:
    """What a header states, or leaves out, without ITK's reader saying so.

    Parameters
    ----------
    mm : tuple of float, default (1, 1, 1)
        Millimetres in one unit of each world axis.
    warnings : tuple of str, default ()
        Sentences about what is missing or was converted.
    """

    mm: tuple[float, ...] = (1.0, 1.0, 1.0)
    warnings: tuple[str, ...] = ()


def stated(units: Sequence[str], voxel_size: bool, orientation: bool, name: str) -> Stated:
    """Say what follows from the geometry that a header states.

    Parameters
    ----------
    units : sequence of str
        The unit of each world axis; may be empty.
    voxel_size, orientation : bool
        Whether the header states them.
    name : str
        The file, for messages.

    Returns
    -------
    Stated
        The units in mm, and warnings.

    Raises
    ------
    GridError
        If a unit is not known.
    """
    scale = [_MM.get(unit.strip().lower().rstrip("s")) for unit in units[:3]]
    if None in scale:
        raise GridError(
            f"{name} gives its geometry in {' '.join(units[:3])!r}; mm, um, cm or m was expected:"
            " correct the header"
        )
    mm = tuple(s for s in scale if s is not None) if len(scale) == 3 else (1.0, 1.0, 1.0)
    warnings = []
    if mm != (1, 1, 1):
        warnings.append(
            f"{name} gives its geometry in {units[0]}; it was converted to mm, but ITK, ANTs and 3D"
            " Slicer may read it as mm"
        )
    if not voxel_size:
        warnings.append(
            f"{name} states no voxel size; 1 mm is assumed, as ITK does: write the header with the"
            " right size"
        )
    if not orientation:
        warnings.append(
            f"{name} states no orientation, so left and right cannot be told; it is read as ITK"
            " reads it: voxel axes along left, posterior, superior"
        )
    return Stated(mm, tuple(warnings))


class ItkImage(ImageFormat):
    """An image format of SimpleITK; a subclass names the suffixes and the header's check.

    Attributes
    ----------
    compressed : bool, default True
        Whether SimpleITK compresses the voxels that it writes.
    look : staticmethod[[Path], Stated]
        Reads what ITK's reader does not say. It runs before every read, and raises `InputError` for
        a damaged header at which ITK's reader would crash or allocate too much memory.
    """

    compressed: ClassVar[bool] = True
    look: ClassVar[staticmethod[[Path], Stated]]

    @override
    def read(self, path: Path) -> Image:
        """Read through SimpleITK."""
        return self._read(path, grid_only=False)

    @override
    def read_grid(self, path: Path) -> Image:
        """Read through SimpleITK, whatever the voxels hold."""
        return self._read(path, grid_only=True)

    def _read(self, path: Path, grid_only: bool) -> Image:
        facts = self.look(path)
        with plain_numbers():
            image = image_of_itk(sitk.ReadImage(itk_name(path)), str(path), grid_only)
        scale = np.diag([*facts.mm, 1.0])
        grid = named_grid(image.grid.shape, scale @ image.grid.affine, str(path))
        return replace(image, grid=grid, warnings=facts.warnings)

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
    look : staticmethod[[Path], Stated]
        Reads what ITK's reader does not say. It runs before every read, and raises `InputError` for
        a damaged header at which ITK's reader would crash or allocate too much memory.
    """

    compressed: ClassVar[bool] = True
    look: ClassVar[staticmethod[[Path], Stated]]

    @override
    def holds_vectors(self, path: Path) -> bool:
        """Look for three floating-point numbers in each voxel."""
        self.look(path)
        reader = sitk.ImageFileReader()
        reader.SetFileName(itk_name(path))
        with plain_numbers():
            reader.ReadImageInformation()
        kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
        return reader.GetNumberOfComponents() == 3 and "float" in kind

    @override
    def read(self, path: Path) -> DisplacementField:
        """Read through SimpleITK."""
        facts = self.look(path)
        if facts.mm != (1, 1, 1):
            raise InputError(f"{path} is not in mm; a displacement field in mm was expected")
        with plain_numbers():
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
    with plain_numbers():
        sitk.WriteImage(image, itk_name(path), useCompression=compressed)
        sitk.ReadImage(
            itk_name(path)
        )  # fails if a full disk cut the file; not every writer notices
