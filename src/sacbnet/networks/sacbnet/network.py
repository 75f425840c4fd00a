"""SACB-Net: the whole network on one page.

Source: Cheng et al., "SACB-Net: Spatial-awareness Convolutions for Medical Image Registration",
CVPR 2025, in the form that the authors' published checkpoints expect.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.networks.contract import check_pair, pad_to
from sacbnet.ops.pointwise import concatenate
from sacbnet.spatial.warp import up, warp

from .block import SACB
from .encoder import Block, Chain, Conv, Encoder
from .matching import Matching

BOUND = 1.5  # voxels: the largest velocity of the head along an axis; matching finds 1 at most


class SACBNet(nn.Module):
    """SACB-Net; called as `contract` says.

    The network holds no buffer and no shape: one set of weights serves every device, batch and
    size. To watch or change a stage, hook its module: ``encoder``, ``sacb2`` to ``sacb5`` and their
    ``cluster``, ``matching``, ``head``. There, the two images are one batch, fixed images first.

    Parameters
    ----------
    config : SACBNetConfig, optional
        Default: the published network, with 1,105,591 parameters.

    Examples
    --------
    >>> moving, fixed = torch.rand(2, 1, 1, 32, 32, 16)
    >>> SACBNet()(moving, fixed).shape
    torch.Size([1, 3, 32, 32, 16])
    """

    def __init__(self, config: SACBNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SACBNetConfig()
        c = config.channels(1)
        self.encoder = Encoder(config)
        self.sacb2, self.sacb3, self.sacb4, self.sacb5 = (
            SACB.of(config, level) if level in config.sacb_levels else nn.Identity()
            for level in (2, 3, 4, 5)
        )
        self.matching = Matching.of(config)
        self.refine = Chain(Block(c, c), Block(c, c))
        if config.level1 != "matching":
            self.head = Chain(Block(2 * c, c), Block(c, c), Conv(c, 3))

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """moving, fixed (b, 1, i, j, k) -> displacement_vox (b, 3, i, j, k)."""
        i, j, k = check_pair(moving, fixed)
        # Both images are one batch. This changes no value, because norms and clusters belong to
        # one sample, and it is faster than two calls.
        # Shapes for c = 4: (b, 8, i, ..), (b, 16, i/2, ..), (b, 32, i/4, ..), .., (b, 64, i/16, ..)
        (f1, m1), (f2, m2), (f3, m3), (f4, m4), (f5, m5) = (
            features.chunk(2)
            for features in self.encoder(pad_to(torch.cat([fixed, moving]), 16, least=32))
        )

        # level 5
        f5, m5 = self.sacb5(concatenate([f5, m5], 0)).chunk(2)  # (b, 64, i/16, j/16, k/16) each
        u = up(self.matching(m5, f5))  # (b, 3, i/8, j/8, k/8), in voxels of its own level

        # level 4
        f4, m4 = self.sacb4(concatenate([f4, warp(m4, u)], 0)).chunk(2)  # (b, 64, i/8, j/8, k/8)
        u = up(self.matching.then(u, self.matching(m4, f4)))  # (b, 3, i/4, j/4, k/4)

        # level 3
        f3, m3 = self.sacb3(concatenate([f3, warp(m3, u)], 0)).chunk(2)  # (b, 32, i/4, j/4, k/4)
        u = up(self.matching.then(u, self.matching(m3, f3)))  # (b, 3, i/2, j/2, k/2)

        # level 2
        f2, m2 = self.sacb2(concatenate([f2, warp(m2, u)], 0)).chunk(2)  # (b, 16, i/2, j/2, k/2)
        u = up(self.matching.then(u, self.matching(m2, f2)))  # (b, 3, i, j, k)

        # level 1: in the paper, convolutions instead of matching
        m1 = self.refine(warp(m1, u))  # (b, 8, i, j, k)
        f1 = self.refine(f1)  # (b, 8, i, j, k)
        if self.config.level1 != "head":
            d = self.matching(m1, f1)  # (b, 3, i, j, k)
            u, m1 = self.matching.then(u, d), warp(m1, d)
        if self.config.level1 != "matching":
            both = concatenate([f1, m1], 1)  # (b, 16, i, j, k)
            del f1, m1  # the largest volumes
            u = self.matching.then(u, self.matching.step(self.offset(both)))  # (b, 3, i, j, k)

        return u[..., :i, :j, :k]  # without the padding

    def offset(self, both: Tensor) -> Tensor:
        """Find the last step, by the convolutions of level 1.

        With the option ``diffeomorphic`` the result is a velocity, and `BOUND` limits it as
        matching limits the velocities of the other levels. Without a limit, heads learn velocities
        of a dozen voxels. The limit and smoothing together keep the slope of a step below what the
        lattice can represent without folding.

        Parameters
        ----------
        both : Tensor, shape (b, 2c, i, j, k)
            Features of the fixed image, then of the moving image.

        Returns
        -------
        Tensor, shape (b, 3, i, j, k)
            The step in voxels, float32.
        """
        found = self.head(both).float()
        return BOUND * torch.tanh(found / BOUND) if self.config.diffeomorphic else found
