"""TODO-DOC sacbnet.imaging.image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from sacbnet.spatial.grid import Grid


@dataclass(frozen=True, eq=False)
class Image:
    """Voxels and where they lie.

    data: (i, j, k), C-contiguous, native byte order, scl_slope applied; float32 (image), integers (labels) or bool
    (mask).
    grid: world mm, RAS. name: the path, or 'array'. header: NIfTI header, kept to write results with the same codes.
    warnings: sentences on what in the header may be read in two ways.
    """

    data: NDArray[Any] = field(repr=False)
    grid: Grid
    name: str = "array"
    header: Nifti1Header | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()
