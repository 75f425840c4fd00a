"""SACB-Net with both images treated alike: exchanging them gives the inverse transform.

The levels are those of `network` (Cheng et al., CVPR 2025). Both images are warped to a lattice
half-way between them, as in SyN (Avants et al., Medical Image Analysis 2008). Each level finds a
velocity, and each image follows half of it, in opposite directions.
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

from .matching import STEPS
from .network import SACBNet


class Half(NamedTuple):
    """The displacements between one image and the half-way lattice, in voxels.

    Attributes
    ----------
    there : Tensor, shape (b, 3, i, j, k)
        On the half-way lattice: where a voxel samples the image.
    back : Tensor, shape (b, 3, i, j, k)
        On the image's lattice: where a voxel of the image lies half-way.
    """

    there: Tensor
    back: Tensor

    def moved(self, step: Tensor, back: Tensor) -> Half:
        """Add a step on the half-way lattice.

        Parameters
        ----------
        step : Tensor, shape (b, 3, i, j, k)
            The step, in voxels; it comes before ``there``.
        back : Tensor, shape (b, 3, i, j, k)
            The inverse of the step; it comes after ``back``.

        Returns
        -------
        Half
            The displacements with the step.
        """
        return Half(_compose(self.there, step), _compose(back, self.back))

    def up(self) -> Half:
        """Bring both displacements to the next finer level.

        Returns
        -------
        Half
            Shapes (b, 3, 2i, 2j, 2k), in voxels of the finer level.
        """
        return Half(up(self.there), up(self.back))


class SymmetricSACBNet(SACBNet):
    """SACB-Net with the same parameters, where exchanging the images exchanges the two results.

    The exchange holds up to rounding. The two displacements are inverse to each other as far as
    single steps are: exact steps are integrated velocities (``diffeomorphic``), and each level
    interpolates when it composes them.
    """

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """moving, fixed (b, 1, i, j, k) -> displacement_vox (b, 3, i, j, k)."""
        return self.both(moving, fixed)[0]

    def both(self, moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
        """Find both directions in one pass.

        Parameters
        ----------
        moving, fixed : Tensor, shape (b, 1, i, j, k)
            The images.

        Returns
        -------
        forward_vox : Tensor, shape (b, 3, i, j, k)
            Displacement on the fixed lattice, for ``warp(moving, forward_vox)``.
        backward_vox : Tensor, shape (b, 3, i, j, k)
            Displacement on the moving lattice, for ``warp(fixed, backward_vox)``.

        Raises
        ------
        InputError
            Where the two tensors are not a pair of images.
        """
        i, j, k = check_pair(moving, fixed)
        # levels 1..5 of both images, as one batch
        features = self.encoder(pad_to(torch.cat([fixed, moving]), 16, least=32))
        zero = features[4].new_zeros(fixed.shape[0], 3, *features[4].shape[2:], dtype=torch.float32)
        to_fixed, to_moving = Half(zero, zero), Half(zero, zero)  # (b, 3, i/16, j/16, k/16)
        for level, block in ((5, self.sacb5), (4, self.sacb4), (3, self.sacb3), (2, self.sacb2)):
            f, m = features[level - 1].chunk(2)
            # on the half-way lattice
            met = concatenate([warp(f, to_fixed.there), warp(m, to_moving.there)], 0)
            f, m = block(met).chunk(2)
            to_fixed, to_moving, _, _ = self._match(to_fixed, to_moving, f, m)
            to_fixed, to_moving = to_fixed.up(), to_moving.up()  # on the lattice of level - 1

        f, m = features[0].chunk(2)  # (b, 8, i, j, k) for base_channels = 4
        del features
        f, m = (self.refine(warp(x, half.there)) for x, half in ((f, to_fixed), (m, to_moving)))
        if self.config.level1 != "head":
            to_fixed, to_moving, f, m = self._match(to_fixed, to_moving, f, m)
        if self.config.level1 != "matching":
            both = concatenate([concatenate([f, m], 1), concatenate([m, f], 1)], 0)
            forth, back = self.offset(both).chunk(2)
            to_fixed, to_moving = self._meet(to_fixed, to_moving, (forth - back) / 2)[:2]

        forward_vox = _compose(to_moving.there, to_fixed.back)
        backward_vox = _compose(to_fixed.there, to_moving.back)
        return forward_vox[..., :i, :j, :k], backward_vox[..., :i, :j, :k]  # without the padding

    def _match(
        self, to_fixed: Half, to_moving: Half, f: Tensor, m: Tensor
    ) -> tuple[Half, Half, Tensor, Tensor]:
        """Match a level; also warp the features of both images by the steps found."""
        for _ in range(self.config.iterations):
            velocity = (self.matching.find(m, f) - self.matching.find(f, m)) / 2
            to_fixed, to_moving, plus, minus = self._meet(to_fixed, to_moving, velocity)
            f, m = warp(f, minus), warp(m, plus)
        return to_fixed, to_moving, f, m

    def _meet(
        self, to_fixed: Half, to_moving: Half, velocity: Tensor
    ) -> tuple[Half, Half, Tensor, Tensor]:
        """Follow half of a velocity from both sides, as far as nothing folds (`Matching.then`).

        Also returns the step towards the moving image and the opposite step.
        """
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
    """Half-way voxels where either direction folds after `_follow`: (b, 1, i, j, k) bool."""
    to_fixed, to_moving = followed[:2]
    forth = _carried(folded_voxels(_compose(to_moving.there, to_fixed.back)), to_fixed.back)
    return forth | _carried(folded_voxels(_compose(to_fixed.there, to_moving.back)), to_moving.back)


def _carried(marked: Tensor, displacement_vox: Tensor) -> Tensor:
    """Move marked voxels (b, 1, i, j, k) to the voxels that are nearest to where they go."""
    sample, _, i, j, k = marked.nonzero(as_tuple=True)
    ends = torch.tensor(marked.shape[2:], device=marked.device) - 1
    there = torch.stack([i, j, k], 1) + displacement_vox[sample, :, i, j, k].round().long()
    i, j, k = there.clamp_min(0).minimum(ends).unbind(1)
    out = torch.zeros_like(marked)
    out[sample, 0, i, j, k] = True
    return out


def _compose(outer_vox: Tensor, inner_vox: Tensor) -> Tensor:
    """Compose as the diffeomorphic `Matching.then` does, for every kind of step.

    This network is not one of the paper's, so it need not fade to 0 beyond the edge.
    """
    return compose(outer_vox, inner_vox, padding="border")
