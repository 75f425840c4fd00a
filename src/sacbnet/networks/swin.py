"""A transformer of shifted windows for volumes, as TransMorph has it.

Inside, channels come last: (b, i, j, k, c).

Sources: Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV
2021; Chen et al., "TransMorph", Medical Image Analysis 2022; stochastic depth: Huang et al., ECCV
2016.
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
    """Four stages of window attention, each at half the resolution of the one before.

    Parameters
    ----------
    c_in : int
        Channels of the image.
    options : TransMorphOptions
        Embedding, depths, heads, window and rate of stochastic depth.
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
        """(b, c_in, i, j, k), sides multiples of 32 -> (b, c, i/4, ..), .., (b, 8c, i/32, ..)."""
        x = self.norm(self.embed(image).movedim(1, -1))  # (b, i/4, j/4, k/4, c)
        maps = []
        for merge, blocks, norm in zip(self.merges, self.stages, self.norms, strict=True):
            x = blocks(merge(x))
            maps.append(norm(x).movedim(-1, 1))
        return maps


class Merge(nn.Module):
    """Join 2×2×2 voxels into one, normalise, and project to twice the channels.

    Parameters
    ----------
    channels : int
        Channels that come in.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8 * channels)
        self.project = nn.Linear(8 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(b, i, j, k, c) -> (b, i/2, j/2, k/2, 2c)."""
        eight = torch.cat([x[:, i::2, j::2, k::2] for i, j, k in product(range(2), repeat=3)], -1)
        return self.project(self.norm(eight))


class Block(nn.Module):
    """Window attention, then an MLP; each follows a norm and is added to its input.

    Parameters
    ----------
    channels : int
        Channels, in and out.
    heads : int
        Attention heads.
    window : tuple of int
        Voxels of a window along each axis.
    shifted : bool
        Whether the windows start half a window later.
    drop : float
        Rate of stochastic depth.
    """

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
        """(b, i, j, k, c) -> (b, i, j, k, c)."""
        x = x + self.drop(self.attention(self.norm1(x)))
        return x + self.drop(self.mlp(self.norm2(x)))


class WindowAttention(nn.Module):
    """Each voxel attends to the voxels of its window; any image size.

    Zeros at the high ends complete the last windows. They are attended to like any voxel, as
    published. Shifted windows start half a window later. A window at the end then joins voxels of
    both ends of the image, and voxels of different ends do not attend to each other.

    Parameters
    ----------
    channels : int
        Channels, in and out.
    heads : int
        Attention heads.
    window : tuple of int
        Voxels of a window along each axis.
    shifted : bool
        Whether the windows start half a window later.
    """

    def __init__(self, channels: int, heads: int, window: tuple[int, ...], shifted: bool) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.shift = tuple(w // 2 if shifted else 0 for w in window)
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.project = nn.Linear(channels, channels)
        # of each offset between two voxels of a window
        self.bias = nn.Parameter(torch.empty(prod(2 * w - 1 for w in window), heads))
        draw_normal(self.bias, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(b, i, j, k, c) -> (b, i, j, k, c)."""
        i, j, k = size = x.shape[1:4]
        whole = [w * -(-n // w) for n, w in zip(size, self.window, strict=True)]
        x = F.pad(x, (0, 0, 0, whole[2] - k, 0, whole[1] - j, 0, whole[0] - i))
        x = to_windows(x.roll([-s for s in self.shift], (1, 2, 3)), self.window)  # (b, w, n, c)
        # (b, w, h, n, c/h)
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        bias = self.bias[offsets(self.window, x.device)].permute(2, 0, 1)  # (h, n, n)
        if any(self.shift):
            side = to_windows(sides(whole, self.shift, x.device), self.window)[0]  # (w, n, 1)
            bias = torch.where((side == side.mT)[:, None], bias, -torch.inf)  # (w, h, n, n)
        x = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        x = self.project(x.transpose(2, 3).flatten(3))  # (b, w, n, c)
        return from_windows(x, self.window, whole).roll(self.shift, (1, 2, 3))[:, :i, :j, :k]


class DropPath(nn.Module):
    """Stochastic depth: in training mode some samples become 0, the others are scaled up.

    The mean over many draws is thus the input.

    Parameters
    ----------
    rate : float
        Share of the samples that become 0.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(b, ...) -> (b, ...)."""
        if not self.training or self.rate == 0:
            return x
        kept = x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(1 - self.rate)
        return x * kept / (1 - self.rate)


def to_windows(x: Tensor, window: Sequence[int]) -> Tensor:
    """Cut a volume into windows.

    Parameters
    ----------
    x : Tensor, shape (b, i, j, k, c)
        Features; the sides are multiples of the window's.
    window : sequence of int
        Voxels of a window along each axis.

    Returns
    -------
    Tensor, shape (b, w, n, c)
        w windows of n voxels; both in row-major order.
    """
    for axis in (3, 2, 1):
        x = x.unflatten(axis, (-1, window[axis - 1]))
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 6).flatten(1, 3)


def from_windows(x: Tensor, window: Sequence[int], size: Sequence[int]) -> Tensor:
    """Join windows to a volume: the inverse of `to_windows`.

    Parameters
    ----------
    x : Tensor, shape (b, w, n, c)
        The windows.
    window : sequence of int
        Voxels of a window along each axis.
    size : sequence of int
        The volume's sides (i, j, k).

    Returns
    -------
    Tensor, shape (b, i, j, k, c)
        The volume.
    """
    counts = [n // w for n, w in zip(size, window, strict=True)]
    x = x.unflatten(2, tuple(window)).unflatten(1, counts)  # (b, i', j', k', wi, wj, wk, c)
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).flatten(5, 6).flatten(3, 4).flatten(1, 2)


def offsets(window: Sequence[int], device: torch.device) -> Tensor:
    """Number the offsets between the voxels of a window; equal offsets have equal numbers.

    Parameters
    ----------
    window : sequence of int
        Voxels of a window along each axis.
    device : torch.device
        Where the result lies.

    Returns
    -------
    Tensor, shape (n, n), int64
        The number of the offset between each two of the n voxels.
    """
    positions = torch.cartesian_prod(*(torch.arange(w, device=device) for w in window))  # (n, 3)
    number = torch.zeros((), dtype=torch.long, device=device)
    for axis, w in enumerate(window):
        p = positions[:, axis]
        number = number * (2 * w - 1) + p[:, None] - p + w - 1
    return number


def sides(size: Sequence[int], shift: Sequence[int], device: torch.device) -> Tensor:
    """Mark, after a roll by -shift, on which side of the three seams each voxel lies.

    Parameters
    ----------
    size : sequence of int
        The volume's sides (i, j, k).
    shift : sequence of int
        Voxels of the roll along each axis.
    device : torch.device
        Where the result lies.

    Returns
    -------
    Tensor, shape (1, i, j, k, 1), int64
        A number from 0 to 7; equal for voxels on the same sides.
    """
    i, j, k = (torch.arange(n, device=device) >= n - s for n, s in zip(size, shift, strict=True))
    return (4 * i[:, None, None] + 2 * j[:, None] + k)[None, ..., None]
