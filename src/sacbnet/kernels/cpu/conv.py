"""The compiled convolutions and their gradients.

There are blocks of convolution, norm and leaky ReLU, and the adaptive convolution. Volumes are
(b, c, i, j, k) with their channels side by side (torch.channels_last_3d). They are stored as
float32 or bfloat16, and the arithmetic is float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .memory import empty
from .native import call, channels_last


class _Volume(NamedTuple):
    """A volume, perhaps with a norm and a leaky ReLU that are not computed yet.

    With `scale` and `shift` (b, c), it stands for the leaky ReLU of values · scale + shift.
    """

    values: Tensor
    scale: Tensor | None = None
    shift: Tensor | None = None
    slope: float = 1.0  # of the leaky ReLU; not used without scale and shift

    def arguments(self) -> tuple[Tensor | int | float | None, ...]:
        """The first arguments of the kernels that read a volume."""
        return self.values, _is_bf16(self.values), self.scale, self.shift, self.slope


class _Regions(NamedTuple):
    """Clusters: labels (b, i, j, k) int64, and tap weights (b, n, 27) float32."""

    labels: Tensor
    taps: Tensor


def _convolve(
    x: _Volume,
    weight: Tensor,
    dtype: torch.dtype,
    *,
    bias: Tensor | None = None,
    regions: _Regions | None = None,
    transposed: bool = False,
    sums: bool = False,
    out: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """3×3×3 convolution, zero padded.

    Returns y (b, c_out, i, j, k), and its Σ and Σ² (b, 2, c_out) where `sums` asks for them.
    weight: (c_out, c, 27). bias: (b, n, c_out). transposed: compute the gradient for the input of a
    convolution, from the weight of its forward pass. out: memory for y.
    """
    b, c, *size = x.values.shape
    c_out = weight.shape[1 if transposed else 0]
    y = empty((b, c_out, *size), dtype) if out is None else out
    shape = (b, *size, c, c_out, torch.get_num_threads())
    if regions:
        assert x.scale is None and not sums
        n = regions.taps.shape[1]
        call(
            "adaptive_conv", x.values, _is_bf16(x.values), weight, transposed, bias, *regions, n,
            y, _is_bf16(y), *shape,
        )  # fmt: skip
        return y, None
    total = (
        torch.empty(b, call("conv_tasks", *size, c), 2, c_out, dtype=torch.float64)
        if sums
        else None
    )
    call("conv", *x.arguments(), weight, transposed, bias, y, _is_bf16(y), total, *shape)
    return y, None if total is None else total.sum(1)


def _kernel_gradient(x: _Volume, g: Tensor) -> Tensor:
    """For each tap t, the sum over all voxels v of x(v + t) ⊗ g(v): (27 · c + 1, c_out).

    The last row is Σ g.
    """
    b, c, *size = x.values.shape
    out = torch.empty(27 * c + 1, g.shape[1])
    shape = (b, *size, c, g.shape[1], torch.get_num_threads())
    call("conv_gradient", *x.arguments(), g, _is_bf16(g), out, *shape)
    return out


def _regional_gradient(z: Tensor, g: Tensor, labels: Tensor, clusters: int) -> Tensor:
    """The sums of `_kernel_gradient` over each cluster: (b, n, 27 · c + 1, c_out).

    labels: (b, i, j, k).
    """
    b, c, *size = z.shape
    out = empty((1, b, clusters, 27 * c + 1, g.shape[1]), planar=True)[0]
    shape = (b, *size, c, g.shape[1], torch.get_num_threads())
    call("adaptive_conv_gradient", z, _is_bf16(z), g, _is_bf16(g), labels, clusters, out, *shape)
    return out


class Blocks(torch.autograd.Function):
    """Blocks of convolution, norm and leaky ReLU, one after the other.

    Its arguments are x (b, c, i, j, k), storage type, eps, slope, weights..., biases...; the result
    is the activation of the last block. Between two blocks only the raw convolution is stored, with
    the scale and shift that normalise it: the next convolution applies them while it reads. The
    biases have no effect, because the norm removes them.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dtype: torch.dtype, eps: float, slope: float, *parameters: Tensor
    ) -> Tensor:
        """Run the blocks; without gradients one sample at a time, to save memory."""
        count = len(parameters) // 2
        weights = [w.detach().reshape(*w.shape[:2], 27).contiguous() for w in parameters[:count]]
        x = channels_last(x)
        # one sample at a time: only the intermediate volumes of one sample exist
        if not any(ctx.needs_input_grad):
            out = empty((len(x), len(weights[-1]), *x.shape[2:]), dtype)
            for sample, into in zip(x.split(1), out.split(1), strict=True):
                _row_of_blocks(sample, weights, dtype, eps, slope, into)
            return out
        volumes = _row_of_blocks(x, weights, dtype, eps, slope)
        ctx.count, ctx.slope = count, slope
        ctx.save_for_backward(*[t for volume in volumes for t in volume[:3]], *weights)
        return volumes[-1].values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the input and the weights; those of the biases are 0."""
        count = ctx.count
        saved = ctx.saved_tensors
        volumes = [
            _Volume(*saved[3 * n : 3 * n + 3])._replace(slope=ctx.slope) for n in range(count + 1)
        ]
        weights = saved[3 * count + 3 :]
        gradients: list[Tensor | None] = []
        for n in reversed(range(count)):
            y, scale, shift, slope = volumes[n + 1]
            g = channels_last(g)
            b, c, *size = y.shape
            dy = empty(tuple(y.shape), g.dtype)
            call(
                "norm_gradient", g, _is_bf16(g), y, _is_bf16(y), n == count - 1,
                scale, shift, slope, dy, b, size[0] * size[1] * size[2], c, torch.get_num_threads(),
            )  # fmt: skip
            del g
            gradients.insert(0, _as_kernel(_kernel_gradient(volumes[n], dy)[:-1], weights[n]))
            if n > 0 or ctx.needs_input_grad[0]:
                g, _ = _convolve(_Volume(dy), weights[n], volumes[n].values.dtype, transposed=True)
        biases = [w.new_zeros(len(w)) for w in weights]
        return g if ctx.needs_input_grad[0] else None, None, None, None, *gradients, *biases


def _row_of_blocks(
    x: Tensor,
    weights: list[Tensor],
    dtype: torch.dtype,
    eps: float,
    slope: float,
    into: Tensor | None = None,
) -> list[_Volume]:
    """The input and the convolution of each block; the last one is normalised.

    With `into`, only the last volume is returned. It uses the memory of `into`.
    """
    volumes = [_Volume(x)]
    for n, weight in enumerate(weights):
        out = into if n == len(weights) - 1 else None
        y, sums = _convolve(volumes[-1], weight, dtype, sums=True, out=out)
        assert sums is not None
        volumes.append(_Volume(y, *_norm(sums, y[0, 0].numel(), eps), slope))
        if into is not None:
            del volumes[0]
    y, scale, shift, _ = volumes[-1]
    b, c, *size = y.shape
    voxels = size[0] * size[1] * size[2]
    call(
        "close_norm", y, _is_bf16(y), scale, shift, slope, y, b, voxels, c, torch.get_num_threads()
    )
    return volumes


class AdaptiveConv(torch.autograd.Function):
    """The adaptive convolution of `sacbnet.ops.adaptive_conv`.

    Its arguments are z (b, c, i, j, k), labels (b, i, j, k), tap weights (b, n, 27), kernel
    (c_out, c, 27), bias (b, n, c_out) and storage type; the result is (b, c_out, i, j, k).
    """

    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        labels: Tensor,
        taps: Tensor,
        kernel: Tensor,
        bias: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        """Run the convolution."""
        z, labels = channels_last(z), labels.contiguous()
        taps, kernel, bias = (t.contiguous() for t in (taps, kernel, bias))
        y, _ = _convolve(_Volume(z), kernel, dtype, bias=bias, regions=_Regions(labels, taps))
        ctx.save_for_backward(z, labels, taps, kernel)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of z, tap weights, kernel and bias."""
        z, labels, taps, kernel = ctx.saved_tensors
        g = channels_last(g)
        b, n, _ = taps.shape
        dz = None
        if ctx.needs_input_grad[0]:
            dz, _ = _convolve(
                _Volume(g), kernel, z.dtype, regions=_Regions(labels, taps), transposed=True
            )
        if not any(ctx.needs_input_grad[2:5]):
            return dz, None, None, None, None, None
        sums = _regional_gradient(z, g, labels, n)  # (b, n, 27·c + 1, c_out)
        per_tap = sums[:, :, :-1].view(b * n, 27, -1).transpose(0, 1)  # (27, b·n, c·c_out)
        d_kernel = torch.bmm(taps.view(1, b * n, 27).permute(2, 0, 1), per_tap)  # (27, 1, c·c_out)
        d_kernel = d_kernel.view(27, z.shape[1], g.shape[1]).permute(2, 1, 0)
        flat = kernel.permute(2, 1, 0).reshape(27, -1, 1)
        d_taps = torch.bmm(per_tap, flat).view(27, b, n).permute(1, 2, 0)
        return dz, None, d_taps, d_kernel, sums[:, :, -1], None


