"""3×3×3 convolutions as the network uses them: in blocks with norm and leaky ReLU, and alone.

Each has one definition in plain PyTorch, and a compiled form that must agree with it.
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
    """Blocks of convolution → instance norm → leaky ReLU, one after the other: (b, c, i, j, k) -> (b, c', i, j, k).

    parameters: weight (c_out, c_in, 3, 3, 3) and bias (c_out,) of each. On the CPU the whole row runs compiled:
    memory is read and written once per block, and one volume per block is kept for the backward pass.
    """
    weights, biases = zip(*parameters, strict=True)
    if storage := fast_storage(x, *weights, *biases):
        return Blocks.apply(x, storage, eps, slope, *weights, *biases)
    return conv_blocks_plain(x, parameters, eps=eps, slope=slope)


def conv_blocks_plain(
    x: Tensor, parameters: Sequence[tuple[Tensor, Tensor]], *, eps: float, slope: float
) -> Tensor:
    """The definition of `conv_blocks`."""
    for weight, bias in parameters:
        x = F.instance_norm(F.conv3d(x, weight, bias, padding=1), eps=eps)
        x = F.leaky_relu_(
            x, slope
        )  # in place is safe: the norm keeps its input, not its output, for the backward pass
    return x


def conv3d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3×3×3, zero padded: x (b, c, i, j, k), weight (c_out, c, 3, 3, 3), bias (c_out,) -> (b, c_out, i, j, k).

    The result is float32 (float64 of float64) under autocast, too: this is the layer that ends in a displacement, which
    bfloat16 would round to 1/128 of itself.
    """
    if fast_storage(x, weight, bias):
        return Conv.apply(x, weight, bias, torch.float32)
    dtype = torch.promote_types(torch.promote_types(x.dtype, weight.dtype), torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        return F.conv3d(x.to(dtype), weight.to(dtype), bias.to(dtype), padding=1)
