"""ModeT: the whole network on one page, in both versions.

Source: Wang, Ni and Wang, "ModeT: Learning Deformable Image Registration via Motion Decomposition
Transformer", MICCAI 2023. Version 2 is the later form of the authors' published code.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sacbnet.config.comparison import ModeTOptions
from sacbnet.spatial.warp import compose, up, warp

from .contract import check_pair, pad_to
from .layers import Head, draw_normal
from .sacbnet.encoder import SLOPE, Block, Chain, Conv, Pool

HEADS = (1, 1, 2, 4, 8)  # attention heads of levels 1..5
WIDTH = 6  # channels of a head's queries and keys


class ModeT(nn.Module):
    """ModeT; called as `contract` says.

    Each level matches the features of the two images by attention. Each attention head gives one
    candidate motion. Version 1 weighs the candidates against each other at levels 5, 4 and 3
    (`Competition`). Version 2 reads a displacement from them at every level by a convolution.

    Parameters as published: 1,029,670 at 4 channels, 3,690,102 at 8. The encoder of version 2
    starts with one block less: 229,835 parameters at 2 channels, 896,551 at 4, 3,554,495 at 8. (Its
    published script counts twice as many channels.)

    Parameters
    ----------
    options : ModeTOptions, optional
        Default: version 1 at 4 channels.
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
            _merging(heads, options.version) for heads in HEADS
        )

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """moving, fixed (b, 1, i, j, k) -> displacement_vox (b, 3, i, j, k)."""
        i, j, k = check_pair(moving, fixed)
        # shapes for 4 channels: (b, 8, i, ..), (b, 16, i/2, ..), .., (b, 128, i/16, ..)
        (f1, m1), (f2, m2), (f3, m3), (f4, m4), (f5, m5) = (
            features.chunk(2)
            for features in self.encoder(pad_to(torch.cat([fixed, moving]), 16, least=32))
        )

        # level 5; a step of version 1 is twice as fine as its level where heads compete
        step = self.merge5(self.attend5(m5, f5))  # (b, 3, i/16, ..) or (b, 3, i/8, ..)
        u = added(step.new_zeros(f5[:, :3].shape), step)  # (b, 3, i/8, j/8, k/8), in its voxels

        # level 4
        step = self.merge4(self.attend4(warp(m4, u), f4))  # (b, 3, i/8, ..) or (b, 3, i/4, ..)
        u = added(u, step)  # (b, 3, i/4, j/4, k/4)

        # level 3
        step = self.merge3(self.attend3(warp(m3, u), f3))  # (b, 3, i/4, ..) or (b, 3, i/2, ..)
        u = added(u, step)  # (b, 3, i/2, j/2, k/2)

        # level 2
        step = self.merge2(self.attend2(warp(m2, u), f2))  # (b, 3, i/2, j/2, k/2)
        u = added(u, step)  # (b, 3, i, j, k)

        # level 1
        step = self.merge1(self.attend1(warp(m1, u), f1))  # (b, 3, i, j, k)
        u = compose(u, step)

        return u[..., :i, :j, :k]  # without the padding


def added(u: Tensor, step: Tensor) -> Tensor:
    """Compose a level's displacement with its step, for the next finer level.

    Parameters
    ----------
    u : Tensor, shape (b, 3, i, j, k)
        The displacement so far, in voxels of the level.
    step : Tensor, shape (b, 3, i, j, k) or (b, 3, 2i, 2j, 2k)
        The step, in voxels of its own lattice: that of ``u`` or the next finer one.

    Returns
    -------
    Tensor, shape (b, 3, 2i, 2j, 2k)
        The displacement, in voxels of the next finer level.
    """
    return up(compose(u, step)) if u.shape == step.shape else compose(up(u), step)


class Pyramid(nn.ModuleList):
    """image (b, 1, i, j, k) -> features of levels 1..5, level l (b, c · 2^l, i / 2^(l-1), ..).

    Parameters
    ----------
    options : ModeTOptions
        Width c and version.
    """

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
        """(b, 1, i, j, k) -> five tensors, fine to coarse."""
        features = [image]
        for level in self:
            features.append(level(features[-1]))
        return features[1:]


