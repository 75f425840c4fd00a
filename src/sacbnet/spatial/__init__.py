"""Geometry: grids, transforms, warping, composition, inversion, integration and folds.

This room knows no network and no file.
"""
