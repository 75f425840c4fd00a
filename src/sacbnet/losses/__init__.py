"""Losses for training and refinement (docs/losses.md).

Those that autograd would keep a dozen maps for compute their gradient during the forward pass and keep that alone: a
scalar's gradient is one map.
"""

from .mind import mind_loss
from .mutual_information import mutual_information_loss
from .overlap import dice_loss
from .similarity import box_mean, mse_loss, ncc_loss
from .smoothness import bending_energy_loss, gradient_loss, inverse_consistency_loss, jacobian_loss

__all__ = [
    "bending_energy_loss",
    "box_mean",
    "dice_loss",
    "gradient_loss",
    "inverse_consistency_loss",
    "jacobian_loss",
    "mind_loss",
    "mse_loss",
    "mutual_information_loss",
    "ncc_loss",
]
