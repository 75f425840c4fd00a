"""Losses for training and refinement (docs/losses.md)."""

from .similarity import box_mean, gradient_loss, ncc_loss

__all__ = ["box_mean", "gradient_loss", "ncc_loss"]
