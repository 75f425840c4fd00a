"""The least that each kernel must move and compute, and the best that this machine can do.

Bytes: every input is read once, every output is written once, each kernel by itself. Operations:
those of the definition. This is a floor, not a goal: a tensor small enough for a cache may pass it,
and K-means counts as one reading of its features, whatever its rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from sacbnet.config.sacbnet import SACBNetConfig

TAPS = 27


@dataclass(frozen=True)
class Cost:
    """Bytes moved and floating-point operations (a multiply-add counts as two)."""

    bytes: float
    flops: float


@dataclass(frozen=True)
class Peak:
    """What the machine achieves: bytes/s of a triad on long vectors, FLOP/s of products."""

    bytes_s: float
    flops_s: float

    def seconds(self, costs: Iterable[Cost]) -> float:
        return sum(max(c.bytes / self.bytes_s, c.flops / self.flops_s) for c in costs)


def conv(voxels: int, c_in: int, c_out: int, width: int, backward: bool) -> Cost:
    """3×3×3 convolution of `voxels` (of the whole batch), elements of `width` bytes.

    Also for the block and the adaptive convolution. The backward pass reads the input and the
    output's gradient, writes the input's gradient, and computes twice as much.
    """
    moved = c_in + c_out + (2 * c_in + c_out if backward else 0)
    return Cost(width * voxels * moved, 2 * TAPS * c_in * c_out * voxels * (3 if backward else 1))


def kmeans(voxels: int, c: int, clusters: int) -> Cost:
    return Cost(4 * voxels * c + voxels, 2 * voxels * c * clusters)


def match(voxels: int, c: int, width: int, backward: bool) -> Cost:
    moved = width * 2 * c + 12 + (width * 4 * c + 12 if backward else 0)
    return Cost(voxels * moved, TAPS * (2 * c + 10) * voxels * (3 if backward else 1))


def warp(voxels: int, c: int, width: int, backward: bool) -> Cost:
    """Backward: reads image, displacement and output's gradient, writes two gradients."""
    moved = width * 2 * c + 12 + (width * 3 * c + 24 if backward else 0)
    return Cost(voxels * moved, (16 * c + 40) * voxels * (3 if backward else 1))


def ncc(voxels: int, backward: bool) -> Cost:
    """Five running sums along three axes, and as many operations again for the quotient."""
    return Cost(4 * voxels * (5 if backward else 2), 45 * voxels * (3 if backward else 1))


def elementwise(elements: int, width: int, maps: int) -> Cost:
    return Cost(width * elements * maps, elements)


def network(size: tuple[int, ...], config: SACBNetConfig, width: int, training: bool) -> list[Cost]:
    """Every kernel of a forward pass of one pair.

    With `training`, also those of its backward pass and the losses.
    """
    c = [config.channels(level) for level in range(1, 6)]
    v = [size[0] * size[1] * size[2] // 8**level for level in range(5)]
    both = 3 if training else 1  # passes over memory of what is not counted kernel by kernel
    # level, in, out
    layers = [(0, 1, config.base_channels), (0, config.base_channels, c[0]), (0, c[0], c[0])]
    # encoder and SACB's projection
    layers += [(n, a, c[n]) for n in range(1, 5) for a in (c[n - 1], c[n], c[n])]
    layers += [(0, c[0], c[0])] * 2  # refine
    costs = [conv(2 * v[n], a, b, width, training) for n, a, b in layers]
    # head
    costs += [
        conv(v[0], a, b, width, training) for a, b in ((2 * c[0], c[0]), (c[0], c[0]), (c[0], 3))
    ]
    for n in range(1, 5):
        # pooling reads; its output is the next input
        costs += [elementwise(2 * v[n - 1] * c[n - 1], width, both)]
        # descriptors
        costs += [
            elementwise(2 * v[n] * c[n], 4, 2),
            kmeans(2 * v[n], c[n], config.clusters[n - 1]),
        ]
        costs += [conv(2 * v[n], c[n], c[n], width, training), match(v[n], c[n], width, training)]
        costs += [elementwise(3 * (v[n] + v[n - 1]), 4, both)]  # to the next level
    for n in range(4):
        costs += [warp(v[n], c[n], width, training), warp(v[n], 3, 4, training)]
    if training:
        costs += [warp(v[0], 1, 4, True), ncc(v[0], True), elementwise(3 * v[0], 4, 2)]
    return costs


def measure_peak(device: torch.device, dtype: torch.dtype, seconds: float = 2.0) -> Peak:
    """Best of many short runs, which other processes interrupt least, in about twice `seconds`.

    The FLOP/s are the best of float32 and dtype, since operands may be widened (some CPUs are a
    hundred times slower at bfloat16), and of a product of matrices and a convolution, which another
    library may compute (MKL's products are slow on some CPUs). On CUDA, products of float32 may use
    TF32 if convolutions may.
    """
    cuda = device.type == "cuda"
    kinds = {torch.float32, dtype}
    flops = max(_flops(device, kind, seconds / len(kinds)) for kind in kinds)
    return Peak(_bandwidth(2**28 if cuda else 2**24, device, seconds), flops)


def _bandwidth(n: int, device: torch.device, seconds: float) -> float:
    a, b, out = (torch.ones(n, device=device) for _ in range(3))
    return 3 * 4 * n / _best(lambda: torch.add(a, b, alpha=0.5, out=out), device, seconds)


def _flops(device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    side, c, edge = (8192, 256, 64) if device.type == "cuda" else (1024, 64, 16)
    m = torch.randn(side, side, device=device).to(dtype)
    x = torch.randn(2, c, edge, edge, edge, device=device).to(
        dtype, memory_format=torch.channels_last_3d
    )
    w = torch.randn(c, c, 3, 3, 3, device=device).to(dtype, memory_format=torch.channels_last_3d)
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        product = 2 * side**3 / _best(lambda: m @ m, device, seconds / 2)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    with torch.inference_mode():
        convolution = conv(x[:, 0].numel(), c, c, 4, False).flops / _best(
            lambda: F.conv3d(x, w, padding=1), device, seconds / 2
        )
    return max(product, convolution)


def _best(call: Callable[[], object], device: torch.device, seconds: float) -> float:
    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    taken: list[float] = []
    while sum(taken) < seconds or len(taken) < 2:
        wait()
        start = time.perf_counter()
        call()
        wait()
        taken.append(time.perf_counter() - start)
    return min(taken)
