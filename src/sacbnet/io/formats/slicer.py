"""Landmarks of 3D Slicer: .mrk.json, and the .fcsv of its older versions."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from typing_extensions import override

from sacbnet.errors import InputError
from sacbnet.imaging.points import Points
from sacbnet.io.format import PointsFormat
from sacbnet.io.point_tables import number, points_of_table, text_of, turned

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/"
    "Schema/markups-schema-v1.0.3.json#"
)
_FCSV = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
_FRAMES = {"LPS": "LPS", "1": "LPS", "RAS": "RAS", "0": "RAS"}


class Markups(PointsFormat):
    """One list of points as 3D Slicer's markups, with labels, ids and descriptions."""

    suffixes = (".mrk.json", ".json")
    written = suffixes

    @override
    def read(self, path: Path) -> Points:
        """Read coordinates (in the frame that the file names), labels, ids and descriptions."""
        markup = _one_list(text_of(path), path)
        points = markup.get("controlPoints") or []
        if not points:
            raise InputError(f"{path} holds no points")
        if not isinstance(points, list) or not all(isinstance(p, dict) for p in points):
            raise InputError(f"{path} holds control points that are no tables; save it again")
        unset = [p for p in points if p.get("positionStatus", "defined") != "defined"]
        if unset:
            raise InputError(
                f"{path} holds {len(unset)} points that are not placed; place or delete them in 3D"
                " Slicer"
            )
        frame = _frame(markup.get("coordinateSystem", "LPS"), path)
        xyz = [_position(p.get("position"), f"{path}, point {n},") for n, p in enumerate(points, 1)]
        labels, ids, comments = (
            tuple(str(p.get(key, "")) for p in points) for key in ("label", "id", "description")
        )
        return Points(turned(xyz, frame), labels, {"id": ids, "comment": comments})

    @override
    def write(self, path: Path, content: Points) -> None:
        """Write coordinates in LPS, labels, and the columns "id" and "comment"."""
        n = len(content.xyz)
        ids = content.columns.get("id", tuple(str(i + 1) for i in range(n)))
        comments = content.columns.get("comment", ("",) * n)
        controls = [
            {
                "id": ids[i],
                "label": content.labels[i],
                "description": comments[i],
                "associatedNodeID": "",
                "position": position,
                "selected": True,
                "locked": False,
                "visibility": True,
                "positionStatus": "defined",
            }
            for i, position in enumerate(turned(content.xyz).tolist())
        ]
        markup = {
            "type": "Fiducial",
            "coordinateSystem": "LPS",
            "coordinateUnits": "mm",
            "controlPoints": controls,
        }
        document = {"@schema": _SCHEMA, "markups": [markup]}
        text = json.dumps(document, indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")


class Fcsv(PointsFormat):
    """Lists of older versions of 3D Slicer; their comments name the frame and the columns."""

    suffixes = (".fcsv",)

    @override
    def read(self, path: Path) -> Points:
        """Read coordinates (RAS if the file names no frame), labels, ids and descriptions."""
        header, frame = _FCSV.split(","), "RAS"
        rows: list[tuple[int, list[str]]] = []
        for line_number, line in enumerate(text_of(path).splitlines(), 1):
            key, _, value = line.lstrip("# ").partition("=")
            if not line.startswith("#"):
                row = next(csv.reader([line]), [])
                row += [""] * (len(header) - len(row))  # 3D Slicer drops empty values at the end
                rows.append((line_number, row))
            elif key.strip() == "CoordinateSystem":
                frame = _frame(value, path)
            elif key.strip() == "columns":
                header = value.strip().split(",")
        table = points_of_table(header, rows, frame, path)
        columns = {name: table.columns[name] for name in ("id",) if name in table.columns}
        if "desc" in table.columns:
            columns["comment"] = table.columns["desc"]
        return Points(table.xyz, table.labels, columns)


def _one_list(text: str, path: Path) -> dict[str, Any]:
    """The one list of points of a markups file, in mm."""
    try:
        markups = json.loads(text)["markups"]
        kinds = [str(markup.get("type", "Fiducial")) for markup in markups]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is not a markups file of 3D Slicer (.mrk.json)") from error
    if kinds != ["Fiducial"]:
        raise InputError(
            f"{path} holds {', '.join(kinds) or 'nothing'}; one list of points (Fiducial) was"
            " expected"
        )
    unit = markups[0].get("coordinateUnits", "mm")
    if unit != "mm":
        raise InputError(f"{path} is in {unit}; mm was expected")
    found: dict[str, Any] = markups[0]
    return found


def _frame(value: object, path: Path) -> str:
    frame = _FRAMES.get(str(value).strip().upper())
    if frame is None:
        raise InputError(f"{path} has the coordinate system {value!r}; LPS or RAS was expected")
    return frame


def _position(position: Any, where: str) -> list[float]:
    if not isinstance(position, list) or len(position) != 3:
        raise InputError(f"{where} has the position {position!r}; three numbers were expected")
    return [number(value, where) for value in position]
