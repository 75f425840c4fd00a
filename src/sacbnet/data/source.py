"""What a source of cases is, and the table of all sources.

A source lists the cases of a dataset, and perhaps its pairs. It opens no image. A source joins in
one of two ways; no other file changes.

- In this package: a module in the folder `sources` that defines a subclass of `Source`.
- From another installed package: such a class, named in that package's pyproject.toml::

    [project.entry-points."sacbnet.datasets"]
    mydataset = "mypackage.data:MyDataset"
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path
from typing import ClassVar

from sacbnet.errors import InputError
from sacbnet.io.table import classes_from_outside, classes_in

from . import sources as folder
from .cases import PairList

ENTRY_POINTS = "sacbnet.datasets"
_ORDER = ("folders", "pickles", "flat", "csv", "learn2reg")  # "flat" accepts any folder


class Source(ABC):
    """One kind of dataset: how it is recognised, and how its cases are listed.

    The table makes one object of each class, without arguments.

    Attributes
    ----------
    expected : str
        What the user gives, for messages: "a folder", "a .csv".
    """

    expected: ClassVar[str]

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Say whether a dataset is of this kind.

        Parameters
        ----------
        path : Path
            A file or folder that exists.

        Returns
        -------
        bool
            True if `read` should be called for it.
        """

    @abstractmethod
    def read(self, path: Path) -> PairList:
        """List the cases of a dataset.

        Parameters
        ----------
        path : Path
            A file or folder that `recognises` accepted.

        Returns
        -------
        PairList
            The cases in the natural order of their names, and the pairs that the dataset names.

        Raises
        ------
        InputError
            If the dataset is not as expected. The message names the file, and the row.
        """


@cache
def all_sources() -> tuple[Source, ...]:
    """Make one object of every source.

    Returns
    -------
    tuple of Source
        In the order in which a dataset is offered to them. Sources of other packages come first:
        those of this package accept every folder, every .csv and every .json.
    """
    kinds = classes_from_outside(ENTRY_POINTS, Source, "dataset")
    kinds += classes_in(folder, Source, first=_ORDER)
    return tuple(kind() for kind in kinds)


def source_of(path: Path) -> Source | None:
    """Find the source that lists a dataset.

    Parameters
    ----------
    path : Path
        Any path.

    Returns
    -------
    Source or None
        The first source that recognises it; None if no source does, or if nothing is there.
    """
    if not path.exists():
        return None
    return next((source for source in all_sources() if source.recognises(path)), None)


def expected() -> str:
    """List what can be given as a dataset, for messages.

    Returns
    -------
    str
        Such as "a folder, a .csv or a Learn2Reg .json".
    """
    *most, last = dict.fromkeys(source.expected for source in all_sources())
    return f"{', '.join(most)} or {last}" if most else last


def read_cases(source: str | Path) -> PairList:
    """List the cases of a dataset, and its pairs if it names any. No image is opened.

    Parameters
    ----------
    source : str or Path
        A folder (with images/, and labels/ and points/ beside it; or images; or pickles of
        TransMorph), a .csv, a Learn2Reg .json, or a dataset of another package
        (`sacbnet.data.source`). The reference of the data shows each kind.

    Returns
    -------
    PairList
        The cases and the pairs.

    Raises
    ------
    InputError
        If nothing is there, or if the dataset is not as expected. The message names the file, and
        the row.
    """

    source = Path(source)
    found = source_of(source)
    if found is not None:
        return found.read(source)
    problem = "is no list of cases" if source.exists() else "does not exist"
    raise InputError(f"{source} {problem}; {expected()} was expected")


def is_source(path: str | Path) -> bool:
    """Say whether `read_cases` reads a file or folder.

    Parameters
    ----------
    path : str or Path
        Any path.

    Returns
    -------
    bool
        True if it is there and a source recognises it.
    """

    return source_of(Path(path)) is not None
