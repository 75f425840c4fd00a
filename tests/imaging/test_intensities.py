"""Intensities have one scaling, whatever the version of numpy."""

from __future__ import annotations

import numpy as np

from sacbnet.imaging.intensities import unit_range


def test_the_upper_end_does_not_depend_on_the_version_of_numpy():
    """From a plain percentage, numpy 2.3 computes ...ad0p+9 here, and numpy 2.4 ...acep+9."""
    data = (np.random.default_rng(1000).random(1000) * 1000).astype(np.float32)
    assert unit_range(np.append(np.float32(-1), data))[1] == float.fromhex("0x1.f3bad0p+9")