class Conv(torch.autograd.Function):
    """A 3×3×3 convolution.

    Its arguments are x (b, c, i, j, k), weight (c_out, c, 3, 3, 3), bias (c_out,) and storage type;
    the result is (b, c_out, i, j, k).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        """Run the convolution."""
        x = channels_last(x)
        flat = weight.detach().reshape(*weight.shape[:2], 27).contiguous()
        y, _ = _convolve(
            _Volume(x), flat, dtype, bias=bias.detach().expand(len(x), -1).contiguous()
        )
        ctx.save_for_backward(x, flat)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias."""
        x, weight = ctx.saved_tensors
        g = channels_last(g)
        dx = (
            _convolve(_Volume(g), weight, x.dtype, transposed=True)[0]
            if ctx.needs_input_grad[0]
            else None
        )
        sums = _kernel_gradient(_Volume(x), g)
        return dx, _as_kernel(sums[:-1], weight), sums[-1], None


def _norm(sums: Tensor, voxels: int, eps: float) -> tuple[Tensor, Tensor]:
    """Scale and shift (b, c) of the instance norm, from Σ and Σ² (b, 2, c) in float64."""
    mean, square = (sums / voxels).unbind(1)
    scale = (square - mean * mean).clamp(min=0).add(eps).rsqrt()
    return scale.float(), (-mean * scale).float()


def _as_kernel(sums: Tensor, weight: Tensor) -> Tensor:
    """(27 · c, c_out) -> (c_out, c, 3, 3, 3), as the parameter behind `weight` (c_out, c, 27)."""
    c_out, c, _ = weight.shape
    return sums.view(27, c, c_out).permute(2, 1, 0).reshape(c_out, c, 3, 3, 3)


def _is_bf16(x: Tensor) -> bool:
    return x.dtype == torch.bfloat16
