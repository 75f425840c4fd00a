"""Landmarks in and out: CSV as antsApplyTransformsToPoints reads it, and 3D Slicer's .mrk.json and .fcsv.

Inside the program points are world mm in RAS; files are written in LPS.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacbnet.errors import InputError, OutputError
from sacbnet.files import atomic_file
from sacbnet.imaging.points import Points

from .itk import reason

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_ANTS = ("x", "y", "z", "t", "label", "comment")
_FCSV = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
_FRAMES = {"LPS": "LPS", "1": "LPS", "RAS": "RAS", "0": "RAS"}


def load_points(path: str | Path) -> Points:
    """Read .csv (LPS; header with x, y, z), .mrk.json or .json (one fiducial list), or .fcsv, into mm RAS.

    Raises InputError: missing columns, values that are not numbers (with their line), other markups than points.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path} {'is a folder' if path.is_dir() else 'does not exist'}; a file was expected"
        )
    readers = {".csv": _load_csv, ".json": _load_markups, ".fcsv": _load_fcsv}
    if path.suffix.lower() not in readers:
        raise InputError(
            f"{path} has an unknown format; points are read from .csv, .mrk.json or .fcsv"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text ({reason(error)})") from error
    if not text.strip():
        raise InputError(f"{path} is empty; points were expected")
    return readers[path.suffix.lower()](text, path)


def save_points(path: str | Path, points: Points) -> None:
    """Write points in LPS: .csv with the columns x, y, z, t, label, comment and all others, or .mrk.json of 3D Slicer.

    .mrk.json holds coordinates, labels, and the columns "id" and "comment" (as description). Raises OutputError.
    """
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".json"):
        raise OutputError(f"{path} has an extension for no points; .csv or .mrk.json was expected")
    write = _write_csv if path.suffix.lower() == ".csv" else _write_markups
    with atomic_file(path) as part:
        write(part, points)


def _turned(xyz: object, frame: str = "LPS") -> NDArray[np.float64]:
    """LPS <-> RAS (unchanged for "RAS"); + 0.0 lest a zero be written as -0.0."""
    out = np.asarray(xyz, dtype=np.float64)
    return out * [-1, -1, 1] + 0.0 if frame == "LPS" else out


# -- CSV --------------------------------------------------------------------------------------------------------------
def _load_csv(text: str, path: Path) -> Points:
    rows = list(csv.reader(text.splitlines()))
    return _from_table(
        [name.strip().lstrip("# ") for name in rows[0]], list(enumerate(rows[1:], 2)), "LPS", path
    )


def _from_table(
    header: list[str], rows: list[tuple[int, list[str]]], frame: str, path: Path
) -> Points:
    """header: names of the columns. rows: (line number, values); empty ones are skipped."""
    place = {name.lower(): n for n, name in enumerate(header)}
    missing = [name for name in "xyz" if name not in place]
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(missing)} (its header: {','.join(header)}); x,y,z (commas) was expected"
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
                f"{path}, line {line}, has {len(row)} values; its header names {len(header)} columns"
            )
    xyz = [
        [_number(row[place[name]], f"{path}, line {line},") for name in "xyz"] for line, row in rows
    ]
    labels = [row[place["label"]] for _, row in rows] if "label" in place else []
    columns = {
        (name if name.lower() not in _ANTS else name.lower()): tuple(row[n] for _, row in rows)
        for n, name in enumerate(header)
        if name.lower() not in ("x", "y", "z", "label")
    }
    return Points(_turned(xyz, frame), tuple(labels), columns)


def _number(value: object, where: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number):
        raise InputError(f"{where} holds {value!r} as a coordinate; a number was expected")
    return number


def _write_csv(path: Path, points: Points) -> None:
    n = len(points.xyz)
    columns: dict[str, Sequence[str]] = {
        "t": ("0",) * n,
        "label": points.labels,
        "comment": ("",) * n,
    }
    columns |= points.columns
    xyz = _turned(points.xyz).tolist()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["x", "y", "z", *columns]
        )  # ANTs takes the first three columns, whatever their names
        for row, point in enumerate(xyz):
            writer.writerow([*map(repr, point), *(values[row] for values in columns.values())])


# -- 3D Slicer --------------------------------------------------------------------------------------------------------
def _frame(value: object, path: Path) -> str:
    frame = _FRAMES.get(str(value).strip().upper())
    if frame is None:
        raise InputError(f"{path} has the coordinate system {value!r}; LPS or RAS was expected")
    return frame


def _load_markups(text: str, path: Path) -> Points:
    try:
        markups = json.loads(text)["markups"]
        kinds = [str(markup.get("type", "Fiducial")) for markup in markups]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a markups file of 3D Slicer (.mrk.json)") from error
    if kinds != ["Fiducial"]:
        raise InputError(
            f"{path} holds {', '.join(kinds) or 'nothing'}; one list of points (Fiducial) was expected"
        )
    unit = markups[0].get("coordinateUnits", "mm")
    if unit != "mm":
        raise InputError(f"{path} is in {unit}; mm was expected")
    points = markups[0].get("controlPoints") or []
    if not points:
        raise InputError(f"{path} holds no points")
    unset = [p for p in points if p.get("positionStatus", "defined") != "defined"]
    if unset:
        raise InputError(
            f"{path} holds {len(unset)} points that are not placed; place or delete them in 3D Slicer"
        )
    frame = _frame(markups[0].get("coordinateSystem", "LPS"), path)
    xyz = [_position(p.get("position"), f"{path}, point {n + 1},") for n, p in enumerate(points)]
    labels, ids, comments = (
        tuple(str(p.get(key, "")) for p in points) for key in ("label", "id", "description")
    )
    return Points(_turned(xyz, frame), labels, {"id": ids, "comment": comments})


def _position(position: Any, where: str) -> list[float]:
    if not isinstance(position, list) or len(position) != 3:
        raise InputError(f"{where} has the position {position!r}; three numbers were expected")
    return [_number(value, where) for value in position]


def _write_markups(path: Path, points: Points) -> None:
    n = len(points.xyz)
    ids = points.columns.get("id", tuple(str(i + 1) for i in range(n)))
    comments = points.columns.get("comment", ("",) * n)
    controls = [
        {
            "id": ids[i],
            "label": points.labels[i],
            "description": comments[i],
            "associatedNodeID": "",
            "position": position,
            "selected": True,
            "locked": False,
            "visibility": True,
            "positionStatus": "defined",
        }
        for i, position in enumerate(_turned(points.xyz).tolist())
    ]
    markup = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "controlPoints": controls,
    }
    document = {"@schema": _SCHEMA, "markups": [markup]}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _load_fcsv(text: str, path: Path) -> Points:
    """Slicer's older lists: comments give the frame (RAS where it is not named) and the columns."""
    header, frame = _FCSV.split(","), "RAS"
    rows: list[tuple[int, list[str]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        key, _, value = line.lstrip("# ").partition("=")
        if not line.startswith("#"):
            row = next(csv.reader([line]), [])
            rows.append(
                (number, row + [""] * (len(header) - len(row)))
            )  # Slicer drops empty values at the end
        elif key.strip() == "CoordinateSystem":
            frame = _frame(value, path)
        elif key.strip() == "columns":
            header = value.strip().split(",")
    table = _from_table(header, rows, frame, path)
    columns = {name: table.columns[name] for name in ("id",) if name in table.columns}
    if "desc" in table.columns:
        columns["comment"] = table.columns["desc"]
    return Points(table.xyz, table.labels, columns)
