"""ModeT: the whole network on one page, in both versions.

Source: Wang, Ni and Wang, "ModeT: Learning Deformable Image Registration via Motion Decomposition Transformer", MICCAI
2023; version 2 is the later form of the authors' published code.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sacbnet.config.comparison import ModeTOptions
from sacbnet.ops.conv import SLOPE
from sacbnet.spatial.warp import compose, up, warp

from .contract import check_pair, pad_to
from .layers import Head, draw_normal
from .sacbnet.encoder import Block, Chain, Conv, Pool

HEADS = (1, 1, 2, 4, 8)  # of the attention of levels 1..5
WIDTH = 6  # channels of a head's queries and keys


class ModeT(nn.Module):
    """moving, fixed (b, 1, i, j, k), any size -> displacement_vox (b, 3, i, j, k) for `warp(moving, displacement_vox)`.

    Each level matches the features of the two images by attention, whose heads are as many candidate motions. Version 1
    weighs them against each other at levels 5, 4 and 3 (`Competition`); version 2 reads a displacement from them at
    every level by a convolution. Parameters as published: 1,029,670 at 4 channels, 3,690,102 at 8; of version 2, whose
    encoder begins with one block less, 896,551 at 4 channels, 229,835 at 2, 3,554,495 at 8: its published script counts
    channels twice as many. Raises InputError for shapes that are no pair of images.
    """

    def __init__(self, options: ModeTOptions | None = None) -> None:
        super().__init__()
        self.config = options = options or ModeTOptions()
        c = [options.channels * 2**level for level in range(1, 6)]
        self.encoder = Pyramid(options)
        self.attend1, self.attend2, self.attend3, self.attend4, self.attend5 = (
            Attention(width, heads) for width, heads in zip(c, HEADS, strict=True)
        )
        self.merge1, self.merge2, self.merge3, self.merge4, self.merge5 = (
            Head(3 * heads)
            if options.version == 2
            else Competition(heads)
            if heads > 1
            else nn.Identity()
            for heads in HEADS
        )

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        size = check_pair(moving, fixed)
        (f1, m1), (f2, m2), (f3, m3), (f4, m4), (f5, m5) = (
            features.chunk(2)
            for features in self.encoder(pad_to(torch.cat([fixed, moving]), 16, least=32))
        )  # with c = 4: (b, 8, i, j, k), (b, 16, i/2, ..), (b, 32, i/4, ..), (b, 64, i/8, ..), (b, 128, i/16, ..)

        # level 5
        step = self.merge5(
            self.attend5(m5, f5)
        )  # (b, 3, i/16, j/16, k/16); of version 1 (b, 3, i/8, j/8, k/8)
        u = added(step.new_zeros(f5[:, :3].shape), step)  # (b, 3, i/8, j/8, k/8), in its voxels

        # level 4
        step = self.merge4(self.attend4(warp(m4, u), f4))  # (b, 3, i/8, ..), or (b, 3, i/4, ..)
        u = added(u, step)  # (b, 3, i/4, j/4, k/4)

        # level 3
        step = self.merge3(self.attend3(warp(m3, u), f3))  # (b, 3, i/4, ..), or (b, 3, i/2, ..)
        u = added(u, step)  # (b, 3, i/2, j/2, k/2)

        # level 2
        step = self.merge2(self.attend2(warp(m2, u), f2))  # (b, 3, i/2, j/2, k/2)
        u = added(u, step)  # (b, 3, i, j, k)

        # level 1
        step = self.merge1(self.attend1(warp(m1, u), f1))  # (b, 3, i, j, k)
        u = compose(u, step)

        return u[..., : size[0], : size[1], : size[2]]  # voxels: cropping changes no unit


def added(u: Tensor, step: Tensor) -> Tensor:
    """A level's displacement u (b, 3, i, j, k) and its step together, for the next finer level: (b, 3, 2i, 2j, 2k).

    The step is on the lattice of u, or already on that of the next finer level, in voxels of its own.
    """
    return up(compose(u, step)) if u.shape == step.shape else compose(up(u), step)


class Pyramid(nn.ModuleList):
    """image (b, 1, i, j, k) -> features of levels 1..5, level l (b, c · 2^l, i / 2^(l-1), ..)."""

    def __init__(self, options: ModeTOptions) -> None:
        c = options.channels
        first = (
            [Conv(1, c), nn.LeakyReLU(SLOPE), Block(c, 2 * c)]
            if options.version == 1
            else [Block(1, 2 * c)]
        )
        super().__init__([Chain(*first, Block(2 * c, 2 * c))])
        for n in (2 * c, 4 * c, 8 * c, 16 * c):
            self.append(Chain(Pool(), Block(n, 2 * n), Block(2 * n, 2 * n)))

    def forward(self, image: Tensor) -> list[Tensor]:
        features = [image]
        for level in self:
            features.append(level(features[-1]))
        return features[1:]


class Attention(nn.Module):
    """moving, fixed (b, c, i, j, k) -> the offset that each head expects, (b, 3·heads, i, j, k), voxels in [-1, 1]."""

    def __init__(self, c: int, heads: int) -> None:
        super().__init__()
        linear = nn.Linear(c, WIDTH * heads)
        draw_normal(linear.weight, std=1e-5)
        nn.init.zeros_(linear.bias)
        self.project = nn.Sequential(linear, nn.LayerNorm(WIDTH * heads))
        self.bias = nn.Parameter(torch.zeros(heads, 27))

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        b, _, i, j, k = fixed.shape
        key, query = (
            self.project(x.movedim(1, -1)).movedim(-1, 1).reshape(-1, WIDTH, i, j, k)
            for x in (moving, fixed)
        )  # (b·heads, 6, i, j, k)
        return attend(key, query, self.bias.repeat(b, 1)).reshape(b, -1, i, j, k)


def attend(key: Tensor, query: Tensor, bias: Tensor) -> Tensor:
    """Expected offset of each query's match: key, query (n, c, i, j, k), bias (n, 27) -> (n, 3, i, j, k).

    Softmax over the scores of the 3×3×3 window, row-major: dot product, unscaled as published, and bias; keys beyond
    the edge are zeros, and compete. The values are the offsets in {-1, 0, 1}³ themselves, so none are gathered, and the
    products are summed one window position at a time. At least float32, as `ops.matching.match_plain`.
    """
    dtype = torch.promote_types(torch.promote_types(key.dtype, query.dtype), torch.float32)
    with torch.autocast(query.device.type, enabled=False):
        padded, query, bias = (
            F.pad(key.to(dtype), (1,) * 6),
            query.to(dtype),
            bias.to(dtype)[..., None, None, None],
        )
        i, j, k = query.shape[2:]
        steps = list(product(range(3), repeat=3))
        scores = torch.stack(
            [
                (padded[:, :, x : x + i, y : y + j, z : z + k] * query).sum(1) + bias[:, t]
                for t, (x, y, z) in enumerate(steps)
            ],
            1,
        )  # (n, 27, i, j, k)
        offsets = torch.tensor(steps, device=query.device, dtype=dtype) - 1  # (27, 3)
        return torch.einsum("ntijk,ta->naijk", scores.softmax(1), offsets)


class Competition(nn.Module):
    """Offsets of the heads (b, 3·heads, i, j, k) -> one displacement (b, 3, 2i, 2j, 2k), in voxels of its lattice.

    The paper's competitive weighting module: on the finer lattice, each voxel's weights of the heads sum to 1.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.weigh = Chain(
            Block(3 * heads, 6 * heads), Block(6 * heads, 6 * heads), Conv(6 * heads, heads)
        )

    def forward(self, offsets: Tensor) -> Tensor:
        fine = F.interpolate(
            offsets, scale_factor=2, mode="trilinear", align_corners=True
        )  # (b, 3·heads, 2i, 2j, 2k)
        weights = self.weigh(fine).softmax(1)  # (b, heads, 2i, 2j, 2k)
        return 2 * torch.einsum("bhijk,bhaijk->baijk", weights, fine.unflatten(1, (-1, 3)))
