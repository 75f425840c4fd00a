"""TODO-DOC sacbnet.imaging.intensities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def foreground(data: NDArray[np.floating], signal: float = 0.02) -> NDArray[np.bool_]:
    """Voxels that stand out from the background by 2% of the intensity range; background is the smallest value."""
    low, high = unit_range(data)
    found = data > low + signal * (high - low)
    return found if found.any() else np.ones(data.shape, dtype=bool)


def unit_range(data: NDArray[np.floating]) -> tuple[float, float]:
    """The intensities that become 0 and 1: the smallest, and the 99.9th percentile of what lies above it.

    The few brightest voxels (vessels, metal) may not squeeze all the rest into the dark.
    """
    low = float(data.min())
    above = data[data > low]
    high = (
        float(np.percentile(above[:: max(1, above.size // 1_000_000)], 99.9))
        if above.size
        else low + 1.0
    )
    return low, high if high > low else low + 1.0


def to_unit(data: NDArray[np.floating]) -> NDArray[np.float32]:
    """Intensities scaled to [0, 1] and clipped (see `unit_range`)."""
    low, high = unit_range(data)
    return np.clip((data - np.float32(low)) / np.float32(high - low), 0, 1).astype(np.float32)
