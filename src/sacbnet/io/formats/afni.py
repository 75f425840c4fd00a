"""AFNI: matrices of 3dAllineate (.aff12.1D), and warp fields of 3dQwarp."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sacbnet.errors import GridError, InputError
from sacbnet.io.convention import Between, Convention
from sacbnet.io.format import TransformFormat
from sacbnet.io.formats.nifti import NiftiField
from sacbnet.io.headers import LPS
from sacbnet.io.matrices import matrix_text, numbers_of
from sacbnet.spatial.composition import AnyTransform, densely
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine

_OBLIQUE_DEG = 0.01  # AFNI's own limit


class Aff12(TransformFormat):
    """The first three rows of a matrix, twelve numbers, as 3dAllineate -1Dmatrix_save writes them.

    AFNI leaves out the obliquity of an image before it applies a matrix. The grids of the images
    are therefore needed where an image is oblique.
    """

    suffixes = (".1d",)
    written = (".aff12.1d", ".1d")
    tools = ("afni",)
    dense = False
    convention = Convention(
        "points of fixed (base) -> points of moving (source)",
        "mm",
        "LPS (DICOM order); for an oblique image as if it were not, so give --fixed and --moving",
    )

    @override
    def read_between(self, path: Path, between: Between) -> Affine:
        """Read the matrix; the turns of oblique images are added."""
        found = numbers_of(path)
        if found is None or len(found) != 12:
            count = "no numbers" if found is None else f"{len(found)} numbers"
            raise InputError(
                f"{path} holds {count}; one matrix of AFNI with 12 numbers was expected (of a"
                " series, write one row into a file)"
            )
        matrix = LPS @ np.vstack([np.reshape(found, (3, 4)), (0, 0, 0, 1)]) @ LPS
        before, after = _upright(between.fixed), np.linalg.inv(_upright(between.moving))
        try:
            return Affine(after @ matrix @ before)
        except GridError as error:
            raise InputError(f"{path}: {error}") from error

    @override
    def write_between(self, path: Path, content: AnyTransform, between: Between) -> None:
        """Write one row; the turns of oblique images are taken out."""
        assert isinstance(content, Affine)
        before, after = np.linalg.inv(_upright(between.fixed)), _upright(between.moving)
        matrix = LPS @ after @ content.matrix @ before @ LPS
        text = matrix_text(matrix[:3].reshape(1, 12))
        path.write_text(
            f"# 3dvolreg matrices (DICOM-to-DICOM, row-by-row):\n{text}", encoding="ascii"
        )


class AfniField(TransformFormat):
    """Warp fields of AFNI as NIfTI: the same file as a field of ITK, on a grid without obliquity.

    Such a file is read as a field of ITK, because nothing in it tells the two apart.
    """

    suffixes = ()
    written = (".nii", ".nii.gz")
    tools = ("afni",)
    linear = False
    convention = Convention("points of fixed (base) -> points of moving (source)", "mm", "LPS")

    @override
    def read_between(self, path: Path, between: Between) -> AnyTransform:
        """Read it as a field of ITK."""
        return NiftiField().read(path)

    @override
    def write_between(self, path: Path, content: AnyTransform, between: Between) -> None:
        """Write the field; grids that AFNI would read in another way are refused."""
        if between.fixed is None:
            raise InputError(f"{path} is a field on the fixed image; give --fixed")
        for name, grid in (("fixed", between.fixed), ("moving", between.moving)):
            if grid is not None and _oblique(grid):
                raise InputError(
                    f"the {name} image is oblique, and AFNI applies fields as if it were not;"
                    " deoblique it (3dWarp -deoblique) and register again"
                )
        NiftiField().write(path, densely(content, between.fixed))


def _oblique(grid: Grid) -> bool:
    nearest = np.abs(grid.direction).max(axis=0).min()
    return bool(np.degrees(np.arccos(min(1.0, nearest))) > _OBLIQUE_DEG)


def _upright(grid: Grid | None) -> NDArray[np.float64]:
    """World mm (RAS) to the same voxels as AFNI places them, 4x4: without obliquity."""
    if grid is None or not _oblique(grid):
        return np.eye(4)
    directions = grid.direction
    axes = np.abs(directions).argmax(axis=0)
    if len(set(axes.tolist())) < 3:
        raise GridError(
            "an image is turned by about 45 degrees, so AFNI's axes for it cannot be told; resample"
            " it first"
        )
    placed = np.eye(4)
    placed[:3, :3] = 0
    for column, row in enumerate(axes):
        placed[row, column] = np.sign(directions[row, column]) * grid.spacing[column]
    placed[:3, 3] = grid.affine[:3, 3]
    return np.asarray(placed @ grid.inverse_affine)
