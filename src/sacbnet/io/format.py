"""What a file format is: a class with `recognises`, `read` and `write`, for one kind of content."""

from __future__ import annotations

import gzip
import zlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from sacbnet.errors import InputError, OutputError
from sacbnet.imaging.image import Image
from sacbnet.imaging.points import Points
from sacbnet.spatial.composition import AnyTransform
from sacbnet.spatial.transforms import Affine, DisplacementField

from .convention import Between, Convention

Content = TypeVar("Content")


class Format(ABC, Generic[Content]):
    """A file format for one kind of content: images, transforms or points.

    A subclass names its suffixes and defines `read`. A format that is written, too, names those
    suffixes in `written` and defines `write`. Derive from `ImageFormat`, `FieldFormat`,
    `AffineFormat`, `TransformFormat` or `PointsFormat`. The table (`sacbnet.io.table`) makes one
    object of each class, without arguments.

    Attributes
    ----------
    suffixes : tuple of str
        Ends of the file names that are read, in lower case, with the dot.
    written : tuple of str, default ()
        Ends of the file names that are written.
    """

    suffixes: ClassVar[tuple[str, ...]]
    written: ClassVar[tuple[str, ...]] = ()

    def recognises(self, path: Path) -> bool:
        """Say whether a file is of this format; by its suffix, unless a subclass looks into it.

        Parameters
        ----------
        path : Path
            A file or folder that exists.

        Returns
        -------
        bool
            True if `read` should be called for this file.
        """
        return path.name.lower().endswith(self.suffixes) and not path.is_dir()

    @abstractmethod
    def read(self, path: Path) -> Content:
        """Read a file.

        Parameters
        ----------
        path : Path
            A file that exists and that `recognises` accepted.

        Returns
        -------
        Content
            What the file holds, in world millimetres (RAS).

        Raises
        ------
        InputError, GridError
            If the content cannot be used. The message names the file.
        """

    def write(self, path: Path, content: Content) -> None:
        """Write a file.

        Parameters
        ----------
        path : Path
            The file to write; its name ends with one of `written`.
        content : Content
            What is written, in world millimetres (RAS).

        Raises
        ------
        OutputError
            If the file cannot be written, or if the format is only read.
        """
        raise OutputError(f"{path} is of a format that is only read; choose another format")


class ImageFormat(Format[Image]):
    """A format of 3-D images. `read` returns the voxels as stored, after scaling by the header."""

    def read_grid(self, path: Path) -> Image:
        """Read an image of which only the grid and the header matter.

        Parameters
        ----------
        path : Path
            A file that `recognises` accepted.

        Returns
        -------
        Image
            The image; its voxels mean nothing.

        Raises
        ------
        InputError, GridError
            If the file gives no grid.
        """
        return self.read(path)


class FieldFormat(Format[DisplacementField]):
    """A format of displacement fields, fixed to moving.

    Attributes
    ----------
    tools : tuple of str, default ()
        Words of `sacbnet convert --to` for which this format is written.
    convention : Convention, default that of ITK
        What the numbers in the file mean.
    """

    tools: ClassVar[tuple[str, ...]] = ()
    convention: ClassVar[Convention] = Convention()

    def holds_vectors(self, path: Path) -> bool:
        """Say whether a file holds vectors and not grey values; many formats hold either.

        Parameters
        ----------
        path : Path
            A file that `recognises` accepted.

        Returns
        -------
        bool
            True if the file should be read as a displacement field rather than as an image.
        """
        return True


class AffineFormat(Format[Affine]):
    """A format of affine transforms, fixed to moving.

    Attributes
    ----------
    tools : tuple of str, default ()
        Words of `sacbnet convert --to` for which this format is written.
    convention : Convention, default that of ITK
        What the numbers in the file mean.
    """

    tools: ClassVar[tuple[str, ...]] = ()
    convention: ClassVar[Convention] = Convention()


class TransformFormat(Format[AnyTransform]):
    """A format of another tool: of transforms of several kinds, or in the frame of two images.

    A file is offered to these formats before the formats of fields and of affines.

    Attributes
    ----------
    tools : tuple of str, default ()
        Words of `sacbnet convert --to` for which this format is written.
    linear, dense : bool, default True
        Whether it holds affines, and whether it holds displacement fields.
    needs_images : bool, default False
        Whether a file means nothing without the grids of both images.
    convention : Convention, default that of ITK
        What the numbers in the file mean.
    """

    tools: ClassVar[tuple[str, ...]] = ()
    linear: ClassVar[bool] = True
    dense: ClassVar[bool] = True
    needs_images: ClassVar[bool] = False
    convention: ClassVar[Convention] = Convention()

    def read(self, path: Path) -> AnyTransform:
        """Read a file that needs no images.

        Parameters
        ----------
        path : Path
            A file that `recognises` accepted.

        Returns
        -------
        Affine, DisplacementField or Chain
            The transform, fixed to moving, in world millimetres (RAS).

        Raises
        ------
        InputError, GridError
            If the content cannot be used, or needs the images.
        """
        return self.read_between(path, Between())

    def write(self, path: Path, content: AnyTransform) -> None:
        """Write a file that needs no images.

        Parameters
        ----------
        path : Path
            The file to write.
        content : Affine, DisplacementField or Chain
            The transform, fixed to moving, in world millimetres (RAS).

        Raises
        ------
        InputError, OutputError
            If the file cannot be written, or needs the images.
        """
        self.write_between(path, content, Between())

    @abstractmethod
    def read_between(self, path: Path, between: Between) -> AnyTransform:
        """Read a file, with the grids of its two images.

        Parameters
        ----------
        path : Path
            A file that `recognises` accepted.
        between : Between
            The grids, as far as they are known.

        Returns
        -------
        Affine, DisplacementField or Chain
            The transform, fixed to moving, in world millimetres (RAS).

        Raises
        ------
        InputError, GridError
            If the content cannot be used, or a grid is needed that is not known.
        """

    def write_between(self, path: Path, content: AnyTransform, between: Between) -> None:
        """Write a file, with the grids of its two images.

        Parameters
        ----------
        path : Path
            The file to write.
        content : Affine, DisplacementField or Chain
            The transform, fixed to moving, in world millimetres (RAS).
        between : Between
            The grids, as far as they are known.

        Raises
        ------
        InputError, OutputError
            If the file cannot be written, or a grid is needed that is not known.
        """
        raise OutputError(f"{path} is of a format that is only read; choose another format")


class PointsFormat(Format[Points]):
    """A format of landmarks."""


def first_bytes(path: Path, count: int = 12) -> bytes:
    """Read the first bytes of a file; of its content if the file is compressed by gzip.

    Parameters
    ----------
    path : Path
        A file that exists.
    count : int, default 12
        Number of bytes.

    Returns
    -------
    bytes
        At most `count` bytes; fewer if the file is shorter.

    Raises
    ------
    InputError
        If the file cannot be read or its compressed content is damaged.
    """
    try:
        with path.open("rb") as file:
            head = file.read(count)
        if head[:2] == b"\x1f\x8b":
            with gzip.open(path) as unpacked:
                head = unpacked.read(count)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be read: damaged, cut short or not an image ({reason(error)})"
        ) from error
    return head


def reason(error: Exception) -> str:
    """Return the last line of an error's text: SimpleITK puts its own traceback before it.

    Parameters
    ----------
    error : Exception
        Any error.

    Returns
    -------
    str
        One line; the name of the error's class if the error has no text.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
