"""FSL: matrices of FLIRT, and relative warp fields of FNIRT.

FSL counts in millimetres from the first voxel along the voxel axes, whatever the header's
directions. Its first axis is mirrored if the header is right-handed. So its numbers mean nothing
without both images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sacbnet.errors import GridError, InputError
from sacbnet.io.convention import Between, Convention
from sacbnet.io.format import TransformFormat, first_bytes
from sacbnet.io.headers import check_pixdim, nifti_grid, nifti_image
from sacbnet.io.matrices import matrix_text, numbers_of
from sacbnet.io.nibabel_images import open_nibabel, save_nibabel
from sacbnet.spatial.composition import AnyTransform, densely
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField, chain

_WHY = "counts in FSL's scaled voxels"
_RELATIVE = 2006  # NIFTI intent of FSL: displacements of FNIRT
_COEFFICIENTS = (2007, 2008, 2009, 2016, 2017, 2018)


def _scaled(grid: Grid) -> NDArray[np.float64]:
    """World mm (RAS) to FSL's coordinates of an image, 4x4."""
    own = np.diag([*grid.spacing, 1.0])
    if np.linalg.det(grid.affine[:3, :3]) > 0:
        own[0] *= -1
        own[0, 3] = (grid.shape[0] - 1) * grid.spacing[0]
    return np.asarray(own @ grid.inverse_affine)


class Flirt(TransformFormat):
    """Matrices of FLIRT: the 16 numbers of a 4x4 matrix as text."""

    suffixes = (".mat",)
    written = suffixes
    tools = ("fsl",)
    dense = False
    needs_images = True
    convention = Convention(
        "points of moving -> points of fixed (FLIRT's -in to its -ref); inverted when it is read",
        "mm",
        "FSL's scaled voxels of each image, first axis mirrored if its header is right-handed",
    )

    @override
    def recognises(self, path: Path) -> bool:
        """Look for 16 numbers, the last four of them 0 0 0 1."""
        return path.name.lower().endswith(self.suffixes) and _matrix(path) is not None

    @override
    def read_between(self, path: Path, between: Between) -> Affine:
        """Read the matrix in the frames of the two images."""
        fixed, moving = between.both(path, _WHY)
        matrix = _matrix(path)
        if matrix is None:
            raise InputError(f"{path} holds no 4x4 matrix of FLIRT; 16 numbers were expected")
        try:
            into = Affine(matrix).inverse.matrix
        except GridError as error:
            raise InputError(f"{path}: {error}") from error
        return Affine(np.linalg.inv(_scaled(moving)) @ into @ _scaled(fixed))

    @override
    def write_between(self, path: Path, content: AnyTransform, between: Between) -> None:
        """Write the matrix in the frames of the two images."""
        fixed, moving = between.both(path, _WHY)
        assert isinstance(content, Affine)
        into = _scaled(moving) @ content.matrix @ np.linalg.inv(_scaled(fixed))
        path.write_text(matrix_text(np.linalg.inv(into)), encoding="ascii")


class Fnirt(TransformFormat):
    """Relative warp fields of FNIRT: NIfTI (i, j, k, 3) with FSL's intent 2006."""

    suffixes = (".nii", ".nii.gz")
    written = suffixes
    tools = ("fsl",)
    linear = False
    needs_images = True
    convention = Convention(
        "points of fixed -> points of moving (from FNIRT's --ref to its --in)",
        "mm",
        "FSL's scaled voxels of each image, first axis mirrored if its header is right-handed",
    )

    @override
    def recognises(self, path: Path) -> bool:
        """Look at the intent code."""
        if not path.name.lower().endswith(self.suffixes) or first_bytes(path, 4)[:1] == b"":
            return False
        try:
            header: Any = nib.load(path).header
        except Exception:  # nibabel raises many kinds; another format says what is wrong
            return False
        intent = int(header["intent_code"]) if "intent_code" in header else 0
        return intent in (_RELATIVE, *_COEFFICIENTS)

    @override
    def read_between(self, path: Path, between: Between) -> DisplacementField:
        """Read the field onto its own grid, in the frames of both images."""
        image: Any = open_nibabel(path)
        intent, shape = int(image.header["intent_code"]), tuple(image.shape)
        if intent in _COEFFICIENTS:
            raise InputError(
                f"{path} holds coefficients of FNIRT; a field was expected: write it with"
                " fnirtfileutils --in=COEFFICIENTS --ref=FIXED --out=FIELD --withaff"
            )
        if len(shape) != 4 or shape[3] != 3:
            raise InputError(
                f"{path} has shape {shape}; a field of FNIRT has (i, j, k, 3): write it again with"
                " convertwarp --relout"
            )
        check_pixdim(image.header, str(path))
        grid = nifti_grid(image.header, image.affine, shape[:3], str(path))
        _, moving = Between(grid, between.moving).both(path, _WHY)
        u = np.asanyarray(image.dataobj).astype(np.float64)
        into, out = Affine(_scaled(grid)), Affine(_scaled(moving)).inverse
        index = np.moveaxis(np.indices(grid.shape), 0, -1)
        world = grid.world(index)
        try:
            there = out(into(world) + u)
            return DisplacementField(grid, (there - world).astype(np.float32))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    @override
    def write_between(self, path: Path, content: AnyTransform, between: Between) -> None:
        """Write the field on the fixed image's grid."""
        fixed, moving = between.both(path, _WHY)
        into, there = Affine(_scaled(fixed)), Affine(_scaled(moving))
        # in FSL's coordinates the map leads from scaled voxels to scaled voxels
        field = densely(chain(there, content, into.inverse), _placed(fixed))
        image = nifti_image(np.ascontiguousarray(field.displacement_mm), fixed)
        image.header["intent_code"] = _RELATIVE
        save_nibabel(image, path)


def _placed(grid: Grid) -> Grid:
    """The voxels of a grid where FSL places them."""
    return Grid(grid.shape, _scaled(grid) @ grid.affine)


def _matrix(path: Path) -> NDArray[np.float64] | None:
    found = numbers_of(path)
    if found is None or len(found) != 16 or not np.allclose(found[12:], (0, 0, 0, 1), atol=1e-9):
        return None
    return np.reshape(found, (4, 4)).astype(np.float64)
