"""Which pair is seen when.

It is a function of the seed and of the sample's number alone, so that no state has to be kept.
"""

from __future__ import annotations

import numpy as np


def pair_number(sample: int, pairs: int, seed: int) -> int:
    """Find the pair that is the n-th sample of a run. Each epoch is a new order of all pairs.

    The pair does not depend on the number of processes, nor on interruptions of the run.

    Parameters
    ----------
    sample : int
        Number of the sample, from 0.
    pairs : int
        Number of pairs.
    seed : int
        Seed of the run.

    Returns
    -------
    int
        Number of the pair.
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
    """List the samples of one process in one step, in groups that pass the network together.

    Each group of the whole team is split over the processes. Where world · at_once divides batch,
    the samples of a step are the same for every number of processes.

    Parameters
    ----------
    step : int
        Number of the step, from 0.
    batch : int
        Samples in a step, over all processes.
    at_once : int
        Samples that a process passes through the network together.
    rank, world : int
        Number of this process, and of all processes.

    Returns
    -------
    list of lists of int
        Numbers of the samples.
    """
    first, each = step * batch, world * at_once
    return [
        [first + group * each + rank * at_once + n for n in range(at_once)]
        for group in range(batch // each)
    ]
