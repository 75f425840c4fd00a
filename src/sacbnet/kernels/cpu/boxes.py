"""Box means, local correlation and mean square gradient in C++: memory is read a few times, not once per operation.

Definitions: `sacbnet.losses.similarity` and `sacbnet.losses.smoothness`, which dispatch here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import native
from .memory import empty


def takes(*tensors: Tensor | None) -> bool:
    """Whether the functions below can take these: float32, dense, not empty, and `native.usable`."""
    given = [t for t in tensors if t is not None]
    return all(
        t.dtype == torch.float32 and t.numel() > 0 and t.ndim >= 3 for t in given
    ) and native.usable(*given)


def box_mean(x: Tensor, window: int) -> Tensor:
    """Mean over the window³ box around each voxel, zeros beyond the edge: (..., i, j, k) -> same shape."""
    x = x.contiguous()
    between, out = _like(x), _like(x)
    native.call("box_mean", x, between, out, *_sizes(x), window // 2, torch.get_num_threads())
    return out


def correlation(
    moved: Tensor,
    fixed: Tensor,
    window: int,
    weight: Tensor | None,
    epsilon: float,
    with_slope: bool,
) -> tuple[Tensor, Tensor | None]:
    """ncc_loss of (b, 1, i, j, k), and its gradient by `moved`. weight adds up to 1; epsilon is of means, not sums."""
    share = 1 / moved.numel()
    moved, fixed = moved.contiguous(), fixed.contiguous()
    weight = None if weight is None else weight.contiguous()
    volumes, i, j, k = _sizes(moved)
    between = empty((5, volumes, i, j, k), planar=True)
    slope = _like(moved) if with_slope else None
    totals = torch.empty(volumes * j, dtype=torch.float64)
    native.call(
        "correlation", moved, fixed, weight, share, float(epsilon), between, slope, totals,
        volumes, i, j, k, window // 2, torch.get_num_threads(),
    )  # fmt: skip
    return -totals.sum().float(), slope


def square_gradient(u: Tensor, with_slope: bool) -> tuple[Tensor, Tensor | None]:
    """gradient_loss of (b, 3, i, j, k), and its gradient."""
    u = u.contiguous()
    sizes = _sizes(u)
    differences = [u.numel() // n * (n - 1) for n in sizes[1:]]
    weights = [1 / (3 * count) if count else 0.0 for count in differences]
    slope = _like(u) if with_slope else None
    totals = torch.empty(sizes[0] * sizes[1], dtype=torch.float64)
    native.call("square_gradient", u, slope, totals, *sizes, *weights, torch.get_num_threads())
    return totals.sum().float(), slope


def _sizes(x: Tensor) -> tuple[int, int, int, int]:
    """(volumes, i, j, k) of (..., i, j, k)."""
    i, j, k = x.shape[-3:]
    return x.numel() // (i * j * k), i, j, k


def _like(x: Tensor) -> Tensor:
    """Not initialised, of x's shape, contiguous."""
    return empty((1, *_sizes(x)), planar=True).view(x.shape)
