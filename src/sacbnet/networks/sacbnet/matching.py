"""Matching of one level: from features of both images to the level's displacement.

Source: Cheng et al., SACB-Net, CVPR 2025, section 3.3. Scaled scores are those of attention
(Vaswani et al., NeurIPS 2017).
"""

from __future__ import annotations

from torch import Tensor, nn

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.ops.matching import match
from sacbnet.spatial.backtrack import compose_unfolded
from sacbnet.spatial.exponential import exponential, smooth
from sacbnet.spatial.warp import compose, warp

STEPS = 5  # of integration: a level moves one or two voxels, so a step is at most 1/16 of a voxel


class Matching(nn.Module):
    """Displacement of a level, found by matching; it has no parameters.

    Parameters
    ----------
    window : {3, 5}
        Candidates along each axis.
    iterations : int
        How often a level is matched. Each time starts where the last one ended.
    scaled : bool
        Divide the dot products by √c, as attention does. Without this, features of unit variance
        leave the softmax one single candidate from the first training step on, and the other
        candidates get no gradient.
    diffeomorphic : bool
        What matching finds is a velocity, and the step is its exponential.
    """

    def __init__(self, window: int, iterations: int, scaled: bool, diffeomorphic: bool) -> None:
        super().__init__()
        self.window, self.iterations = window, iterations
        self.scaled, self.diffeomorphic = scaled, diffeomorphic

    @classmethod
    def of(cls, config: SACBNetConfig) -> Matching:
        """Make the matching of a SACB-Net.

        Parameters
        ----------
        config : SACBNetConfig
            Options of the network.

        Returns
        -------
        Matching
            The module that all its levels use.
        """
        scaled = config.scores == "scaled"
        return cls(config.window, config.iterations, scaled, config.diffeomorphic)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """moving, fixed (b, c, i, j, k) -> displacement (b, 3, i, j, k), voxels of the level."""
        d = self.step(self.find(moving, fixed))
        for _ in range(self.iterations - 1):
            d = self.then(d, self.step(self.find(warp(moving, d), fixed)))
        return d

    def find(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Match once, without smoothing or integration.

        Parameters
        ----------
        moving, fixed : Tensor, shape (b, c, i, j, k)
            Features of one level.

        Returns
        -------
        Tensor, shape (b, 3, i, j, k)
            Expected offset, in voxels of the level.
        """
        return match(moving, self._scale(fixed), self.window)

    def step(self, velocity: Tensor) -> Tensor:
        """Turn what matching found into a displacement.

        Parameters
        ----------
        velocity : Tensor, shape (b, 3, i, j, k)
            What matching or the head found, in voxels.

        Returns
        -------
        Tensor, shape (b, 3, i, j, k)
            The same tensor; with ``diffeomorphic``, the exponential of the smoothed velocity.
        """
        return exponential(smooth(velocity), STEPS) if self.diffeomorphic else velocity

    def then(self, u: Tensor, step: Tensor) -> Tensor:
        """Compose a displacement with a further step: ``out(p) = step(p) + u(p + step(p))``.

        With ``diffeomorphic``, a step that leaves the image finds there the value at the image's
        face. In the published network u fades to 0 there, which would fold. In evaluation mode a
        step is also shortened until nothing folds. Training takes the whole step, so that the loss
        sees what matching found.

        Parameters
        ----------
        u : Tensor, shape (b, 3, i, j, k)
            The displacement so far, in voxels.
        step : Tensor, shape (b, 3, i, j, k)
            The further step on the fixed grid, in voxels.

        Returns
        -------
        Tensor, shape (b, 3, i, j, k)
            Both together, in voxels.
        """
        if not self.diffeomorphic:
            return compose(u, step)
        return compose(u, step, padding="border") if self.training else compose_unfolded(u, step)

    def _scale(self, fixed: Tensor) -> Tensor:
        return fixed * fixed.shape[1] ** -0.5 if self.scaled else fixed
