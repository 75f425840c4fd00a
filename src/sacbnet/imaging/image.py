"""An image: voxels, and where they lie in the world."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from sacbnet.spatial.grid import Grid

from .intensities import to_unit


@dataclass(frozen=True, eq=False)
class Image:
    """Voxels, and where they lie in the world.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The voxels, C-contiguous, in native byte order, scaled by the header. float32 for an image,
        integers for labels, bool for a mask.
    grid : Grid
        The place of the voxels, in mm (RAS).
    name : str, default "array"
        The path of the file, for messages.
    header : Nifti1Header, optional
        The NIfTI header; results are written with its codes.
    warnings : tuple of str, default ()
        Sentences about a header that can be read in two ways.
    scaled : bool, default False
        Whether the makers of the image have already scaled it to [0, 1]; see `unit`.
    """

    data: NDArray[Any] = field(repr=False)
    grid: Grid
    name: str = "array"
    header: Nifti1Header | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()
    scaled: bool = False

    def unit(self) -> NDArray[np.float32]:
        """Scale the intensities to [0, 1], as every network sees them, in training and later.

        The rule is `sacbnet.imaging.intensities.to_unit`. There is one exception: an image that its
        makers have already scaled (TransMorph's pickles) is only clipped, since published weights
        were trained on those values.

        Returns
        -------
        ndarray, shape (i, j, k)
            float32 in [0, 1].
        """
        if self.scaled:
            return np.asarray(np.clip(self.data, 0, 1), dtype=np.float32)
        return to_unit(self.data)
