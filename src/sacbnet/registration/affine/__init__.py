"""Rigid and affine pre-alignment by mutual information: maps points of the fixed to points of the moving image, RAS mm.

Poses all over are scored at a glance, the best are climbed from on a coarse lattice, what comes out best is climbed
on finer ones.
"""

from .align import AffineKind, AffineOptions, align

__all__ = ["AffineKind", "AffineOptions", "align"]
