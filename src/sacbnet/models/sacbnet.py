"""SACB-Net: the whole network on one page.

Source: Cheng et al., "SACB-Net: Spatial-awareness Convolutions for Medical Image Registration", CVPR 2025, in the form
that the authors' published checkpoints expect.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..ops.matching import match
from ..ops.pointwise import concatenate
from ..spatial.warp import compose, up, warp
from .config import SACBNetConfig
from .contract import check_pair, pad_to
from .encoder import Block, Chain, Conv, Encoder
from .sacb import SACB


class SACBNet(nn.Module):
    """moving, fixed (b, 1, i, j, k), any size -> displacement_vox (b, 3, i, j, k) for `warp(moving, displacement_vox)`.

    Holds no buffer and no shape: one set of weights serves every device, batch and size. To watch or steer a stage,
    hook its module (`encoder`, `sacb2`..`sacb5` and their `cluster`, `matching`, `head`): batches there are
    [fixed..., moving...]. Raises InputError for shapes that are no pair of images.
    """

    def __init__(self, config: SACBNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SACBNetConfig()
        c = config.channels(1)
        self.encoder = Encoder(config)
        self.sacb2, self.sacb3, self.sacb4, self.sacb5 = (
            SACB(config, level) if level in config.sacb_levels else nn.Identity() for level in (2, 3, 4, 5)
        )
        self.matching = Matching()
        self.refine = Chain(Block(c, c), Block(c, c))
        self.head = Chain(Block(2 * c, c), Block(c, c), Conv(c, 3))

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        size = check_pair(moving, fixed)
        # both images as one batch: no value changes (norms and clusters are per sample), and it is faster than two
        (f1, m1), (f2, m2), (f3, m3), (f4, m4), (f5, m5) = (
            features.chunk(2) for features in self.encoder(pad_to(torch.cat([fixed, moving]), 16, least=32))
        )  # with c = 4: (b, 8, i, j, k), (b, 16, i/2, ..), (b, 32, i/4, ..), (b, 64, i/8, ..), (b, 64, i/16, ..)

        # level 5
        f5, m5 = self.sacb5(concatenate([f5, m5], 0)).chunk(2)  # (b, 64, i/16, j/16, k/16) each
        u = up(self.matching(m5, f5))  # (b, 3, i/8, j/8, k/8), voxels of its own level

        # level 4
        f4, m4 = self.sacb4(concatenate([f4, warp(m4, u)], 0)).chunk(2)  # (b, 64, i/8, j/8, k/8)
        u = up(compose(u, self.matching(m4, f4)))  # (b, 3, i/4, j/4, k/4)

        # level 3
        f3, m3 = self.sacb3(concatenate([f3, warp(m3, u)], 0)).chunk(2)  # (b, 32, i/4, j/4, k/4)
        u = up(compose(u, self.matching(m3, f3)))  # (b, 3, i/2, j/2, k/2)

        # level 2
        f2, m2 = self.sacb2(concatenate([f2, warp(m2, u)], 0)).chunk(2)  # (b, 16, i/2, j/2, k/2)
        u = up(compose(u, self.matching(m2, f2)))  # (b, 3, i, j, k)

        # level 1: convolutions instead of matching
        m1 = self.refine(warp(m1, u))
        f1 = self.refine(f1)
        both = concatenate([f1, m1], 1)  # (b, 16, i, j, k)
        del f1, m1  # the largest volumes
        u = compose(u, self.head(both).to(u.dtype))  # (b, 3, i, j, k)

        return u[..., : size[0], : size[1], : size[2]]  # voxels: cropping changes no unit


class Matching(nn.Module):
    """`match` as a module, so that a hook can see it."""

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        return match(moving, fixed)
