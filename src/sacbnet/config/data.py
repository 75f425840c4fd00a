"""Options of the data of a training run: which images, in which pairs, on which grid."""

from __future__ import annotations

from dataclasses import dataclass

from .build import conform
from .choices import Alignment, Pairing
from .validation import OptionError, at_least, one_of


@dataclass(frozen=True)
class DataOptions:
    """Which images, in which pairs, on which grid.

    Parameters
    ----------
    source : str, default ""
        What `sacbnet data check` reads, or a pack. It is usually given with ``--data``.
    train, validation : str, default ""
        Which cases of the source: "0:160" in the order of names, or globs of names. "" means all.
    train_pairs, validation_pairs : {"all", "cyclic", "atlas", "listed"}
        All ordered pairs; each case with the next one; pairs whose moving image is the case
        `atlas`; or the pairs that the source lists. Default "all" and "cyclic".
    atlas : str, default ""
        Name of the case that is the moving image of atlas pairs.
    labels : tuple of int, default ()
        Labels that are scored and that the Dice loss sees; () means all that are found.
    spacing_mm : float, default 0
        Voxel size of the grid, in mm; 0 keeps that of the images.
    shape : tuple of 3 int, default ()
        Voxels of the grid along each axis; () takes those of the first case.
    align : {"header", "centre"}, default "header"
        How images come onto the grid: by their headers, or by the centres of their boxes.
    bits : {8, 16}, default 16
        Bits of a voxel in the packed set.

    Raises
    ------
    OptionError
        For a value that is not valid.
    """

    source: str = ""
    train: str = ""
    validation: str = ""
    train_pairs: Pairing = "all"
    validation_pairs: Pairing = "cyclic"
    atlas: str = ""
    labels: tuple[int, ...] = ()
    spacing_mm: float = 0.0
    shape: tuple[int, ...] = ()
    align: Alignment = "header"
    bits: int = 16

    def __post_init__(self) -> None:
        conform(self)
        one_of(self, bits=(8, 16))
        at_least(self, spacing_mm=0)
        if len(self.shape) not in (0, 3) or any(n < 1 for n in self.shape):
            raise OptionError("shape", list(self.shape), "a list of three positive numbers, or [],")
