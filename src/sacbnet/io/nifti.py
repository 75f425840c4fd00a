"""What a NIfTI header says about the world: to nibabel, to ITK, and what we write so that both agree.

Measured with ITK 5.4 (SimpleITK 2.5), and tested against it:
- sform_code = qform_code = 0: origin 0 and the identity in LPS, spacing from pixdim (nibabel: centred, RAS but for i).
- The sform counts if sform_code is 1 or qform_code is 0, else the qform; a sform with axes that are not perpendicular
  (by more than 1e-4) is passed over for the qform, and refused where there is none.
- The spacing always comes from pixdim, also beside a sform that says otherwise.
- A negative pixdim mirrors its axis (nibabel takes the magnitude); 0 and NaN become 1.
- Metres and micrometres (xyzt_units) become millimetres; nibabel leaves them.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from sacbnet.errors import GridError
from sacbnet.spatial.grid import Grid, Shape

from .itk import LPS

_GEOMETRY = (
    *(
        "pixdim",
        "qform_code",
        "quatern_b",
        "quatern_c",
        "quatern_d",
        "qoffset_x",
        "qoffset_y",
        "qoffset_z",
    ),
    *("sform_code", "srow_x", "srow_y", "srow_z"),
)
_MM = {"meter": 1000.0, "micron": 0.001}
_ITK_ORTHOGONAL = 1e-4


def codes(header: Nifti1Header) -> tuple[int, int]:
    """(sform_code, qform_code)."""
    return int(header["sform_code"]), int(header["qform_code"])


def check_pixdim(header: Nifti1Header, name: str) -> tuple[str, ...]:
    """GridError for a voxel size of 0 or NaN, which nibabel and ITK read as 1 mm; warnings for a negative one."""
    size = np.asarray(header["pixdim"][1:4], dtype=float)
    if not np.isfinite(size).all() or (size == 0).any():
        raise GridError(f"{name} has the voxel size {size.tolist()} mm (pixdim); repair the header")
    if (size > 0).all():
        return ()
    return (
        f"{name} has the voxel size {size.tolist()} (pixdim): its magnitude is used, but ITK mirrors the image",
    )


def nifti_grid(
    header: Nifti1Header, affine: NDArray[np.float64] | None, shape: Shape, name: str
) -> Grid:
    """The grid in mm (RAS): nibabel's affine, but ITK's reading where the header says nothing of the orientation."""
    scale = _to_mm(header)
    if affine is None or codes(header) == (0, 0):
        return named_grid(shape, scale @ _unoriented(header), name)
    return named_grid(shape, scale @ affine, name)


def named_grid(shape: Shape, affine: NDArray[np.float64], name: str) -> Grid:
    """A Grid whose errors name the file."""
    try:
        return Grid(shape, affine)
    except GridError as error:
        raise GridError(f"{name}: {error}") from error


def itk_grid(header: Nifti1Header, shape: Shape) -> Grid | None:
    """The grid as ITK, ANTs and 3D Slicer read it, in mm (RAS); None where they refuse the header."""
    sform_code, qform_code = codes(header)
    if not sform_code and not qform_code:
        affine = _unoriented(header)
    else:
        chosen = _itk_sform(header) if sform_code == 1 or not qform_code else None
        if chosen is None and qform_code:
            chosen = _qform(header)
        if chosen is None:
            return None
        affine = chosen
    try:
        return Grid(shape, _to_mm(header) @ affine)
    except GridError:
        return None


def _to_mm(header: Nifti1Header) -> NDArray[np.float64]:
    """4x4: the header's unit of length -> mm."""
    return np.diag([*[_MM.get(header.get_xyzt_units()[0], 1.0)] * 3, 1.0])


def _unoriented(header: Nifti1Header) -> NDArray[np.float64]:
    return LPS @ np.diag([*np.abs(np.asarray(header["pixdim"][1:4], dtype=float)), 1.0])


def _itk_sform(header: Nifti1Header) -> NDArray[np.float64] | None:
    """The sform as ITK takes it: its directions, pixdim's spacing; None if its axes are not perpendicular."""
    affine = np.array(header.get_sform(), dtype=float)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or (lengths == 0).any():
        return None
    directions = affine[:3, :3] / lengths
    if np.abs(directions.T @ directions - np.eye(3)).max() > _ITK_ORTHOGONAL + 1e-6:
        return None
    affine[:3, :3] = directions * np.abs(np.asarray(header["pixdim"][1:4], dtype=float))
    return affine


