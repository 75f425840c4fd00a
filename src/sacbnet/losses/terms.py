"""Calls of losses that are chosen by name and parameters (`losses.registry`)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sacbnet.errors import InputError

from .registry import Loss, Similarity, Smoothness, function_of


def similarity_loss(
    moved: Tensor, fixed: Tensor, loss: Similarity, mask: Tensor | None = None, scales: int = 1
) -> Tensor:
    """Measure how unlike two images are, at one or several resolutions.

    Parameters
    ----------
    moved, fixed : Tensor, shape (b, 1, i, j, k)
        The images, in [0, 1].
    loss : Similarity
        The loss with its parameters.
    mask : Tensor, shape (b, 1, i, j, k), optional
        Where the images count; a loss that takes no mask ignores it. None means everywhere.
    scales : int, default 1
        Number of resolutions: the first is that of the images, each further one is half of the one
        before.

    Returns
    -------
    Tensor, scalar
        Mean over the resolutions; smaller is more alike.

    Raises
    ------
    InputError
        For images, a mask or parameters that the loss does not take.

    Examples
    --------
    >>> from sacbnet.losses.registry import MSE
    >>> float(similarity_loss(torch.ones(1, 1, 4, 4, 4), torch.zeros(1, 1, 4, 4, 4), MSE()))
    1.0
    """
    terms = [_of_images(moved, fixed, loss, mask)]
    for scale in range(1, scales):
        moved, fixed = F.avg_pool3d(moved, 2), F.avg_pool3d(fixed, 2)
        mask = None if mask is None else F.avg_pool3d(mask, 2)
        terms.append(_of_images(moved, fixed, loss.at_scale(scale), mask))
    return torch.stack(terms).mean()


def _of_images(moved: Tensor, fixed: Tensor, loss: Similarity, mask: Tensor | None) -> Tensor:
    place = {"mask": mask} if loss.masked else {}
    return _scalar(loss, function_of(loss)(moved, fixed, **loss.arguments(), **place))


def smoothness_loss(displacement_vox: Tensor, loss: Smoothness) -> Tensor:
    """Measure how rough a displacement is.

    Parameters
    ----------
    displacement_vox : Tensor, shape (b, 3, i, j, k)
        The displacement, in voxels.
    loss : Smoothness
        The loss with its parameters.

    Returns
    -------
    Tensor, scalar
        The roughness, in the unit of the loss.

    Raises
    ------
    InputError
        For a displacement or parameters that the loss does not take.
    """
    return _scalar(loss, function_of(loss)(displacement_vox, **loss.arguments()))


def _scalar(loss: Loss, found: object) -> Tensor:
    """The value of a loss; somebody else's function may return anything."""
    if not isinstance(found, Tensor) or found.ndim:
        what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise InputError(f"the loss {loss.name!r} gave {what}; a scalar tensor was expected")
    return found
