"""What the numbers in a file of transforms mean, and the two images that some of them need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sacbnet.errors import InputError
from sacbnet.spatial.grid import Grid


@dataclass(frozen=True)
class Between:
    """Grids of the two images that a transform connects. Some formats mean nothing without them.

    Parameters
    ----------
    fixed, moving : Grid or None, default None
        Grids of the two images; None: not known.
    """

    fixed: Grid | None = None
    moving: Grid | None = None

    def both(self, path: Path, why: str) -> tuple[Grid, Grid]:
        """Give both grids, or say why they are needed.

        Parameters
        ----------
        path : Path
            The file, for the message.
        why : str
            What the format does, for the message: "counts in ...".

        Returns
        -------
        tuple of Grid
            Grids of the fixed and the moving image.

        Raises
        ------
        InputError
            If one of them is not known.
        """
        if self.fixed is None or self.moving is None:
            lacking = "fixed" if self.fixed is None else "moving"
            raise InputError(
                f"{path} {why}, so it means nothing without its two images; the {lacking} image is"
                " not known: give --fixed and --moving"
            )
        return self.fixed, self.moving


@dataclass(frozen=True)
class Convention:
    """What the numbers in a file of transforms mean, in words.

    Parameters
    ----------
    direction : str, default "points of fixed -> points of moving"
        Which way the file points.
    unit : str, default "mm"
        Unit of its numbers.
    frame : str, default "LPS (ITK)"
        Axes of its numbers.
    """

    direction: str = "points of fixed -> points of moving"
    unit: str = "mm"
    frame: str = "LPS (ITK)"
