"""Rigid and affine pre-alignment of two images by mutual information.

The result maps points of the fixed image to points of the moving image (mm, RAS). The search has
four steps. It estimates the score of many poses, climbs from the best ones on a coarse lattice,
climbs from the best results on a medium lattice, and refines the best of all on a medium and a
fine lattice.
"""

from sacbnet.config.choices import AffineKind

from .align import AffineOptions, align

__all__ = ["AffineKind", "AffineOptions", "align"]
