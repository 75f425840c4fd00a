"""SACB-Net with both images treated alike: they meet half-way, so exchanging them gives the inverse transform.

The levels are those of `sacbnet` (Cheng et al., CVPR 2025); both images are warped to a lattice half-way between them,
as in SyN (Avants et al., Medical Image Analysis 2008), and each level's velocity is followed by half in either
direction.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sacbnet.networks.contract import check_pair, pad_to
from sacbnet.ops.pointwise import concatenate
from sacbnet.spatial.backtrack import backtrack, folded_voxels
from sacbnet.spatial.exponential import exponential, smooth
from sacbnet.spatial.warp import compose, up, warp

from .network import STEPS, SACBNet


class Half(NamedTuple):
    """Displacements (b, 3, i, j, k) between an image and the lattice half-way, in voxels: where on the image a voxel
    half-way samples, and where half-way a voxel of the image lies."""

    there: Tensor
    back: Tensor

    def moved(self, step: Tensor, back: Tensor) -> Half:
        """Before what there is comes a step on the lattice half-way, after the way back its inverse."""
        return Half(_compose(self.there, step), _compose(back, self.back))

    def up(self) -> Half:
        return Half(up(self.there), up(self.back))


class SymmetricSACBNet(SACBNet):
    """As `SACBNet`, with the same parameters; `both` gives both directions from one pass.

    With the images exchanged the two displacements are exchanged, but for rounding. One is the inverse of the other as
    far as steps that are integrated (`diffeomorphic`) or small, interpolated and composed, are inverse to theirs.
    """

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        return self.both(moving, fixed)[0]

    def both(self, moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
        """Displacements (b, 3, i, j, k) in voxels: for `warp(moving, first)`, on the fixed lattice, and for
        `warp(fixed, second)`, on the moving one."""
        size = check_pair(moving, fixed)
        features = self.encoder(
            pad_to(torch.cat([fixed, moving]), 16, least=32)
        )  # levels 1..5, both images
        zero = features[4].new_zeros(fixed.shape[0], 3, *features[4].shape[2:], dtype=torch.float32)
        to_fixed, to_moving = Half(zero, zero), Half(zero, zero)  # at level 5
        for level, block in ((5, self.sacb5), (4, self.sacb4), (3, self.sacb3), (2, self.sacb2)):
            f, m = features[level - 1].chunk(2)
            f, m = block(concatenate([warp(f, to_fixed.there), warp(m, to_moving.there)], 0)).chunk(
                2
            )
            to_fixed, to_moving, _, _ = self._match(to_fixed, to_moving, f, m)
            to_fixed, to_moving = to_fixed.up(), to_moving.up()  # on the lattice of level - 1

        f, m = features[0].chunk(2)
        del features
        f, m = (self.refine(warp(x, half.there)) for x, half in ((f, to_fixed), (m, to_moving)))
        if self.config.level1 != "head":
            to_fixed, to_moving, f, m = self._match(to_fixed, to_moving, f, m)
        if self.config.level1 != "matching":
            both = concatenate([concatenate([f, m], 1), concatenate([m, f], 1)], 0)
            forth, back = self.offset(both).chunk(2)
            to_fixed, to_moving = self._meet(to_fixed, to_moving, (forth - back) / 2)[:2]

        first = _compose(to_moving.there, to_fixed.back)
        second = _compose(to_fixed.there, to_moving.back)
        return first[..., : size[0], : size[1], : size[2]], second[
            ..., : size[0], : size[1], : size[2]
        ]

    def _match(
        self, to_fixed: Half, to_moving: Half, f: Tensor, m: Tensor
    ) -> tuple[Half, Half, Tensor, Tensor]:
        """A level's steps; the features of both images where they led."""
        for _ in range(self.config.iterations):
            velocity = (self.matching.find(m, f) - self.matching.find(f, m)) / 2
            to_fixed, to_moving, plus, minus = self._meet(to_fixed, to_moving, velocity)
            f, m = warp(f, minus), warp(m, plus)
        return to_fixed, to_moving, f, m

    def _meet(
        self, to_fixed: Half, to_moving: Half, velocity: Tensor
    ) -> tuple[Half, Half, Tensor, Tensor]:
        """Half-way along a velocity from both sides, as far as folds nothing (`Matching.then`); the steps, towards the
        moving image and the other way."""
        if not self.matching.diffeomorphic or self.training:
            return self._follow(to_fixed, to_moving, velocity)
        return backtrack(velocity, lambda v: self._follow(to_fixed, to_moving, v), _folded)

    def _follow(
        self, to_fixed: Half, to_moving: Half, velocity: Tensor
    ) -> tuple[Half, Half, Tensor, Tensor]:
        half = velocity / 2
        plus, minus = half, -half
        if self.matching.diffeomorphic:
            half = smooth(half)
            plus, minus = exponential(half, STEPS), exponential(-half, STEPS)
        return to_fixed.moved(minus, plus), to_moving.moved(plus, minus), plus, minus


def _folded(followed: tuple[Half, Half, Tensor, Tensor]) -> Tensor:
    """Where half-way either direction folds, after a step of `_follow`: (b, 1, i, j, k) bool."""
    to_fixed, to_moving = followed[:2]
    forth = _carried(folded_voxels(_compose(to_moving.there, to_fixed.back)), to_fixed.back)
    return forth | _carried(folded_voxels(_compose(to_fixed.there, to_moving.back)), to_moving.back)


def _carried(marked: Tensor, displacement_vox: Tensor) -> Tensor:
    """Marked voxels (b, 1, i, j, k) at where a displacement (b, 3, i, j, k) takes them, the nearest in the lattice."""
    sample, _, i, j, k = marked.nonzero(as_tuple=True)
    ends = torch.tensor(marked.shape[2:], device=marked.device) - 1
    there = torch.stack([i, j, k], 1) + displacement_vox[sample, :, i, j, k].round().long()
    i, j, k = there.clamp_min(0).minimum(ends).unbind(1)
    out = torch.zeros_like(marked)
    out[sample, 0, i, j, k] = True
    return out


def _compose(outer_vox: Tensor, inner_vox: Tensor) -> Tensor:
    """As `Matching.then`, whether the steps are integrated or not: this network is none of the paper's."""
    return compose(outer_vox, inner_vox, padding="border")
