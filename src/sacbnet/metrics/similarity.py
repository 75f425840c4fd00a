"""Likeness of two images: local correlation and normalised mutual information."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sacbnet.losses import ncc_loss


@dataclass(frozen=True)
class LocalMoments:
    """Means, variances and covariance of two images in boxes, over the voxels that count.

    Parameters
    ----------
    number : array, shape (i, j, k)
        Number of voxels that count in the box about each voxel, at least 1.
    means : tuple of array, shape (i, j, k)
        Means of the first and the second image.
    variances : tuple of array, shape (i, j, k)
        Variances of the two.
    covariance : array, shape (i, j, k)
        Covariance of the two.
    """

    number: NDArray[np.floating]
    means: tuple[NDArray[np.floating], NDArray[np.floating]]
    variances: tuple[NDArray[np.floating], NDArray[np.floating]]
    covariance: NDArray[np.floating]

    @classmethod
    def of(
        cls,
        a: NDArray[np.floating],
        b: NDArray[np.floating],
        counts: NDArray[np.bool_],
        window: int,
    ) -> LocalMoments:
        """Measure two images.

        Parameters
        ----------
        a, b : array, shape (i, j, k)
            The images.
        counts : array of bool, shape (i, j, k)
            The voxels that count. Nothing lies beyond the faces.
        window : int
            Side of the box, voxels.

        Returns
        -------
        LocalMoments
            The moments.
        """
        shown = counts.astype(a.dtype)
        a, b = a * shown, b * shown
        n = np.maximum(box_sum(shown, window), 1)
        mean_a, mean_b = box_sum(a, window) / n, box_sum(b, window) / n
        return cls(
            n,
            (mean_a, mean_b),
            (
                np.maximum(box_sum(a * a, window) / n - mean_a**2, 0),
                np.maximum(box_sum(b * b, window) / n - mean_b**2, 0),
            ),
            box_sum(a * b, window) / n - mean_a * mean_b,
        )


def box_sum(x: NDArray[np.floating], window: int) -> NDArray[np.floating]:
    """Sum up an image in the box about each voxel.

    Parameters
    ----------
    x : array, shape (i, j, k)
        The image; 0 beyond its faces.
    window : int
        Side of the box, voxels.

    Returns
    -------
    array, shape (i, j, k)
        The sums.

    Examples
    --------
    >>> box_sum(np.ones((3, 3, 3)), 3)[1, 1, 1].round(6)
    np.float64(27.0)
    """
    from scipy.ndimage import uniform_filter  # slow to import

    return np.asarray(uniform_filter(x, window, mode="constant")) * window**3


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
