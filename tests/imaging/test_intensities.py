"""Intensities have one scaling, whatever the version of numpy."""

from __future__ import annotations

import numpy as np

from sacbnet.imaging.intensities import unit_range


def test_the_upper_end_has_the_type_of_the_data():
    """numpy 2.4 computes a percentile of float32 data in float64, unless the percentage is float32."""
    data = np.random.default_rng(0).random((60, 60, 60)) * 1000
    high = unit_range(data.astype(np.float32))[1]
    assert high == float.fromhex("0x1.f37d0ep+9") == float(np.float32(high))
    assert unit_range(data)[1] != high
