"""Box means, local correlation and mean square gradient in C++.

They read memory a few times, not once for each operation. `sacbnet.losses.similarity` and
`sacbnet.losses.smoothness` define the results and choose these forms.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import native
from .memory import empty


def takes(*tensors: Tensor | None) -> bool:
    """Whether the functions of this module can take these tensors.

    Parameters
    ----------
    *tensors : Tensor or None
        The arguments. None is ignored.

    Returns
    -------
    bool
        True if all are float32, not empty, of at least three axes, and `native.usable`.
    """
    given = [t for t in tensors if t is not None]
    return all(
        t.dtype == torch.float32 and t.numel() > 0 and t.ndim >= 3 for t in given
    ) and native.usable(*given)


def box_mean(x: Tensor, window: int) -> Tensor:
    """Mean over the box of window³ voxels around each voxel, with zeros beyond the edge.

    Parameters
    ----------
    x : Tensor of float32, shape (..., i, j, k)
        The volumes.
    window : int
        Side of the box in voxels, an odd number.

    Returns
    -------
    Tensor of float32, shape (..., i, j, k)
        The means.
    """
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
    """Loss of the local correlation, and its gradient with respect to `moved`.

    Parameters
    ----------
    moved : Tensor of float32, shape (b, 1, i, j, k)
        The warped moving image.
    fixed : Tensor of float32, shape (b, 1, i, j, k)
        The fixed image.
    window : int
        Side of the box in voxels, an odd number.
    weight : Tensor of float32, shape (b, 1, i, j, k), or None
        Weights of the voxels, with the sum 1. None weighs all voxels equally.
    epsilon : float
        The number that is added to the product of the variances. They are means, not sums.
    with_slope : bool
        Whether the gradient is computed.

    Returns
    -------
    loss : Tensor, shape ()
        The negative weighted mean of the squared correlation.
    slope : Tensor of float32, shape (b, 1, i, j, k), or None
        The gradient; None if not requested.
    """
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
    """Mean square of the forward differences of a displacement, and its gradient.

    Parameters
    ----------
    u : Tensor of float32, shape (b, 3, i, j, k)
        The displacement.
    with_slope : bool
        Whether the gradient is computed.

    Returns
    -------
    loss : Tensor, shape ()
        Mean over the three axes of the mean squares along each axis.
    slope : Tensor of float32, shape (b, 3, i, j, k), or None
        The gradient; None if not requested.
    """
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
    """Memory for a tensor of the shape of x: contiguous, not initialised."""
    return empty((1, *_sizes(x)), planar=True).view(x.shape)
