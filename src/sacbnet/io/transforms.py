"""Read and write transforms.

Results are in ITK's convention (contract 2): LPS, mm, fixed to moving. SimpleITK,
`antsApplyTransforms -t` and 3D Slicer use the written files as they are. The formats of other tools
are read here, too, and written by `sacbnet.io.tools`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from sacbnet.errors import GridError, InputError, OutputError
from sacbnet.files import atomic_file
from sacbnet.spatial.composition import AnyTransform
from sacbnet.spatial.transforms import Affine, DisplacementField

from .convention import Between
from .format import AffineFormat, FieldFormat, TransformFormat, reason
from .table import formats, reader, suffixes, writer, written_suffixes


def save_displacement(path: str | Path, displacement: DisplacementField) -> None:
    """Write a displacement field that ITK reads as a DisplacementFieldTransform.

    Parameters
    ----------
    path : str or Path
        The file to write: .nii, .nii.gz, .nrrd, .mha, or a format of another package.
    displacement : DisplacementField
        The field; its grid becomes the grid of the file.

    Raises
    ------
    GridError
        If the grid is sheared, which ITK cannot hold. Resample the field onto `grid.orthogonal()`.
    OutputError
        If the suffix is unknown, or the file cannot be written.
    """
    path = Path(path)
    found = writer(FieldFormat, path)
    if found is None:
        raise OutputError(
            f"{path} is no name for a displacement field;"
            f" {', '.join(written_suffixes(FieldFormat))} were expected"
        )
    if not displacement.grid.is_orthogonal:
        raise GridError(
            f"the grid of {path} is sheared, which ITK cannot hold; write the field on"
            " grid.orthogonal()"
        )
    with atomic_file(path) as part:
        found.write(part, displacement)


def load_displacement(path: str | Path) -> DisplacementField:
    """Read a displacement field in ITK's convention, onto the grid that ITK gives to the file.

    Parameters
    ----------
    path : str or Path
        A file as `save_displacement` or ANTs writes it.

    Returns
    -------
    DisplacementField
        The displacement in mm, components in RAS.

    Raises
    ------
    InputError
        If the file is missing or damaged, or if ITK would read it in another way: other intent
        codes, 4-D files, absolute positions of SPM.
    GridError
        If the header gives no usable grid.
    """
    path = _existing(path)
    found = reader(FieldFormat, path)
    if found is None:  # its first bytes say nothing; its name may
        by_name = [f for f in formats(FieldFormat) if path.name.lower().endswith(f.suffixes)]
        if not by_name:
            raise InputError(
                f"{path} is no displacement field of a known format;"
                f" {', '.join(suffixes(FieldFormat))} were expected"
            )
        found = by_name[0]
    try:
        return found.read(path)
    except InputError:
        raise
    except Exception as error:  # readers raise many kinds
        raise InputError(
            f"{path} cannot be read, it is damaged, cut short or no image ({reason(error)})"
        ) from error


def save_affine(path: str | Path, affine: Affine) -> None:
    """Write an affine transform of ITK, as ANTs' 0GenericAffine.mat.

    Parameters
    ----------
    path : str or Path
        The file to write: .mat, .txt, .tfm, or a format of another package.
    affine : Affine
        The transform, fixed to moving, in mm (RAS).

    Raises
    ------
    OutputError
        If the suffix is unknown, or the file cannot be written.
    """
    path = Path(path)
    found = writer(AffineFormat, path)
    if found is None:
        raise OutputError(
            f"{path} is no name for an affine; {', '.join(written_suffixes(AffineFormat))} were"
            " expected"
        )
    with atomic_file(path) as part:
        found.write(part, affine)


def load_affine(path: str | Path) -> Affine:
    """Read a linear 3-D transform from a transform file of ITK.

    Parameters
    ----------
    path : str or Path
        A .mat, .txt, .tfm or .h5 file that holds a rigid, similarity, affine or translation
        transform, with any centre, or several of them composed.

    Returns
    -------
    Affine
        The transform, fixed to moving, in mm (RAS).

    Raises
    ------
    InputError
        If the file is missing, is a matrix of FSL or FreeSurfer, or holds a 2-D transform or one
        that is not linear.
    """
    path = _existing(path)
    if reader(TransformFormat, path) is not None:
        other = load_transform(path)
        if isinstance(other, Affine):
            return other
        raise InputError(f"{path} is not linear, it holds a field; an affine was expected")
    found = reader(AffineFormat, path)
    if found is None:
        known = (*suffixes(AffineFormat), *suffixes(TransformFormat), *suffixes(FieldFormat))
        raise InputError(
            f"{path} is no transform of a known format; one of {', '.join(dict.fromkeys(known))}"
            " was expected"
        )
    try:
        return found.read(path)
    except InputError:
        raise
    except Exception as error:  # as load_displacement
        raise InputError(
            f"{path} cannot be read, it is damaged or no transform ({reason(error)})"
        ) from error


def load_transform(path: str | Path, between: Between | None = None) -> AnyTransform:
    """Read a transform of any format.

    Parameters
    ----------
    path : str or Path
        An affine or a field as `load_affine` and `load_displacement` read them, a composite of ITK,
        or a file of FSL, FreeSurfer or AFNI. The first bytes of a file decide, not its name.
    between : Between or None, default None
        Grids of the two images, which some formats need.

    Returns
    -------
    Affine, DisplacementField or Chain
        The transform, fixed to moving, in mm (RAS).

    Raises
    ------
    InputError
        As `load_displacement` and `load_affine` raise it; if the file needs images that are not
        known.
    GridError
        If the header of a displacement field gives no usable grid.
    """
    path = _existing(path)
    other = reader(TransformFormat, path)
    if other is None:
        if reader(FieldFormat, path) is not None:
            return load_displacement(path)
        return load_affine(path)
    try:
        return other.read_between(path, between or Between())
    except InputError:
        raise
    except Exception as error:  # readers raise many kinds
        raise InputError(
            f"{path} cannot be read, it is damaged or no transform ({reason(error)})"
        ) from error


def is_transform(path: str | Path) -> bool:
    """Say whether a file is a transform: affine, field or composite.

    Parameters
    ----------
    path : str or Path
        Any file or folder.

    Returns
    -------
    bool
        True if `load_transform` should read it.
    """
    path = Path(path)
    if not path.is_file():
        return False
    if any(reader(kind, path) is not None for kind in (TransformFormat, AffineFormat)):
        return True
    return is_displacement(path)


def is_displacement(path: str | Path) -> bool:
    """Say whether a file is a displacement field and not an image; many formats hold either.

    Parameters
    ----------
    path : str or Path
        Any file or folder.

    Returns
    -------
    bool
        True if the file can be read and holds vectors. A damaged file gives False; its reader says
        what is wrong.
    """
    path = Path(path)
    with suppress(Exception):  # readers raise many kinds
        found = reader(FieldFormat, path) if path.is_file() else None
        return found is not None and found.holds_vectors(path)
    return False


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not os.path.isfile(path):
        found = "is a folder" if os.path.isdir(path) else "does not exist"
        raise InputError(f"{path} {found}; a transform was expected")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); copy it again")
    return path
