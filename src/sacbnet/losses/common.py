"""What the losses share: checks of their inputs, and the precision in which they compute."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from sacbnet.errors import InputError


def at_least_single(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Bring tensors to one type, float32 or better.

    Under ``torch.no_grad`` the tensors are detached, because an ``autograd.Function`` cannot see
    that no gradient is wanted.

    Parameters
    ----------
    *tensors : Tensor
        Tensors of any floating type.

    Returns
    -------
    tuple of Tensor
        The tensors in their common type, contiguous.
    """
    dtype = torch.float32
    for x in tensors:
        dtype = torch.promote_types(dtype, x.dtype)
    wide = tuple(x.to(dtype).contiguous() for x in tensors)
    return wide if torch.is_grad_enabled() else tuple(x.detach() for x in wide)


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Switch autocast off.

    Parameters
    ----------
    x : Tensor
        A tensor on the device where autocast is switched off.

    Returns
    -------
    context manager
        Within it, operations keep the types of their inputs.
    """
    return torch.autocast(x.device.type, enabled=False)


def same_images(moved: Tensor, fixed: Tensor) -> None:
    """Check that two tensors are images of one shape.

    Parameters
    ----------
    moved, fixed : Tensor, shape (b, c, i, j, k)
        The images.

    Raises
    ------
    InputError
        For other or unequal shapes.
    """
    if moved.shape != fixed.shape or moved.ndim != 5:
        raise InputError(
            f"images of shapes {tuple(moved.shape)} and {tuple(fixed.shape)} were given; one shape"
            " (b, c, i, j, k) was expected: resample one onto the other's grid"
        )


def shares(mask: Tensor | None, images: Tensor) -> Tensor | None:
    """Turn a mask into the shares that voxels have in a mean over a batch.

    Samples count equally, however large their masks are.

    Parameters
    ----------
    mask : Tensor, shape (b, 1, i, j, k), or None
        Weights of the voxels; None means equal weights.
    images : Tensor, shape (b, c, i, j, k)
        The images.

    Returns
    -------
    Tensor, shape (b, 1, i, j, k), or None
        Shares that add up to 1, in the type of the images; None means equal shares.

    Raises
    ------
    InputError
        For a mask of another shape, or one that is empty for some sample.
    """
    if mask is None:
        return None
    if mask.shape[2:] != images.shape[2:]:
        raise InputError(
            f"the mask has shape {tuple(mask.shape)}; the images' {tuple(images.shape)} was"
            " expected"
        )
    weight = mask.to(images.dtype).expand(len(images), 1, *images.shape[2:])
    total = weight.flatten(1).sum(1)
    if not bool((total > 0).all()):
        raise InputError(
            "the mask of the loss is empty for a sample; give one that covers part of each image"
        )
    return weight / (len(images) * total).view(-1, 1, 1, 1, 1)


def displacement(u: Tensor) -> None:
    """Check that a tensor is a displacement.

    Parameters
    ----------
    u : Tensor, shape (b, 3, i, j, k)
        The displacement.

    Raises
    ------
    InputError
        For another shape.
    """
    if u.ndim != 5 or u.shape[1] != 3:
        raise InputError(
            f"the displacement has shape {tuple(u.shape)}; (b, 3, i, j, k) was expected: put the"
            " components second"
        )
