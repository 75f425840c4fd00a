"""A registration of two DICOM series as DICOM objects. Imported only where DICOM is written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from sacbnet.environment import VERSION
from sacbnet.errors import OutputError
from sacbnet.files import check_writable, staged_folder, sweep
from sacbnet.imaging.image import Image
from sacbnet.io.dicom_derived import Derived, save_dataset, seed_of
from sacbnet.io.dicom_registration import registration_object
from sacbnet.io.dicom_source import dicom_source
from sacbnet.io.dicom_write import write_series
from sacbnet.spatial.transforms import Affine, DisplacementField

REGISTRATION = "registration.dcm"


def write_dicom(
    folder: str | Path,
    moved: Image,
    moving: Image,
    transform: DisplacementField,
    affine: Affine,
    fixed: str,
    overwrite: bool = False,
) -> dict[str, Path]:
    """Write the moved image as a DICOM series, and the transform as a DICOM object.

    Parameters
    ----------
    folder : str or Path
        The folder; made where it is absent.
    moved, moving : Image
        The moving image on the fixed image's grid, and as it was read from a DICOM series.
    transform : DisplacementField
        The transform, fixed to moving.
    affine : Affine
        Its affine part.
    fixed : str
        Path of the fixed series.
    overwrite : bool, default False
        Whether the DICOM files of another result may be replaced.

    Returns
    -------
    dict[str, Path]
        What was written, by file name.

    Raises
    ------
    InputError
        If an image is no DICOM series.
    OutputError
        If the folder holds other DICOM files, or a file cannot be written; then none is.
    """
    folder = Path(folder)
    sources = dicom_source(fixed, "fixed"), dicom_source(moving.name, "moving")
    seed = seed_of(
        *(moved.data, moved.grid, transform.displacement_mm, transform.grid),
        *(source.series for source in sources),
    )
    method = f"sacbnet {VERSION}: registered to the fixed image"
    derived = Derived(*sources, seed, method)
    whole = bool((moving.data == np.rint(moving.data)).all())

    def check() -> None:
        check_dicom_folder(folder, overwrite)

    check()
    sweep(folder)
    with staged_folder(folder, _ours(folder), check) as stage:
        names = write_series(stage, moved, derived, transform, whole)
        series = derived.uid("registration series")
        found = registration_object(derived, transform, affine, series)
        save_dataset(stage / REGISTRATION, found)
    return {name: folder / name for name in (*names, REGISTRATION)}


def check_dicom(
    folder: Path, fixed: str | Path, moving: str | Path, *, overwrite: bool = False
) -> None:
    """Check before the registration that its result can be written as DICOM.

    Parameters
    ----------
    folder : Path
        The folder for the DICOM files.
    fixed, moving : str or Path
        The two images.
    overwrite : bool, default False
        Whether the DICOM files of another result may be replaced.

    Raises
    ------
    InputError
        If an image is no DICOM series.
    OutputError
        If the folder holds other DICOM files, or cannot be written.
    """
    dicom_source(str(fixed), "fixed")
    dicom_source(str(moving), "moving")
    check_dicom_folder(folder, overwrite)
    check_writable(folder)


def check_dicom_folder(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that holds files: slices of two series in one folder are a trap.

    Parameters
    ----------
    folder : Path
        The folder for the DICOM files.
    overwrite : bool
        Whether the files of an earlier result may be replaced; other files are never touched.

    Raises
    ------
    OutputError
        If the folder holds other files.
    """
    if not os.path.isdir(folder):
        return
    ours = set(_ours(folder)) if overwrite else set()
    files = sorted(p.name for p in folder.iterdir() if p.is_file() and p.name[0] != ".")
    others = [name for name in files if name not in ours]
    if others:
        raise OutputError(
            f"{folder} holds files already ({others[0]}); an empty folder was expected for the"
            " DICOM series: choose another, or give --overwrite for an earlier result"
        )


def _ours(folder: Path) -> list[str]:
    """The names of an earlier result's files."""
    if not folder.is_dir():
        return []
    return [p.name for p in folder.glob("image_[0-9]*.dcm")] + [REGISTRATION]
