"""What the formats of landmarks share: text, tables with named columns, and the two frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sacbnet.errors import InputError
from sacbnet.imaging.points import Points

from .format import reason

_LARGEST = 64 << 20  # bytes: about a million points
_KNOWN = ("x", "y", "z", "t", "label", "comment")  # ANTs' columns; they are found in any case


def text_of(path: Path) -> str:
    """Read a text file.

    Parameters
    ----------
    path : Path
        A file in UTF-8.

    Returns
    -------
    str
        Its text, without a byte order mark.

    Raises
    ------
    InputError
        If the file is empty or is not text.
    """
    if path.stat().st_size > _LARGEST:
        raise InputError(
            f"{path} has {path.stat().st_size} bytes; landmarks of at most {_LARGEST} bytes were"
            " expected"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text ({reason(error)})") from error
    if not text.strip():
        raise InputError(f"{path} is empty; points were expected")
    return text


def turned(xyz: object, frame: str = "LPS") -> NDArray[np.float64]:
    """Convert coordinates between a file's frame and RAS.

    Parameters
    ----------
    xyz : array_like, shape (n, 3)
        Coordinates in mm, in the file's frame or in RAS.
    frame : {"LPS", "RAS"}, default "LPS"
        The frame of the file. "RAS" changes nothing.

    Returns
    -------
    ndarray, shape (n, 3)
        The coordinates in the other frame.
    """
    out = np.asarray(xyz, dtype=np.float64)
    return out * [-1, -1, 1] + 0.0 if frame == "LPS" else out  # + 0.0 turns -0.0 into 0.0


def number(value: object, where: str) -> float:
    """Convert a coordinate as a file gives it.

    Parameters
    ----------
    value : object
        A text or a number.
    where : str
        Its place in the file, for the message.

    Returns
    -------
    float
        A finite number.

    Raises
    ------
    InputError
        If the value is not a finite number.
    """
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        found = float("nan")
    if not np.isfinite(found):
        raise InputError(f"{where} holds {value!r} as a coordinate; a number was expected")
    return found


def points_of_table(
    header: list[str], rows: list[tuple[int, list[str]]], frame: str, path: Path
) -> Points:
    """Make points of a table with named columns.

    Parameters
    ----------
    header : list of str
        Names of the columns; x, y, z must be among them.
    rows : list of (int, list of str)
        The line in the file and the values of each row. Empty rows are skipped.
    frame : {"LPS", "RAS"}
        The frame of the coordinates.
    path : Path
        The file, for messages.

    Returns
    -------
    Points
        The points in mm (RAS), with all further columns.

    Raises
    ------
    InputError
        If a column is missing or named twice, if there is no row, or if a value is not a number.
    """
    place = {name.lower(): n for n, name in enumerate(header)}
    missing = [name for name in "xyz" if name not in place]
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(missing)} (its header: {','.join(header)}); x,y,z"
            " (commas) was expected"
        )
    if len(place) < len(header):
        raise InputError(
            f"{path} has two columns of one name (its header: {','.join(header)}); rename one"
        )
    rows = [(line, row) for line, row in rows if any(value.strip() for value in row)]
    if not rows:
        raise InputError(f"{path} holds a header and no points")
    for line, row in rows:
        if len(row) != len(header):
            raise InputError(
                f"{path}, line {line}, has {len(row)} values; its header names {len(header)}"
                " columns"
            )
    xyz = [
        [number(row[place[name]], f"{path}, line {line},") for name in "xyz"] for line, row in rows
    ]
    labels = [row[place["label"]] for _, row in rows] if "label" in place else []
    columns = {
        (name.lower() if name.lower() in _KNOWN else name): tuple(row[n] for _, row in rows)
        for n, name in enumerate(header)
        if name.lower() not in ("x", "y", "z", "label")
    }
    return Points(turned(xyz, frame), tuple(labels), columns)
