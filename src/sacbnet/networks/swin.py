"""A transformer of shifted windows for volumes, as TransMorph has it. Inside, channels are last: (b, i, j, k, c).

Sources: Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021; Chen et al.,
"TransMorph", Medical Image Analysis 2022; stochastic depth: Huang et al., ECCV 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sacbnet.config.comparison import TransMorphOptions

from .layers import draw_normal


class Swin(nn.Module):
    """image (b, c_in, i, j, k), sides multiples of 32 -> the maps of four stages.

    The first is (b, embedding, i/4, ..); each has twice the channels and half the resolution of the one before.
    """

    def __init__(self, c_in: int, options: TransMorphOptions) -> None:
        super().__init__()
        widths = [options.embedding * 2**stage for stage in range(4)]
        last = sum(options.depths) - 1
        rates = iter([options.drop_path * n / last for n in range(last + 1)])
        self.embed = nn.Conv3d(c_in, widths[0], 4, stride=4)
        self.norm = nn.LayerNorm(widths[0])
        self.merges = nn.ModuleList([nn.Identity(), *(Merge(c) for c in widths[:-1])])
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(Block(c, heads, options.window, n % 2 == 1, next(rates)) for n in range(depth))
            )
            for c, heads, depth in zip(widths, options.heads, options.depths, strict=True)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in widths)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.norm(self.embed(image).movedim(1, -1))  # (b, i/4, j/4, k/4, c)
        maps = []
        for merge, blocks, norm in zip(self.merges, self.stages, self.norms, strict=True):
            x = blocks(merge(x))
            maps.append(norm(x).movedim(-1, 1))
        return maps


class Merge(nn.Module):
    """2×2×2 voxels side by side, normed, projected to twice the channels: (b, i, j, k, c) -> (b, i/2, j/2, k/2, 2c)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8 * channels)
        self.project = nn.Linear(8 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        eight = torch.cat([x[:, i::2, j::2, k::2] for i, j, k in product(range(2), repeat=3)], -1)
        return self.project(self.norm(eight))


class Block(nn.Module):
    """Window attention, then an MLP, each after a norm and added to what came in: (b, i, j, k, c) -> same shape."""

    def __init__(
        self, channels: int, heads: int, window: tuple[int, ...], shifted: bool, drop: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads, window, shifted)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )
        self.drop = DropPath(drop)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attention(self.norm1(x)))
        return x + self.drop(self.mlp(self.norm2(x)))


class WindowAttention(nn.Module):
    """Each voxel attends to those of its window: (b, i, j, k, c) -> same shape, any size.

    Zeros at the high ends complete the last windows and are attended to like any voxel, as published. Shifted windows
    begin half a window later; the ones at the ends are made of both ends, which do not attend to each other.
    """

    def __init__(self, channels: int, heads: int, window: tuple[int, ...], shifted: bool) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.shift = tuple(w // 2 if shifted else 0 for w in window)
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.project = nn.Linear(channels, channels)
        self.bias = nn.Parameter(
            torch.empty(prod(2 * w - 1 for w in window), heads)
        )  # of each offset in a window
        draw_normal(self.bias, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        i, j, k = size = x.shape[1:4]
        whole = [w * -(-n // w) for n, w in zip(size, self.window, strict=True)]
        x = F.pad(x, (0, 0, 0, whole[2] - k, 0, whole[1] - j, 0, whole[0] - i))
        x = to_windows(x.roll([-s for s in self.shift], (1, 2, 3)), self.window)  # (b, w, n, c)
        query, key, value = (
            self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        )  # (b, w, h, n, c/h)
        bias = self.bias[offsets(self.window, x.device)].permute(2, 0, 1)  # (h, n, n)
        if any(self.shift):
            side = to_windows(sides(whole, self.shift, x.device), self.window)[0]  # (w, n, 1)
            bias = torch.where((side == side.mT)[:, None], bias, -torch.inf)  # (w, h, n, n)
        x = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        x = self.project(x.transpose(2, 3).flatten(3))  # (b, w, n, c)
        return from_windows(x, self.window, whole).roll(self.shift, (1, 2, 3))[:, :i, :j, :k]


class DropPath(nn.Module):
    """Stochastic depth: in training, 0 for a random part `rate` of the samples; the others make up for it."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        kept = x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(1 - self.rate)
        return x * kept / (1 - self.rate)


def to_windows(x: Tensor, window: Sequence[int]) -> Tensor:
    """(b, i, j, k, c), sides multiples of the window's -> (b, w, n, c): w windows of n voxels, row-major."""
    for axis in (3, 2, 1):
        x = x.unflatten(axis, (-1, window[axis - 1]))
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 6).flatten(1, 3)


def from_windows(x: Tensor, window: Sequence[int], size: Sequence[int]) -> Tensor:
    """Undoes `to_windows`: (b, w, n, c) -> (b, i, j, k, c), (i, j, k) = size."""
    counts = [n // w for n, w in zip(size, window, strict=True)]
    x = x.unflatten(2, tuple(window)).unflatten(1, counts)  # (b, i', j', k', wi, wj, wk, c)
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).flatten(5, 6).flatten(3, 4).flatten(1, 2)


def offsets(window: Sequence[int], device: torch.device) -> Tensor:
    """A number for the offset from each voxel of a window to each other one, the same for the same offset: (n, n)."""
    positions = torch.cartesian_prod(*(torch.arange(w, device=device) for w in window))  # (n, 3)
    number = torch.zeros((), dtype=torch.long, device=device)
    for axis, w in enumerate(window):
        p = positions[:, axis]
        number = number * (2 * w - 1) + p[:, None] - p + w - 1
    return number


def sides(size: Sequence[int], shift: Sequence[int], device: torch.device) -> Tensor:
    """After a roll by -shift, on which sides of the three seams a voxel is, as one number: (1, i, j, k, 1)."""
    i, j, k = (torch.arange(n, device=device) >= n - s for n, s in zip(size, shift, strict=True))
    return (4 * i[:, None, None] + 2 * j[:, None] + k)[None, ..., None]