def _qform(header: Nifti1Header) -> NDArray[np.float64] | None:
    try:
        affine = np.array(header.get_qform(), dtype=float)
    except ValueError:  # the quaternion is longer than 1
        return None
    return affine if np.isfinite(affine).all() else None


def geometry_warnings(header: Nifti1Header, grid: Grid, name: str) -> tuple[str, ...]:
    """Sentences on headers that two programs read in two ways."""
    sform_code, qform_code = codes(header)
    unit = header.get_xyzt_units()[0]
    out = [f"{name} gives its geometry in {unit}s; it was converted to mm"] if unit in _MM else []
    if not sform_code and not qform_code:
        out.append(
            f"{name} has no orientation (sform_code = qform_code = 0), so left and right cannot be told; it is read as "
            "ITK reads it: voxel axes along left, posterior, superior, first voxel at 0"
        )
        return tuple(out)
    if sform_code and qform_code:
        out += _disagreement(header, grid, name)
    itk = itk_grid(header, grid.shape)
    if itk is None:
        out.append(
            f"{name} has axes that are not perpendicular: ITK, ANTs and 3D Slicer refuse to read it"
        )
    elif _voxels_apart(grid, itk) > 0.1:
        out.append(
            f"ITK, ANTs and 3D Slicer place {name} elsewhere, by up to {_voxels_apart(grid, itk):.3g} voxels "
            f"(sform_code {sform_code}, qform_code {qform_code}): transforms of this run do not fit the file there; "
            "make its sform, qform and pixdim agree"
        )
    return tuple(out)


def _disagreement(header: Nifti1Header, grid: Grid, name: str) -> list[str]:
    affine = _qform(header)
    try:
        other = None if affine is None else Grid(grid.shape, _to_mm(header) @ affine)
    except GridError:
        other = None
    if other is None:
        return [f"{name} has a qform that cannot be used; its sform is used"]
    turn = float(
        np.linalg.norm(grid.direction - other.direction, axis=0).max()
    )  # radians, for small angles
    apart = _voxels_apart(grid, other)
    if apart <= 0.1 and turn <= 0.01:
        return []
    return [
        f"{name} has a sform and a qform that differ, by up to {apart:.3g} voxels; the sform is used"
    ]


def _voxels_apart(a: Grid, b: Grid) -> float:
    """Largest distance of a corner from its counterpart, in voxels of `a`."""
    return float(np.linalg.norm(a.voxels(b.corners) - a.voxels(a.corners), axis=1).max())


def nifti_image(
    data: NDArray[np.generic], grid: Grid, like: Nifti1Header | None = None
) -> nib.Nifti1Image:
    """An image of (i, j, k, ...) voxels, unscaled, in mm, whose header says `grid`.

    like: header of an image on that grid; its sform and qform are kept to the bit, so that each program places the two
    alike, whichever it prefers. Without one both forms are set (code 1, scanner). Sheared grids: the sform only.
    """
    header = Nifti1Header()
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape)
    header["descrip"] = b"sacbnet"
    if like is not None and _says(like, grid) and grid.is_orthogonal:
        for field in _GEOMETRY:
            header[field] = like[field]
        header["pixdim"][4:] = 1
    else:
        _set_geometry(header, grid, (1, 1) if like is None else codes(like))
    header.set_xyzt_units("mm")
    return nib.Nifti1Image(data, None, header)


def _says(header: Nifti1Header, grid: Grid) -> bool:
    if header.get_xyzt_units()[0] in _MM:
        return False
    return nifti_grid(header, header.get_best_affine(), grid.shape, "the header").matches(
        grid, 1e-4
    )


def _set_geometry(header: Nifti1Header, grid: Grid, form_codes: tuple[int, int]) -> None:
    sform_code, qform_code = form_codes
    zooms = list(header.get_zooms())
    header.set_zooms([*grid.spacing, *zooms[3:]])
    if grid.is_orthogonal and qform_code:
        header.set_qform(grid.affine, qform_code)
    # single-precision quaternions are coarse near half a turn, so a qform alone may miss the grid
    if sform_code or not _says(header, grid):
        header.set_sform(grid.affine, sform_code or max(qform_code, 1))
