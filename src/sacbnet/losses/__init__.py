"""Losses for training and refinement (docs/reference/losses.md).

The module `registry` is their table; `terms` calls them by name and parameters.

Some of these losses would make autograd keep a dozen maps of the image's size. They compute their
gradient in the forward pass instead and keep one map: the gradient of a scalar.

Names are imported when they are first used, so that reading a recipe does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from .mind import mind_loss
    from .mutual_information import mutual_information_loss
    from .overlap import dice_loss
    from .similarity import box_mean, mse_loss, ncc_loss
    from .smoothness import (
        bending_energy_loss,
        gradient_loss,
        inverse_consistency_loss,
        jacobian_loss,
    )

_HOMES = {
    "bending_energy_loss": "smoothness",
    "box_mean": "similarity",
    "dice_loss": "overlap",
    "gradient_loss": "smoothness",
    "inverse_consistency_loss": "smoothness",
    "jacobian_loss": "smoothness",
    "mind_loss": "mind",
    "mse_loss": "similarity",
    "mutual_information_loss": "mutual_information",
    "ncc_loss": "similarity",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
