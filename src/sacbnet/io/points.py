"""Read and write landmarks. Inside the program points are in mm (RAS); files are written in LPS."""

from __future__ import annotations

import os
from pathlib import Path

from sacbnet.errors import InputError, OutputError
from sacbnet.files import Claim, atomic_file
from sacbnet.imaging.points import Points

from .format import PointsFormat, reason
from .table import reader, suffixes, writer, written_suffixes


def load_points(path: str | Path) -> Points:
    """Read landmarks.

    Parameters
    ----------
    path : str or Path
        A .csv (LPS; a header with x, y, z) as antsApplyTransformsToPoints reads it, a .mrk.json or
        .json of 3D Slicer with one list of points, a .fcsv of older versions of 3D Slicer, or a
        format of another package (`sacbnet.io.table`).

    Returns
    -------
    Points
        The points in mm (RAS).

    Raises
    ------
    InputError
        If the file is missing or of an unknown format, if a column is missing, if a value is not a
        number (the message gives its line), or if the markups are not points.
    """
    path = Path(path)
    if not os.path.isfile(path):
        state = "is a folder" if os.path.isdir(path) else "does not exist"
        raise InputError(f"{path} {state}; a file was expected")
    found = reader(PointsFormat, path)
    if found is None:
        raise InputError(
            f"{path} has an unknown format; points are read from"
            f" {', '.join(suffixes(PointsFormat))}"
        )
    try:
        return found.read(path)
    except InputError:
        raise
    except Exception as error:  # damaged text can make a parser raise many kinds
        raise InputError(
            f"{path} cannot be read as points ({reason(error)}); save it again"
        ) from error


def save_points(path: str | Path, points: Points, claim: Claim | None = None) -> None:
    """Write landmarks, in LPS.

    Parameters
    ----------
    path : str or Path
        The file to write. A .csv has the columns x, y, z, t, label, comment and all others. A
        .mrk.json (or .json) of 3D Slicer has the coordinates, the labels, and the columns "id" and
        "comment" (as description). Formats of other packages are written, too.
    points : Points
        The points in mm (RAS).
    claim : Claim or None, default None
        From the beginning of the work (`files.Claim`): what another process wrote since stays.

    Raises
    ------
    OutputError
        If the suffix is unknown, the file cannot be written, or another process wrote it since
        the claim.
    """
    path = Path(path)
    found = writer(PointsFormat, path)
    if found is None:
        raise OutputError(
            f"{path} has an extension for no points; one of"
            f" {', '.join(written_suffixes(PointsFormat))} was expected"
        )
    with atomic_file(path, claim) as part:
        found.write(part, points)
