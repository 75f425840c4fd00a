"""TODO-DOC sacbnet.metrics.folding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sacbnet.spatial.jacobian import jacobian_determinant, non_diffeomorphic_volume
from sacbnet.spatial.transforms import DisplacementField


@dataclass(frozen=True)
class Folding:
    """folded_percent: voxels with det J <= 0 by central differences. non_diffeomorphic_percent: volume of turned-over
    tetrahedra (Liu et al., IJCV 2024), the stricter one. sd_log_jacobian: SD of log det J over unfolded voxels."""

    folded_voxels: int
    folded_percent: float
    non_diffeomorphic_percent: float
    sd_log_jacobian: float
    jacobian_min: float
    jacobian_max: float


def folding(transform: DisplacementField, mask: NDArray[np.bool_] | None = None) -> Folding:
    """Folding of a transform on its grid. mask: where SD and extremes are taken; folding is counted all over."""
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
