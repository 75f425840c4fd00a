"""Which pairs a cohort has: as values, or from a CSV."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from sacbnet.data.listing import names_of
from sacbnet.data.sources.csv import read_rows
from sacbnet.errors import InputError

# they lie beside the folders of the pairs
TABLE, SUMMARY, INDEX, THUMBNAILS = "summary.csv", "summary.json", "index.html", "thumbnails"
_TAKEN = (TABLE, SUMMARY, INDEX, THUMBNAILS)
_NAME = re.compile(r"\w[\w.+@ -]*")  # a folder of this name can be made on every system


@dataclass(frozen=True, kw_only=True)
class CohortPair:
    """The files of one registration, and the name of its result.

    Parameters
    ----------
    fixed, moving : Path
        The images: files, or DICOM folders.
    name : str
        Name of the folder with the result: letters, digits, and ``_ . + @ -`` or spaces after the
        first character.
    fixed_mask, moving_mask : Path or None, default None
        Where the images count, each on the grid of its image.
    fixed_labels, moving_labels : Path or None, default None
        Label maps, each on the grid of its image.

    Raises
    ------
    InputError
        If the name cannot be that of a folder.
    """

    fixed: Path
    moving: Path
    name: str
    fixed_mask: Path | None = None
    moving_mask: Path | None = None
    fixed_labels: Path | None = None
    moving_labels: Path | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name.lower() in _TAKEN:
            raise InputError(
                f"a pair has the name {self.name!r}; the name of a new folder was expected, of"
                " letters, digits and _ . + @ -"
            )

    def files(self) -> dict[str, Path]:
        """List the files that are given.

        Returns
        -------
        dict[str, Path]
            The files, by the keywords of `Registrar.register`.
        """
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "name"}
        return {name: path for name, path in given.items() if path is not None}


def read_pairs(source: str | Path) -> tuple[CohortPair, ...]:
    """Read a list of pairs. No image is opened.

    Parameters
    ----------
    source : str or Path
        A CSV with the columns fixed and moving. The columns name, fixed_mask, moving_mask,
        fixed_labels and moving_labels are optional, and so are their cells. Paths are relative to
        the CSV. A pair without a name is called MOVING_to_FIXED, by the names of the files; if two
        images of the list have the same file name, by the parts of the paths that differ.

    Returns
    -------
    tuple[CohortPair, ...]
        The pairs, in the order of the file.

    Raises
    ------
    InputError
        If the file is no such list, or if two pairs have one name.
    """
    source = Path(source)
    header, rows = read_rows(source)
    known = [f.name for f in fields(CohortPair)]
    if not {"fixed", "moving"} <= set(header) <= set(known):
        raise InputError(
            f"{source} has the columns {', '.join(header)}; fixed, moving, and no others than"
            f" {', '.join(known[2:])} were expected"
        )
    if not rows:
        raise InputError(f"{source} holds no row below its header; at least one was expected")
    for line, row in rows:
        if not (row["fixed"] and row["moving"]):
            raise InputError(f"{source}, line {line} names no fixed or no moving image")
    # absolute, as the names may be the parts of the paths below one folder
    images = {row[side] for _, row in rows for side in ("fixed", "moving")}
    short = names_of(Path(os.path.abspath(source.parent / text)) for text in images)
    if len({Path(text).name for text in short.values()}) == len(short):
        short = {image: Path(text).name for image, text in short.items()}
    pairs = []
    for line, row in rows:
        files = {
            column: Path(os.path.normpath(source.parent / text))
            for column, text in row.items()
            if text and column != "name"
        }
        moving, fixed = (short[Path(os.path.abspath(files[s]))] for s in ("moving", "fixed"))
        name = row.get("name") or re.sub(r"[^\w.+@-]", "-", f"{moving}_to_{fixed}").lstrip(".+@-")
        try:
            pairs.append(CohortPair(name=name, **files))
        except InputError as error:
            raise InputError(f"{source}, line {line}: {error}") from error
    refuse_doubles(pairs)
    return tuple(pairs)


def refuse_doubles(pairs: Iterable[CohortPair]) -> None:
    """Refuse pairs whose results would lie in one folder.

    Parameters
    ----------
    pairs : iterable of CohortPair
        The pairs of a cohort.

    Raises
    ------
    InputError
        If two pairs have one name. Capital and small letters are the same, as on some disks.
    """
    seen: set[str] = set()
    for pair in pairs:
        if pair.name.casefold() in seen:
            raise InputError(
                f"two pairs have the name {pair.name!r}; give each a name of its own (column name)"
            )
        seen.add(pair.name.casefold())
