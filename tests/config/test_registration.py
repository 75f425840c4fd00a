"""Options of registration that are numbers of their own."""

from __future__ import annotations

import pytest

from sacbnet.config.registration import RefineOptions


@pytest.mark.parametrize(
    "window, sides",
    [
        (9, {1: 9, 2: 5, 4: 5, 8: 5}),  # 4.5 voxels are 4, and the next odd number is 5
        (21, {1: 21, 2: 11, 4: 5, 8: 5}),
        (25, {2: 13, 4: 7}),
        (5, {1: 5, 2: 5, 8: 5}),
        (3, {1: 3, 2: 3, 4: 3}),  # a box that is asked to be smaller than 5 stays as small
    ],
)
def test_the_side_of_the_box_at_a_level(window, sides):
    assert {factor: RefineOptions(window=window).box(factor) for factor in sides} == sides
