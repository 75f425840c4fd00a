"""An image: voxels, and where they lie in the world."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from sacbnet.spatial.grid import Grid

from .scaling import Scaling, scaling_of


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
    missing : ndarray of bool, shape (i, j, k), or None, default None
        Voxels that are NaN or infinite in the file; `data` holds a finite value there. None: there
        are none.
    """

    data: NDArray[Any] = field(repr=False)
    grid: Grid
    name: str = "array"
    header: Nifti1Header | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()
    scaled: bool = False
    missing: NDArray[np.bool_] | None = field(default=None, repr=False)

    @cached_property
    def scaling(self) -> Scaling:
        """How the intensities become [0, 1]: found once, when it is first asked for."""
        if self.scaled:
            return Scaling(0.0, 1.0, outside=self.missing)
        return scaling_of(self.data, self.missing, self.name)

    def unit(self) -> NDArray[np.float32]:
        """Scale the intensities to [0, 1], as every network sees them, in training and later.

        The rule is `sacbnet.imaging.intensities.to_unit`; `sacbnet.imaging.scaling` has the rules
        for images that are not ordinary. There is one exception: an image that its makers have
        already scaled (TransMorph's pickles) is only clipped, since published weights were trained
        on those values.

        Returns
        -------
        ndarray, shape (i, j, k)
            float32 in [0, 1].
        """
        return self.scaling.unit(self.data)
