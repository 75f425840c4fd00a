"""What the losses share: the checks of their inputs, and the precision they compute in."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from sacbnet.errors import InputError


def at_least_single(*tensors: Tensor) -> tuple[Tensor, ...]:
    """In one type, float32 or better, and contiguous; detached under no_grad, which autograd.Functions cannot see."""
    dtype = torch.float32
    for x in tensors:
        dtype = torch.promote_types(dtype, x.dtype)
    wide = tuple(x.to(dtype).contiguous() for x in tensors)
    return wide if torch.is_grad_enabled() else tuple(x.detach() for x in wide)


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Autocast switched off on the tensor's device."""
    return torch.autocast(x.device.type, enabled=False)


def same_images(moved: Tensor, fixed: Tensor) -> None:
    """InputError unless both are (b, c, i, j, k) of one shape."""
    if moved.shape != fixed.shape or moved.ndim != 5:
        raise InputError(
            f"images of shapes {tuple(moved.shape)} and {tuple(fixed.shape)} were given; one shape (b, c, i, j, k) was"
            " expected: resample one onto the other's grid"
        )


def displacement(u: Tensor) -> None:
    """InputError unless (b, 3, i, j, k)."""
    if u.ndim != 5 or u.shape[1] != 3:
        raise InputError(
            f"the displacement has shape {tuple(u.shape)}; (b, 3, i, j, k) was expected: put the components second"
        )
