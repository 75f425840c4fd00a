"""3×3×3 convolutions as networks use them: in blocks with norm and leaky ReLU, and alone.

Each has one definition in plain PyTorch, and a compiled form that agrees with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sacbnet.kernels.cpu.conv import Blocks, Conv
from sacbnet.kernels.dispatch import fast_storage


def conv_blocks(
    x: Tensor, parameters: Sequence[tuple[Tensor, Tensor]], *, eps: float, slope: float
) -> Tensor:
    """Blocks of convolution, instance norm and leaky ReLU, one after the other.

    On the CPU the whole row runs compiled: memory is read and written once for each block, and the
    backward pass keeps one volume for each block.

    Parameters
    ----------
    x : Tensor, shape (b, c, i, j, k)
        The input.
    parameters : sequence of (Tensor, Tensor)
        Weight (c_out, c_in, 3, 3, 3) and bias (c_out,) of each block.
    eps : float
        The number that the norm adds to the variance.
    slope : float
        Slope of the leaky ReLU for negative values.

    Returns
    -------
    Tensor, shape (b, c_out, i, j, k)
        The activation of the last block.
    """
    weights, biases = zip(*parameters, strict=True)
    if storage := fast_storage(x, *weights, *biases):
        return Blocks.apply(x, storage, eps, slope, *weights, *biases)
    return conv_blocks_plain(x, parameters, eps=eps, slope=slope)


def conv_blocks_plain(
    x: Tensor, parameters: Sequence[tuple[Tensor, Tensor]], *, eps: float, slope: float
) -> Tensor:
    """The definition of `conv_blocks`.

    Parameters
    ----------
    x : Tensor, shape (b, c, i, j, k)
        The input.
    parameters : sequence of (Tensor, Tensor)
        Weight (c_out, c_in, 3, 3, 3) and bias (c_out,) of each block.
    eps : float
        The number that the norm adds to the variance.
    slope : float
        Slope of the leaky ReLU for negative values.

    Returns
    -------
    Tensor, shape (b, c_out, i, j, k)
        The activation of the last block.
    """
    for weight, bias in parameters:
        x = F.instance_norm(F.conv3d(x, weight, bias, padding=1), eps=eps)
        # in place is safe: for the backward pass the norm keeps its input, not its output
        x = F.leaky_relu_(x, slope)
    return x


def conv3d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3×3×3 convolution in full precision, zero padded.

    The result is float32 under autocast, too (float64 for float64). This layer ends in a
    displacement, and bfloat16 would round a displacement to 1/128 of its size.

    Parameters
    ----------
    x : Tensor, shape (b, c, i, j, k)
        The input.
    weight : Tensor, shape (c_out, c, 3, 3, 3)
        The kernel.
    bias : Tensor, shape (c_out,)
        The bias.

    Returns
    -------
    Tensor, shape (b, c_out, i, j, k)
        The result.
    """
    if fast_storage(x, weight, bias):
        return Conv.apply(x, weight, bias, torch.float32)
    dtype = torch.promote_types(torch.promote_types(x.dtype, weight.dtype), torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        return F.conv3d(x.to(dtype), weight.to(dtype), bias.to(dtype), padding=1)
