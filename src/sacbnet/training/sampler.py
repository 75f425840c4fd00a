"""Which pair is seen when: a function of the seed and the sample's number alone, so that no state has to be kept."""

from __future__ import annotations

import numpy as np


def pair_number(sample: int, pairs: int, seed: int) -> int:
    """Index of the pair that is shown as the n-th sample of a run: each epoch is a new order of all pairs.

    However many processes share the work, and wherever a run was interrupted, sample n is the same pair.
    """
    epoch, place = divmod(sample, pairs)
    return int(_order(epoch, pairs, seed)[place])


_kept: dict[tuple[int, int, int], np.ndarray] = {}


def _order(epoch: int, pairs: int, seed: int) -> np.ndarray:
    key = (epoch, pairs, seed)
    if key not in _kept:
        _kept.clear()  # one epoch at a time
        _kept[key] = np.random.default_rng([seed, epoch]).permutation(pairs)
    return _kept[key]


def samples_of(step: int, batch: int, at_once: int, rank: int, world: int) -> list[list[int]]:
    """The samples of one process in one step, in the groups that go through the network together.

    Group g of the whole team is split over the processes: with world · at_once a divisor of batch, the samples of a
    step are the same ones for every number of processes.
    """
    first, each = step * batch, world * at_once
    return [
        [first + group * each + rank * at_once + n for n in range(at_once)]
        for group in range(batch // each)
    ]
