"""Regularity of a transform: folding, and the spread of its local changes of volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sacbnet.spatial.jacobian import jacobian_determinant, non_diffeomorphic_volume
from sacbnet.spatial.transforms import DisplacementField


@dataclass(frozen=True)
class Folding:
    """Regularity of a transform.

    Parameters
    ----------
    folded_voxels : int
        Number of voxels with det J <= 0, J by central differences.
    folded_percent : float
        Their percentage of all voxels.
    non_diffeomorphic_percent : float
        Volume of the tetrahedra that the transform turns over, in % of the lattice. It is the
        stricter number: 0 means that the piecewise linear map is one-to-one.
    sd_log_jacobian : float
        Standard deviation of log det J over the voxels that do not fold; NaN without any.
    jacobian_min, jacobian_max : float
        Smallest and largest det J; NaN without any voxel.

    References
    ----------
    Liu et al., "On finite difference Jacobian computation in deformable image registration", IJCV
    2024.
    """

    folded_voxels: int
    folded_percent: float
    non_diffeomorphic_percent: float
    sd_log_jacobian: float
    jacobian_min: float
    jacobian_max: float


def folding(transform: DisplacementField, mask: NDArray[np.bool_] | None = None) -> Folding:
    """Measure the folding of a transform on its own grid.

    Parameters
    ----------
    transform : DisplacementField
        The transform.
    mask : array of bool, shape (i, j, k), optional
        Where the standard deviation and the extremes are taken; None means everywhere. Folding is
        counted everywhere in either case.

    Returns
    -------
    Folding
        The numbers.
    """
    u = torch.from_numpy(transform.displacement_vox()).permute(3, 0, 1, 2)
    det = jacobian_determinant(u).numpy()
    inside = det if mask is None else det[mask]
    folded = int((det <= 0).sum())
    growing = inside[inside > 0].astype(np.float64)
    return Folding(
        folded_voxels=folded,
        folded_percent=100 * folded / det.size,
        non_diffeomorphic_percent=non_diffeomorphic_volume(u),
        sd_log_jacobian=float(np.log(growing).std()) if growing.size else float("nan"),
        jacobian_min=float(inside.min()) if inside.size else float("nan"),
        jacobian_max=float(inside.max()) if inside.size else float("nan"),
    )
