"""SACB-Net: the whole network on one page.

Source: Cheng et al., "SACB-Net: Spatial-awareness Convolutions for Medical Image Registration", CVPR 2025, in the form
that the authors' published checkpoints expect.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.networks.contract import check_pair, pad_to
from sacbnet.ops.matching import match, match_spread
from sacbnet.ops.pointwise import concatenate
from sacbnet.spatial.backtrack import compose_unfolded
from sacbnet.spatial.exponential import exponential, smooth
from sacbnet.spatial.warp import compose, up, warp

from .block import SACB
from .encoder import Block, Chain, Conv, Encoder

STEPS = 5  # of integration: a level moves by a voxel or two, so 1/16 of a voxel at a time at most
BOUND = 1.5  # voxels that a velocity of the head reaches at most along each axis: matching in a window of 3 finds 1


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
            SACB.of(config, level) if level in config.sacb_levels else nn.Identity()
            for level in (2, 3, 4, 5)
        )
        self.matching = Matching.of(config)
        self.refine = Chain(Block(c, c), Block(c, c))
        if config.level1 != "matching":
            self.head = Chain(Block(2 * c, c), Block(c, c), Conv(c, 3))

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        size = check_pair(moving, fixed)
        # both images as one batch: no value changes (norms and clusters are per sample), and it is faster than two
        (f1, m1), (f2, m2), (f3, m3), (f4, m4), (f5, m5) = (
            features.chunk(2)
            for features in self.encoder(pad_to(torch.cat([fixed, moving]), 16, least=32))
        )  # with c = 4: (b, 8, i, j, k), (b, 16, i/2, ..), (b, 32, i/4, ..), (b, 64, i/8, ..), (b, 64, i/16, ..)

        # level 5
        f5, m5 = self.sacb5(concatenate([f5, m5], 0)).chunk(2)  # (b, 64, i/16, j/16, k/16) each
        u = up(self.matching(m5, f5))  # (b, 3, i/8, j/8, k/8), voxels of its own level

        # level 4
        f4, m4 = self.sacb4(concatenate([f4, warp(m4, u)], 0)).chunk(2)  # (b, 64, i/8, j/8, k/8)
        u = up(self.matching.then(u, self.matching(m4, f4)))  # (b, 3, i/4, j/4, k/4)

        # level 3
        f3, m3 = self.sacb3(concatenate([f3, warp(m3, u)], 0)).chunk(2)  # (b, 32, i/4, j/4, k/4)
        u = up(self.matching.then(u, self.matching(m3, f3)))  # (b, 3, i/2, j/2, k/2)

        # level 2
        f2, m2 = self.sacb2(concatenate([f2, warp(m2, u)], 0)).chunk(2)  # (b, 16, i/2, j/2, k/2)
        u = up(self.matching.then(u, self.matching(m2, f2)))  # (b, 3, i, j, k)

        # level 1: in the paper convolutions instead of matching
        m1 = self.refine(warp(m1, u))
        f1 = self.refine(f1)
        if self.config.level1 != "head":
            d = self.matching(m1, f1)
            u, m1 = self.matching.then(u, d), warp(m1, d)
        if self.config.level1 != "matching":
            both = concatenate([f1, m1], 1)  # (b, 16, i, j, k)
            del f1, m1  # the largest volumes
            u = self.matching.then(u, self.matching.step(self.offset(both)))  # (b, 3, i, j, k)

        return u[..., : size[0], : size[1], : size[2]]  # voxels: cropping changes no unit

    def offset(self, both: Tensor) -> Tensor:
        """What the convolutions of level 1 find, (b, 16, i, j, k) -> (b, 3, i, j, k), voxels.

        A velocity is bounded as that of matching is. The bound and smoothing are what keeps a step's slope from being
        more than the lattice can show without folding: unbounded, heads learn velocities of a dozen voxels.
        """
        found = self.head(both).float()
        return BOUND * torch.tanh(found / BOUND) if self.config.diffeomorphic else found


class Matching(nn.Module):
    """Features of one level (b, c, i, j, k), moving and fixed -> the level's displacement (b, 3, i, j, k), its voxels.

    window, iterations: `match` sees so many voxels along an axis, so many times, each from where the last one led.
    scaled: dot products over √c, as in attention (Vaswani et al., NeurIPS 2017): as they are, features of unit variance
    leave softmax a single candidate from the first step on, and the others no gradient.
    diffeomorphic: what it finds is a velocity, and its exponential the step.
    """

    def __init__(self, window: int, iterations: int, scaled: bool, diffeomorphic: bool) -> None:
        super().__init__()
        self.window, self.iterations, self.scaled, self.diffeomorphic = (
            window,
            iterations,
            scaled,
            diffeomorphic,
        )

    @classmethod
    def of(cls, config: SACBNetConfig) -> Matching:
        return cls(
            config.window, config.iterations, config.scores == "scaled", config.diffeomorphic
        )

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        d = self.step(self.find(moving, fixed))
        for _ in range(self.iterations - 1):
            d = self.then(d, self.step(self.find(warp(moving, d), fixed)))
        return d

    def find(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """One match, neither smoothed nor integrated."""
        return match(moving, self.weighed(fixed), self.window)

    def spread(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """How far apart the candidates of `find` lie: (b, 1, i, j, k), voxels²."""
        return match_spread(moving, self.weighed(fixed), self.window)

    def weighed(self, fixed: Tensor) -> Tensor:
        return fixed * fixed.shape[1] ** -0.5 if self.scaled else fixed

    def step(self, velocity: Tensor) -> Tensor:
        """The displacement of a step found: itself, or the exponential of what is left of it when smoothed."""
        return exponential(smooth(velocity), STEPS) if self.diffeomorphic else velocity

    def then(self, u: Tensor, step: Tensor) -> Tensor:
        """u with a step before it. A step that leaves the image finds there what is at its face: u that fades to 0, as
        in the published network, would fold. Out of training a step is as long as folds nothing; training takes the
        whole of it, so that the loss sees what was found."""
        if not self.diffeomorphic:
            return compose(u, step)
        return compose(u, step, padding="border") if self.training else compose_unfolded(u, step)
