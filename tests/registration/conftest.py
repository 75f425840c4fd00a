"""Images that several modules of these tests share."""

from __future__ import annotations

import numpy as np

from sacbnet.imaging.image import Image
from sacbnet.spatial.grid import Grid

AT = np.indices((40, 44, 36)).transpose(1, 2, 3, 0) - (19.5, 21.5, 17.5)


def ball(spacing: float = 1.0, voxels: float = 15.0, shift: float = 0.0) -> Image:
    near = np.linalg.norm(AT + shift, axis=-1) < voxels
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -19.5 * spacing
    texture = 60 + 30 * np.sin(AT[..., 0] / 2) * np.cos(AT[..., 1] / 3)
    return Image((near * texture).astype(np.float32), Grid(AT.shape[:3], affine))
