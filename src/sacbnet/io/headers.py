"""What a NIfTI header says about the world, to nibabel and to ITK; and headers that both agree on.

Measured with ITK 5.4 (SimpleITK 2.5), and tested against it:

- With sform_code = qform_code = 0, ITK takes the origin 0, the identity in LPS, and the spacing of
  pixdim. nibabel centres the image, in RAS except for the direction of i.
- ITK uses the sform if sform_code is 1 or qform_code is 0, and the qform otherwise. If the axes of
  the sform are not perpendicular (by more than 1e-4), ITK uses the qform; without a qform, it
  refuses the file.
- ITK takes the spacing from pixdim, even if the sform gives another one.
- A negative pixdim mirrors its axis in ITK (nibabel takes the magnitude). 0 and NaN become 1.
- ITK converts metres and micrometres (xyzt_units) to millimetres; nibabel does not.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from sacbnet.errors import GridError
from sacbnet.spatial.grid import Grid, Shape

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS <-> LPS, its own inverse
VECTOR_INTENTS = (1006, 1007)  # codes of NIfTI: displacement, vector
_QFORM = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
_SFORM = ("srow_x", "srow_y", "srow_z")
_GEOMETRY = ("pixdim", "qform_code", *_QFORM, "sform_code", *_SFORM)
_MM = {"meter": 1000.0, "micron": 0.001}
_ITK_ORTHOGONAL = 1e-4
_APART_VOXELS, _APART_RADIANS = 0.1, 0.01  # below this, two readings count as one


def codes(header: Nifti1Header) -> tuple[int, int]:
    """Read the two codes of the orientation.

    Parameters
    ----------
    header : Nifti1Header
        A header of NIfTI-1 or NIfTI-2.

    Returns
    -------
    tuple of int
        (sform_code, qform_code); 0 means that the form is not set.
    """
    return int(header["sform_code"]), int(header["qform_code"])


def check_pixdim(header: Nifti1Header, name: str) -> tuple[str, ...]:
    """Check the voxel size: nibabel and ITK read 0 and NaN as 1 mm.

    Parameters
    ----------
    header : Nifti1Header
        The header as it stands in the file.
    name : str
        The file, for messages.

    Returns
    -------
    tuple of str
        One warning if a size is negative; else nothing.

    Raises
    ------
    GridError
        If a size is 0 or not finite.
    """
    size = np.asarray(header["pixdim"][1:4], dtype=float)
    if not np.isfinite(size).all() or (size == 0).any():
        raise GridError(f"{name} has the voxel size {size.tolist()} mm (pixdim); repair the header")
    if (size > 0).all():
        return ()
    return (
        f"{name} has the voxel size {size.tolist()} (pixdim): its magnitude is used, but ITK"
        " mirrors the image",
    )


def nifti_grid(
    header: Nifti1Header, affine: NDArray[np.float64] | None, shape: Shape, name: str
) -> Grid:
    """Give the grid of a NIfTI image: nibabel's affine, or ITK's if the header has no orientation.

    Parameters
    ----------
    header : Nifti1Header
        The header.
    affine : ndarray, shape (4, 4), or None
        nibabel's affine, in the header's unit; None stands for a header without orientation.
    shape : tuple of int
        (i, j, k).
    name : str
        The file, for messages.

    Returns
    -------
    Grid
        The grid in mm (RAS).

    Raises
    ------
    GridError
        If the affine cannot be used.
    """
    scale = _to_mm(header)
    if affine is None or codes(header) == (0, 0):
        return named_grid(shape, scale @ _unoriented(header), name)
    return named_grid(shape, scale @ affine, name)


def named_grid(shape: Shape, affine: NDArray[np.float64], name: str) -> Grid:
    """Make a grid whose errors name the file.

    Parameters
    ----------
    shape : tuple of int
        (i, j, k).
    affine : ndarray, shape (4, 4)
        Voxel to world mm (RAS).
    name : str
        The file.

    Returns
    -------
    Grid
        The grid.

    Raises
    ------
    GridError
        If the affine is singular, not finite or not 4x4. The message starts with the name.
    """
    try:
        return Grid(shape, affine)
    except GridError as error:
        raise GridError(f"{name}: {error}") from error


def itk_grid(header: Nifti1Header, shape: Shape) -> Grid | None:
    """Give the grid as ITK, ANTs and 3D Slicer read it.

    Parameters
    ----------
    header : Nifti1Header
        A header of NIfTI-1 or NIfTI-2.
    shape : tuple of int
        (i, j, k).

    Returns
    -------
    Grid or None
        The grid in mm (RAS); None if ITK refuses the header.
    """
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
    spacing = np.abs(np.asarray(header["pixdim"][1:4], dtype=float))
    return np.asarray(LPS @ np.diag([*spacing, 1.0]))


def _itk_sform(header: Nifti1Header) -> NDArray[np.float64] | None:
    """The sform as ITK takes it: its directions with the spacing of pixdim.

    None if its axes are not perpendicular.
    """
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
    """Warn about headers that two programs read in two ways.

    Parameters
    ----------
    header : Nifti1Header
        A header of NIfTI-1 or NIfTI-2.
    grid : Grid
        The grid that this program takes from the header.
    name : str
        The file, for the warnings.

    Returns
    -------
    tuple of str
        Sentences; none for a header that all programs read alike.
    """
    sform_code, qform_code = codes(header)
    unit = header.get_xyzt_units()[0]
    out = [f"{name} gives its geometry in {unit}s; it was converted to mm"] if unit in _MM else []
    if not sform_code and not qform_code:
        out.append(
            f"{name} has no orientation (sform_code = qform_code = 0), so left and right cannot be"
            " told; it is read as ITK reads it: voxel axes along left, posterior, superior, first"
            " voxel at 0"
        )
        return tuple(out)
    if sform_code and qform_code:
        out += _disagreement(header, grid, name)
    itk = itk_grid(header, grid.shape)
    if itk is None:
        out.append(
            f"{name} has axes that are not perpendicular: ITK, ANTs and 3D Slicer refuse to read it"
        )
    elif _voxels_apart(grid, itk) > _APART_VOXELS:
        out.append(
            f"ITK, ANTs and 3D Slicer place {name} elsewhere, by up to"
            f" {_voxels_apart(grid, itk):.3g} voxels (sform_code {sform_code}, qform_code"
            f" {qform_code}): transforms of this run do not fit the file there; make its sform,"
            " qform and pixdim agree"
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
    turn = float(np.linalg.norm(grid.direction - other.direction, axis=0).max())
    apart = _voxels_apart(grid, other)
    if apart <= _APART_VOXELS and turn <= _APART_RADIANS:
        return []
    return [
        f"{name} has a sform and a qform that differ, by up to {apart:.3g} voxels; the sform is"
        " used"
    ]


def _voxels_apart(a: Grid, b: Grid) -> float:
    """Largest distance of a corner from its counterpart, in voxels of `a`."""
    return float(np.linalg.norm(a.voxels(b.corners) - a.voxels(a.corners), axis=1).max())


def nifti_image(
    data: NDArray[np.generic], grid: Grid, like: Nifti1Header | None = None
) -> nib.Nifti1Image:
    """Make a NIfTI image, unscaled, in mm, whose header describes a grid.

    Parameters
    ----------
    data : ndarray, shape (i, j, k, ...)
        The voxels.
    grid : Grid
        Their grid in mm (RAS). A sheared grid sets the sform only.
    like : Nifti1Header, optional
        The header of an image on that grid. Its sform and qform are kept to the bit, so that every
        program places the two images alike, whichever form the program prefers. Without a header,
        both forms are set, with code 1 (scanner).

    Returns
    -------
    nibabel.Nifti1Image
        The image, ready to be saved.
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
