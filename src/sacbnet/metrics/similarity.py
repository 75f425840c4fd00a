"""Likeness of two images: local correlation and normalised mutual information."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sacbnet.losses import ncc_loss


def local_correlation(
    moved: torch.Tensor, fixed: torch.Tensor, mask: torch.Tensor | None = None
) -> float:
    """Compute the mean squared local correlation in a box of 9³ voxels.

    Parameters
    ----------
    moved, fixed : Tensor, shape (1, 1, i, j, k)
        The images.
    mask : Tensor, shape (1, 1, i, j, k), optional
        Weights of the voxels in the mean; None means equal weights.

    Returns
    -------
    float
        In [0, 1]; 1 where the images are linearly related in each box.

    Raises
    ------
    InputError
        For unequal shapes, or an empty mask.
    """
    with torch.no_grad():
        return -float(ncc_loss(moved, fixed, 9, mask))


def mutual_information(
    moved: NDArray[np.floating], fixed: NDArray[np.floating], bins: int = 32
) -> float:
    """Compute the normalised mutual information (H(a) + H(b)) / H(a, b).

    Parameters
    ----------
    moved, fixed : array
        Intensities of the same voxels, of one shape. Each image's range is divided into equal bins.
    bins : int, default 32
        Number of bins of each image.

    Returns
    -------
    float
        In [1, 2]; 1 means independence. It is 1 for two constant images.

    References
    ----------
    Studholme et al., "An overlap invariant entropy measure of 3D medical image alignment", Pattern
    Recognition 1999.
    """
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
