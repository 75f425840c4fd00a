"""Lists of pairs or of cases as CSV."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from typing_extensions import override

from sacbnet.data.cases import Case, PairList
from sacbnet.data.listing import in_order, listed_file, names_of, pair_list
from sacbnet.data.source import Source
from sacbnet.errors import InputError

_PAIR = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_points", "moving_points")
_CASE = ("name", "image", "labels", "points")
Rows = list[tuple[int, dict[str, str]]]  # line in the file, values by column


class Csv(Source):
    """A list of pairs (fixed, moving, ...) or of cases (name, image, ...).

    Paths are relative to the folder of the CSV.
    """

    expected = "a .csv"

    @override
    def recognises(self, path: Path) -> bool:
        """Look at the suffix."""
        return path.is_file() and path.suffix.lower() == ".csv"

    @override
    def read(self, path: Path) -> PairList:
        """Read pairs or cases, as the columns say."""
        header, rows = read_rows(path)
        if {"fixed", "moving"} <= set(header):
            known: tuple[str, ...] = _PAIR
        elif "image" in header:
            known = _CASE
        else:
            raise InputError(
                f"{path} has the columns {', '.join(header)}; fixed and moving (a list of pairs) or"
                " image (of cases) were expected"
            )
        if unknown := [column for column in header if column not in known]:
            raise InputError(
                f"{path} has the unknown column {unknown[0]!r}; {', '.join(known)} were expected"
            )
        if not rows:
            raise InputError(f"{path} holds no row below its header; at least one was expected")
        return _pair_rows(path, rows) if known is _PAIR else _case_rows(path, rows)


def read_rows(path: Path) -> tuple[list[str], Rows]:
    """Read a CSV. Blank rows are left out.

    Parameters
    ----------
    path : Path
        The file, in UTF-8.

    Returns
    -------
    header : list of str
        Names of the columns, in lower case.
    rows : list of (int, dict of str to str)
        The line in the file, and the values by column, of each row.

    Raises
    ------
    InputError
        If the file is no CSV, or if a row has more or fewer values than the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [cell.strip().lower() for cell in next(reader, [])]
            rows = [
                (reader.line_num, [cell.strip() for cell in row])
                for row in reader
                if any(map(str.strip, row))
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read as CSV ({reason})") from error
    for line, row in rows:
        if len(row) != len(header):
            raise InputError(
                f"{path}, line {line} has {len(row)} values; {len(header)} were expected, as in"
                " line 1"
            )
    return header, [(line, dict(zip(header, row, strict=True))) for line, row in rows]


def _case_rows(path: Path, rows: Rows) -> PairList:
    cases = []
    for line, row in rows:
        where = f"line {line}"
        more = (_optional(path, where, row.get(column, "")) for column in ("labels", "points"))
        cases.append(Case(row.get("name", ""), listed_file(path, where, row["image"]), *more))
    named = names_of(case.image for case in cases)
    cases = [replace(case, name=case.name or named[case.image]) for case in cases]
    return PairList(in_order(cases, path))


def _name(file: Path | None) -> str:
    """A file's name for a message: whole paths of three files would not fit into one."""
    return "" if file is None else file.name


def _pair_rows(path: Path, rows: Rows) -> PairList:
    found: dict[Path, list[Path | None]] = {}  # image -> labels, points
    pairs: list[tuple[Path, Path]] = []
    for line, row in rows:
        where = f"line {line}"
        fixed, moving = (listed_file(path, where, row[side]) for side in ("fixed", "moving"))
        for side, image in (("fixed", fixed), ("moving", moving)):
            known = found.setdefault(image, [None, None])
            for n, kind in enumerate(("labels", "points")):
                given = _optional(path, where, row.get(f"{side}_{kind}", ""))
                if None not in (given, known[n]) and given != known[n]:
                    raise InputError(
                        f"{path}, {where} gives {image.name} the {kind} {_name(given)}, but a row"
                        f" above gave {_name(known[n])}"
                    )
                known[n] = known[n] or given
        pairs.append((moving, fixed))
    return pair_list(found, pairs, names_of(found), path)


def _optional(source: Path, where: str, text: str) -> Path | None:
    return listed_file(source, where, text) if text else None
