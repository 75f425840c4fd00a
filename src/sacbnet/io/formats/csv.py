"""Landmarks as CSV, as antsApplyTransformsToPoints reads and writes them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from typing_extensions import override

from sacbnet.imaging.points import Points
from sacbnet.io.format import PointsFormat
from sacbnet.io.point_tables import points_of_table, text_of, turned


class Csv(PointsFormat):
    """A table with the columns x, y, z (LPS, mm), and any others, such as t, label, comment."""

    suffixes = (".csv",)
    written = suffixes

    @override
    def read(self, path: Path) -> Points:
        """Read all columns."""
        rows = list(csv.reader(text_of(path).splitlines()))
        header = [name.strip().lstrip("# ") for name in rows[0]]
        return points_of_table(header, list(enumerate(rows[1:], 2)), "LPS", path)

    @override
    def write(self, path: Path, content: Points) -> None:
        """Write x, y, z, t, label, comment and all further columns."""
        n = len(content.xyz)
        columns: dict[str, Sequence[str]] = {
            "t": ("0",) * n,
            "label": content.labels,
            "comment": ("",) * n,
        }
        columns |= content.columns
        xyz = turned(content.xyz).tolist()
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            # ANTs takes the first three columns, whatever their names
            writer.writerow(["x", "y", "z", *columns])
            for row, point in enumerate(xyz):
                more = (values[row] for values in columns.values())
                writer.writerow([*map(repr, point), *more])
