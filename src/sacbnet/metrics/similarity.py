"""TODO-DOC sacbnet.metrics.similarity."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sacbnet.losses import ncc_loss


def local_correlation(
    moved: torch.Tensor, fixed: torch.Tensor, mask: torch.Tensor | None = None
) -> float:
    """Mean squared local correlation in a 9³ box, in [0, 1]; (1, 1, i, j, k) both."""
    with torch.no_grad():
        return -float(ncc_loss(moved, fixed, 9, mask))


def mutual_information(
    moved: NDArray[np.floating], fixed: NDArray[np.floating], bins: int = 32
) -> float:
    """Normalised mutual information (H(a) + H(b)) / H(a, b), in [1, 2]; 1 is independence (Studholme et al., 1999)."""
    counts = np.bincount(_binned(moved, bins) * bins + _binned(fixed, bins), minlength=bins * bins)
    joint = counts.reshape(bins, bins) / moved.size

    def entropy(p: NDArray[np.floating]) -> float:
        p = p[p > 0]
        return float(-(p * np.log(p)).sum())

    h = entropy(joint)
    return (entropy(joint.sum(axis=0)) + entropy(joint.sum(axis=1))) / h if h > 0 else 1.0


def _binned(x: NDArray[np.floating], bins: int) -> NDArray[np.int64]:
    low, high = float(x.min()), float(x.max())
    scale = bins / (high - low) if high > low else 0.0
    return np.minimum(((x.ravel() - low) * scale).astype(np.int64), bins - 1)