class Attention(nn.Module):
    """Each head's expected offset of a fixed voxel's match, in voxels in [-1, 1].

    Parameters
    ----------
    c : int
        Channels of the features.
    heads : int
        Attention heads.
    """

    def __init__(self, c: int, heads: int) -> None:
        super().__init__()
        linear = nn.Linear(c, WIDTH * heads)
        draw_normal(linear.weight, std=1e-5)
        nn.init.zeros_(linear.bias)
        self.project = nn.Sequential(linear, nn.LayerNorm(WIDTH * heads))
        self.bias = nn.Parameter(torch.zeros(heads, 27))

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """moving, fixed (b, c, i, j, k) -> offsets (b, 3·heads, i, j, k)."""
        b, _, i, j, k = fixed.shape
        # (b·heads, 6, i, j, k)
        key, query = (
            self.project(x.movedim(1, -1)).movedim(-1, 1).reshape(-1, WIDTH, i, j, k)
            for x in (moving, fixed)
        )
        return attend(key, query, self.bias.repeat(b, 1)).reshape(b, -1, i, j, k)


def attend(key: Tensor, query: Tensor, bias: Tensor) -> Tensor:
    """Match each query with the keys of its 3×3×3 window, and return the expected offset.

    The scores are dot products, unscaled as published, plus the bias of the window position. Keys
    beyond the edge are zeros and compete like others. The softmax of the scores weighs the offsets
    in {-1, 0, 1}³. The values are these offsets themselves, so none are gathered, and the products
    are summed one window position at a time. Computed in at least float32, as
    `ops.matching.match_plain` is.

    Parameters
    ----------
    key, query : Tensor, shape (n, c, i, j, k)
        Projected features of the moving and of the fixed image.
    bias : Tensor, shape (n, 27)
        Bias of each window position, row-major.

    Returns
    -------
    Tensor, shape (n, 3, i, j, k)
        Expected offset, in voxels.
    """
    dtype = torch.promote_types(torch.promote_types(key.dtype, query.dtype), torch.float32)
    with torch.autocast(query.device.type, enabled=False):
        padded = F.pad(key.to(dtype), (1,) * 6)
        query, bias = query.to(dtype), bias.to(dtype)[..., None, None, None]
        i, j, k = query.shape[2:]
        steps = list(product(range(3), repeat=3))
        # (n, 27, i, j, k)
        scores = torch.stack(
            [
                (padded[:, :, x : x + i, y : y + j, z : z + k] * query).sum(1) + bias[:, t]
                for t, (x, y, z) in enumerate(steps)
            ],
            1,
        )
        offsets = torch.tensor(steps, device=query.device, dtype=dtype) - 1  # (27, 3)
        return torch.einsum("ntijk,ta->naijk", scores.softmax(1), offsets)


class Competition(nn.Module):
    """The paper's competitive weighting: the heads' offsets become one displacement, twice as fine.

    On the finer lattice, the weights of the heads at a voxel sum to 1.

    Parameters
    ----------
    heads : int
        Attention heads, whose offsets come in.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.weigh = Chain(
            Block(3 * heads, 6 * heads), Block(6 * heads, 6 * heads), Conv(6 * heads, heads)
        )

    def forward(self, offsets: Tensor) -> Tensor:
        """(b, 3·heads, i, j, k) -> (b, 3, 2i, 2j, 2k), in voxels of the finer lattice."""
        # (b, 3·heads, 2i, 2j, 2k)
        fine = F.interpolate(offsets, scale_factor=2, mode="trilinear", align_corners=True)
        weights = self.weigh(fine).softmax(1)  # (b, heads, 2i, 2j, 2k)
        return 2 * torch.einsum("bhijk,bhaijk->baijk", weights, fine.unflatten(1, (-1, 3)))


def _merging(heads: int, version: int) -> nn.Module:
    """What makes one displacement of the heads' offsets."""
    if version == 2:
        return Head(3 * heads)
    return Competition(heads) if heads > 1 else nn.Identity()
