"""Lloyd's rounds in Triton: all rounds of a sample in one launch.

`sacbnet.ops.kmeans` defines the result. In plain PyTorch each round launches some twenty small
kernels, and the host takes longer to launch them than the GPU takes to run them. Here one program
runs all rounds of a sample. It stops at the round in which the sample converges, and the host waits
for nothing. Two samples use two multiprocessors only, but 16384 vectors stay in the L2 cache, and a
round reads them once.

References
----------
S. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory, 1982.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .layout import on_device

BLOCK = 128  # vectors that a program reads at a time
LEAST = 16  # sides of the matrices that the matrix units multiply
WARPS = 8


def lloyd(
    x: Tensor, centres: Tensor, max_rounds: int, tolerance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Lloyd's rounds on each sample.

    Parameters
    ----------
    x : Tensor of float32, shape (b, p, c)
        The vectors, contiguous.
    centres : Tensor of float32, shape (b, n, c)
        The first centres.
    max_rounds : int
        Largest number of rounds.
    tolerance : float
        A sample ends when the sum of the squared shifts of its centres is at most this.

    Returns
    -------
    labels : Tensor of int64, shape (b, p)
        The cluster of each vector in the last round.
    centres : Tensor of float32, shape (b, n, c)
        The means of the last round.
    rounds : Tensor of int64, shape (b,)
        Number of rounds of each sample.
    """
    b, p, c = x.shape
    n = centres.shape[1]
    centres = centres.clone(memory_format=torch.contiguous_format)
    labels = torch.empty((b, p), dtype=torch.int64, device=x.device)
    rounds = torch.empty(b, dtype=torch.int64, device=x.device)
    with on_device(x):
        _lloyd_kernel[(b,)](
            x,
            centres,
            labels,
            rounds,
            p,
            c,
            n,
            max_rounds,
            tolerance,
            CLUSTERS=max(LEAST, triton.next_power_of_2(n)),
            CHANNELS=max(LEAST, triton.next_power_of_2(c)),
            BLOCK=BLOCK,
            num_warps=WARPS,
        )
    return labels, centres, rounds


@triton.jit
def _lloyd_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    centres_ptr,
    labels_ptr,
    rounds_ptr,
    p,
    c,
    n,
    max_rounds,
    tolerance,
    CLUSTERS: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program: all rounds of one sample."""
    sample = tl.program_id(0).to(tl.int64)
    x_ptr += sample * p * c
    labels_ptr += sample * p
    cluster = tl.arange(0, CLUSTERS)
    channel = tl.arange(0, CHANNELS)
    cell = cluster[:, None] * c + channel[None, :]
    real = (cluster < n)[:, None] & (channel < c)[None, :]
    centres_ptr += sample * n * c
    centres = tl.load(centres_ptr + cell, mask=real, other=0.0)
    part = _takes_part(centres, cluster, centres_ptr, channel, c, n, tolerance)
    rounds = 0
    going = 1
    while going == 1:
        norms = tl.where(part == 1, tl.sum(centres * centres, 1), float("inf"))
        sums = tl.zeros((CLUSTERS, CHANNELS), tl.float32)
        counts = tl.zeros((CLUSTERS,), tl.int32)
        for start in range(0, p, BLOCK):
            v = start + tl.arange(0, BLOCK)
            x = _vectors(x_ptr, v, p, channel, c)
            along = tl.dot(x, tl.trans(centres), input_precision="tf32x3")
            label = tl.argmin(norms[None, :] - 2 * along, 1)
            tl.store(labels_ptr + v, label.to(tl.int64), mask=v < p)
            member = (label[:, None] == cluster[None, :]) & (v < p)[:, None]
            counts += tl.sum(member.to(tl.int32), 0)
            sums = tl.dot(tl.trans(member.to(tl.float32)), x, sums, input_precision="tf32x3")
        held = (counts > 0)[:, None]
        means = tl.where(held, sums / tl.maximum(counts, 1).to(tl.float32)[:, None], centres)
        rounds += 1
        empty = ((counts == 0) & (part == 1)).to(tl.int32)
        if (tl.sum(empty, 0) > 0) & (rounds < max_rounds):
            tl.debug_barrier()  # the labels, which other threads have stored, are read
            means = _reseeded(
                means, centres, empty, x_ptr, labels_ptr, p, channel, c, cluster, n, CLUSTERS, BLOCK
            )
        shift = means - centres
        moved = tl.sum(tl.sum(shift * shift, 1), 0)
        centres = means
        going = ((moved > tolerance) & (rounds < max_rounds)).to(tl.int32)
    tl.store(centres_ptr + cell, centres, mask=real)
    tl.store(rounds_ptr + sample, rounds)


@triton.jit
def _vectors(x_ptr, v, p, channel, c):  # type: ignore[no-untyped-def]
    """The vectors v (block,), as (block, channels); zeros beyond the ends."""
    offset = v[:, None] * c + channel[None, :]
    return tl.load(x_ptr + offset, mask=(v < p)[:, None] & (channel < c)[None, :], other=0.0)


@triton.jit
def _takes_part(centres, cluster, centres_ptr, channel, c, n, tolerance):  # type: ignore[no-untyped-def]
    """1 for each cluster whose first centre differs from those before it, else 0."""
    part = (cluster < n).to(tl.int32)
    for m in range(n):
        earlier = tl.load(centres_ptr + m * c + channel, mask=channel < c, other=0.0)
        apart = centres - earlier[None, :]
        same = tl.sum(apart * apart, 1) <= tolerance
        part = tl.where(same & (cluster > m), 0, part)
    return part


@triton.jit
def _reseeded(  # type: ignore[no-untyped-def]
    means,
    centres,
    empty,
    x_ptr,
    labels_ptr,
    p,
    channel,
    c,
    cluster,
    n,
    CLUSTERS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The means, with each empty cluster on a vector that is far from its centre.

    The first empty cluster gets the farthest vector, the second one the next. Of vectors that are
    equally far, the first comes first.
    """
    last_far = float("inf")
    last_at = -1
    for m in range(n):
        if tl.sum(tl.where(cluster == m, empty, 0), 0) > 0:
            best_far = -1.0
            best_at = 0
            for start in range(0, p, BLOCK):
                v = start + tl.arange(0, BLOCK)
                x = _vectors(x_ptr, v, p, channel, c)
                label = tl.load(labels_ptr + v, mask=v < p, other=0).to(tl.int32)
                member = (label[:, None] == cluster[None, :]).to(tl.float32)
                own = tl.dot(member, centres, input_precision="tf32x3")
                far = tl.sum((x - own) * (x - own), 1)
                left = (far < last_far) | ((far == last_far) & (v > last_at))
                far = tl.where(left & (v < p), far, -1.0)
                top = tl.max(far, 0)
                at = start + tl.argmax(far, 0)
                best_at = tl.where(top > best_far, at, best_at)
                best_far = tl.maximum(top, best_far)
            seed = tl.load(x_ptr + best_at * c + channel, mask=channel < c, other=0.0)
            means = tl.where((cluster == m)[:, None], seed[None, :], means)
            last_far = best_far
            last_at = best_at
    return means
