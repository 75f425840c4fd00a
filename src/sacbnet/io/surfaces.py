"""Surface meshes: their vertices are moved, everything else in the file stays as it is."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sacbnet.errors import InputError, OutputError
from sacbnet.files import Claim, atomic_file

from .format import Format, reason
from .table import reader, suffixes

Frame = Literal["LPS", "RAS"]
_SIGNS = {"RAS": np.array([1.0, 1.0, 1.0]), "LPS": np.array([-1.0, -1.0, 1.0])}
Vertices = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Surface:
    """The vertices of a mesh, and how its file is written with other vertices.

    Parameters
    ----------
    vertices : ndarray of float64, shape (n, 3)
        The vertices as they stand in the file, mm.
    frame : {"LPS", "RAS"}
        The frame of the vertices in the file.
    stated : bool
        Whether the file states its frame.
    rebuild : callable
        Takes vertices in the frame of the file, and returns the bytes of the new file.
    notes : tuple of str, default ()
        What a user should know about the file.
    """

    vertices: Vertices = field(repr=False)
    frame: Frame
    stated: bool
    rebuild: Callable[[Vertices], bytes] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def xyz(self) -> Vertices:
        """(n, 3): the vertices in mm (RAS)."""
        return np.asarray(self.vertices * _SIGNS[self.frame])

    def written(self, xyz: Vertices) -> bytes:
        """Give the file with other vertices.

        Parameters
        ----------
        xyz : ndarray, shape (n, 3)
            The new vertices, in mm (RAS), as many as before.

        Returns
        -------
        bytes
            The content of the file; its frame is that of the file that was read.
        """
        return self.rebuild(xyz * _SIGNS[self.frame])


class SurfaceFormat(Format[Surface]):
    """A format of surface meshes."""

    @override
    @abstractmethod
    def read(self, path: Path) -> Surface:
        """Read a mesh.

        Parameters
        ----------
        path : Path
            A file that `recognises` accepted.

        Returns
        -------
        Surface
            The vertices, and how the file is written with others.

        Raises
        ------
        InputError
            If the file cannot be used.
        """


def is_surface(path: str | Path) -> bool:
    """Say whether a file has the name of a surface mesh.

    Parameters
    ----------
    path : str or Path
        Any file.

    Returns
    -------
    bool
        True if `load_surface` should read it.
    """
    return Path(path).is_file() and reader(SurfaceFormat, Path(path)) is not None


def load_surface(path: str | Path) -> Surface:
    """Read a surface mesh.

    Parameters
    ----------
    path : str or Path
        A .gii, a legacy .vtk (PolyData or UnstructuredGrid), or an .stl.

    Returns
    -------
    Surface
        The vertices, and how the file is written with others.

    Raises
    ------
    InputError
        If the file is missing, damaged, or of another format.
    """
    path = Path(path)
    found = reader(SurfaceFormat, path) if os.path.isfile(path) else None
    if found is None:
        raise InputError(
            f"{path} is no surface mesh; a file with {', '.join(suffixes(SurfaceFormat))} was"
            " expected"
        )
    try:
        surface = found.read(path)
    except InputError:
        raise
    except Exception as error:  # readers raise many kinds
        raise InputError(
            f"{path} cannot be read as a mesh ({reason(error)}); it is damaged or cut short"
        ) from error
    if not len(surface.vertices) or not np.isfinite(surface.vertices).all():
        raise InputError(f"{path} has no vertices, or vertices that are NaN or infinite")
    return surface


def save_surface(
    path: str | Path,
    source: str | Path,
    surface: Surface,
    xyz: Vertices,
    claim: Claim | None = None,
) -> None:
    """Write a mesh with other vertices.

    Parameters
    ----------
    path : str or Path
        The file to write, with the suffix of `source`.
    source : str or Path
        The file from which the mesh was read.
    surface : Surface
        The mesh.
    xyz : ndarray, shape (n, 3)
        Its new vertices, mm (RAS).
    claim : Claim or None, default None
        From the beginning of the work (`files.Claim`): what another process wrote since stays.

    Raises
    ------
    OutputError
        If the suffix is another one, or the file cannot be written.
    """
    path, suffix = Path(path), Path(source).suffix.lower()
    if path.suffix.lower() != suffix:
        raise OutputError(
            f"{path} is no name for this mesh, which keeps its format; {suffix} was expected"
        )
    with atomic_file(path, claim) as part:
        part.write_bytes(surface.written(xyz))
