"""The table of file formats: every format that can be read or written, and the choice for a file.

A format joins in one of two ways; no other file changes.

- In this package: a module in the folder `formats` that defines a subclass of `ImageFormat`,
  `FieldFormat`, `AffineFormat` or `PointsFormat` (`sacbnet.io.format`).
- From another installed package: such a class, named in that package's pyproject.toml::

    [project.entry-points."sacbnet.formats"]
    myformat = "mypackage.io:MyFormat"
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, TypeVar

from . import formats as folder
from .format import Format

ENTRY_POINTS = "sacbnet.formats"
_FIRST = ("nifti", "mgh", "analyze", "nrrd", "metaimage", "itk_affine", "csv", "slicer")
_LAST = ("dicom",)  # it accepts any folder, so every other format is asked before it

Kind = TypeVar("Kind", bound=Format[Any])


@cache
def all_formats() -> tuple[Format[Any], ...]:
    """Make one object of every format.

    Returns
    -------
    tuple of Format
        In the order in which a file is offered to them: the formats of this package, then those of
        other packages by the names of their entry points, then DICOM.
    """
    kinds = classes_in(folder, Format, first=_FIRST)
    last = [kind for kind in kinds if kind.__module__.rpartition(".")[2] in _LAST]
    kinds = [kind for kind in kinds if kind not in last]
    kinds += classes_from_outside(ENTRY_POINTS, Format, "file format")
    return tuple(kind() for kind in (*kinds, *last))


def classes_in(package: ModuleType, kind: type, first: Sequence[str]) -> list[Any]:
    """Find the classes that the modules of a folder define.

    Parameters
    ----------
    package : module
        The folder.
    kind : type
        The class from which they are derived.
    first : sequence of str
        Names of modules that come first, in this order. The others follow by their names.

    Returns
    -------
    list of type
        The classes, in the order of the modules and then of their definition.
    """
    more = sorted({module.name for module in iter_modules(package.__path__)} - {*first})
    modules = [import_module(f"{package.__name__}.{name}") for name in (*first, *more)]
    return [
        found
        for module in modules
        for found in vars(module).values()
        if isinstance(found, type)
        and issubclass(found, kind)
        and found.__module__ == module.__name__
        and not found.__name__.startswith("_")
    ]


def classes_from_outside(group: str, kind: type, what: str) -> list[Any]:
    """Load the classes that other installed packages offer.

    A class that cannot be used is left out with a warning: the files of other formats can still be
    read.

    Parameters
    ----------
    group : str
        Name of the group of entry points, such as "sacbnet.formats".
    kind : type
        The class from which the offered classes must be derived.
    what : str
        What such a class is, for the warning.

    Returns
    -------
    list of type
        The classes, in the order of the names of their entry points.
    """
    found = []
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        try:
            offered = point.load()
        except Exception as error:  # another package's module may raise anything
            problem = f"cannot be imported ({error})"
        else:
            if isinstance(offered, type) and issubclass(offered, kind):
                found.append(offered)
                continue
            problem = f"is no class derived from {kind.__name__}"
        warnings.warn(
            f"the {what} {point.name!r} ({point.value}) {problem}; it is left out: correct or"
            " remove its package",
            stacklevel=2,
        )
    return found


def formats(kind: type[Kind]) -> tuple[Kind, ...]:
    """List the formats of one kind.

    Parameters
    ----------
    kind : type
        `ImageFormat`, `FieldFormat`, `AffineFormat` or `PointsFormat`.

    Returns
    -------
    tuple of Format
        In the order in which a file is offered to them.
    """
    return tuple(found for found in all_formats() if isinstance(found, kind))


def reader(kind: type[Kind], path: Path) -> Kind | None:
    """Find the format that reads a file.

    Parameters
    ----------
    kind : type
        `ImageFormat`, `FieldFormat`, `AffineFormat` or `PointsFormat`.
    path : Path
        A file or folder that exists.

    Returns
    -------
    Format or None
        The first format of this kind that recognises the file; None if no format does.
    """
    return next((found for found in formats(kind) if found.recognises(path)), None)


def writer(kind: type[Kind], path: Path) -> Kind | None:
    """Find the format that writes a file of this name.

    Parameters
    ----------
    kind : type
        `ImageFormat`, `FieldFormat`, `AffineFormat` or `PointsFormat`.
    path : Path
        The file to write.

    Returns
    -------
    Format or None
        The first format of this kind that writes this suffix; None if no format does.
    """
    name = path.name.lower()
    return next((found for found in formats(kind) if name.endswith(found.written)), None)


def suffixes(kind: type[Kind]) -> tuple[str, ...]:
    """List the suffixes that are read as one kind of content.

    Parameters
    ----------
    kind : type
        `ImageFormat`, `FieldFormat`, `AffineFormat` or `PointsFormat`.

    Returns
    -------
    tuple of str
        In lower case, with the dot. DICOM is not among them: its files often have no suffix.
    """
    return _once(suffix for found in formats(kind) for suffix in found.suffixes)


def written_suffixes(kind: type[Kind]) -> tuple[str, ...]:
    """List the suffixes that are written for one kind of content.

    Parameters
    ----------
    kind : type
        `ImageFormat`, `FieldFormat`, `AffineFormat` or `PointsFormat`.

    Returns
    -------
    tuple of str
        In lower case, with the dot.
    """
    return _once(suffix for found in formats(kind) for suffix in found.written)


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
