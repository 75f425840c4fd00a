"""The type in which whole numbers are written."""

from __future__ import annotations

import numpy as np
import pytest

from sacbnet.errors import InputError
from sacbnet.io.voxels import integer_type


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 255, np.uint8),
        (0, 256, np.int16),
        (-1, 5, np.int16),
        (-32768, 32767, np.int16),
        (0, 32768, np.int32),
        (-32769, 0, np.int32),
        (-(2**31), 2**31 - 1, np.int32),
    ],
)
def test_the_smallest_type_that_holds_both_ends(low, high, expected):
    assert integer_type(low, high) == expected
    ends = np.array([low, high]).astype(integer_type(low, high))
    assert ends.tolist() == [low, high]


@pytest.mark.parametrize(("low", "high"), [(0, 2**31), (-(2**31) - 1, 0)])
def test_larger_numbers_are_refused(low, high):
    with pytest.raises(InputError, match="32-bit"):
        integer_type(low, high)
