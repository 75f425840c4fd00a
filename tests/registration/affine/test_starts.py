"""Places from which the search starts, where the headers are far apart."""

from __future__ import annotations

import numpy as np

from sacbnet.registration.affine import align
from sacbnet.registration.prepare import Layer
from sacbnet.spatial.grid import Grid

SHAPE = (24, 26, 72)
APART = np.array([211.0, -161.5, 90.7])  # mm, between the headers


def test_boxes_that_agree_are_a_start_where_centres_of_mass_mislead() -> None:
    """The moving image also shows a bright block at the far end of its box."""
    rng = np.random.default_rng(0)
    at = np.moveaxis(np.indices(SHAPE), 0, -1) - np.array([11, 13, 15])
    radius = np.linalg.norm(at / np.array([8, 9, 10]), axis=-1)
    blobs = sum(
        w * np.exp(-0.5 * (np.linalg.norm(at - c, axis=-1) / 2.5) ** 2)
        for w, c in zip(rng.uniform(-0.3, 0.3, 12), rng.uniform(-6, 6, (12, 3)), strict=True)
    )
    head = np.where(radius < 1, 0.5 + blobs, 0).astype(np.float32)
    other = head.copy()
    other[4:20, 4:22, 58:70] = 1.0
    fixed = Grid(SHAPE, np.diag([2.0, 2, 2, 1]))
    affine = fixed.affine.copy()
    affine[:3, 3] += APART
    found = align(Layer(head, fixed), Layer(other, Grid(SHAPE, affine)), "rigid")
    p = fixed.world(np.argwhere(head > 0))
    # within some voxels; the block, which the fixed image lacks, pulls a little
    assert np.linalg.norm(found(p) - (p + APART), axis=-1).mean() < 8.0
