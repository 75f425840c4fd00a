"""Counting and numbering against numpy's sorting and plain loops, for every type and span."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacbnet.imaging.labels import counts, numbered

TYPES = [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(0, 10_000),
    st.sampled_from(TYPES),
    st.sampled_from(["low", "high", "whole", "middle"]),
)
def test_equal_their_definitions(seed, dtype, where):
    rng, info = np.random.default_rng(seed), np.iinfo(dtype)
    span = {
        "low": range(info.min, info.min + 9),
        "high": range(info.max - 9, info.max + 1),
        "whole": [info.min, info.min + 1, info.max // 2, info.max - 1, info.max],
        "middle": range(max(-4, info.min), 5),
    }[where]
    labels = rng.choice(np.array(list(span), dtype=dtype), size=(3, 4, 5))
    expected = {v: sum(int(x) == v for x in labels.flat) for v in span}
    assert counts(labels) == {v: n for v, n in expected.items() if n}
    asked = [*rng.permutation(np.array(list(span), dtype=object))[:3], 99_999_999]
    found = numbered(labels, asked)
    assert found.dtype == np.int32 and found.shape == labels.shape
    for x, n in zip(labels.flat, found.flat, strict=True):
        assert n == (asked.index(int(x)) + 1 if int(x) in asked else 0)


def test_masks_and_layouts():
    mask = np.random.default_rng(0).random((3, 4, 5)) > 0.5
    assert counts(mask) == {0: int((~mask).sum()), 1: int(mask.sum())}
    labels = np.asfortranarray(np.arange(60).reshape(3, 4, 5))[::-1, ::2]
    np.testing.assert_array_equal(numbered(labels, range(60)), labels + 1)
    assert counts(np.asfortranarray(mask)[::2]) == {
        0: int((~mask[::2]).sum()),
        1: int(mask[::2].sum()),
    }
    assert counts(np.array([2, 3, 2], dtype=">i2")) == {2: 2, 3: 1}


@pytest.mark.parametrize("shape", [(0,), (3, 0, 2)])
def test_nothing(shape):
    nothing = np.zeros(shape, dtype=np.int16)
    assert counts(nothing) == {} and numbered(nothing, [1]).shape == shape
