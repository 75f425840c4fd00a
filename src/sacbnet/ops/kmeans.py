"""K-means of voxel descriptors: deterministic, bounded, every sample of a batch by itself.

Source: Lloyd 1982; seeding by k-means++ (Arthur & Vassilvitskii 2007). SACB-Net (Cheng et al., CVPR 2025, section 3.2)
clusters the descriptors of each image at each level by itself.

Why no library's: faiss and fastkmeans seed from random voxels and took 1.7 and 1 times this module's plain round,
scikit-learn leaves torch and its device, flash-kmeans is for CUDA and a hundred clusters or more; and what counts most
is none of their business: the centres are found on a sample of the voxels, and all voxels are read once.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sacbnet.errors import InputError
from sacbnet.kernels.cpu import native

SEEDING = 4096  # voxels among which the seeds are drawn
SAMPLE = 16384  # voxels on which the centres are found: the inertia of all suffers 0.1%, less than between two seeds


class KMeans(NamedTuple):
    """labels (b, p) int64; centres (b, n, c), at least float32; rounds (b,) int64: those each sample took."""

    labels: Tensor
    centres: Tensor
    rounds: Tensor


@torch.no_grad()
def kmeans(
    features: Tensor,
    clusters: int,
    *,
    seeds: Tensor | None = None,
    max_rounds: int = 100,
    tolerance: float = 1e-10,
    seed: int = 0,
) -> KMeans:
    """Cluster the p feature vectors of each sample, features (b, p, c), into `clusters` groups; no gradient.

    With `seeds` (b, n), voxels: Lloyd's rounds on all voxels from there. Without: greedy k-means++ on 4,096 random
    voxels, rounds on 16,384, then one round on all (where there are no more, all take part from the start).
    The draws come from a generator of its own started with `seed`: the global random state is neither read nor
    changed. A sample of the batch ends when the squared shift of its centres, summed, is <= tolerance, or after
    max_rounds; it gives exactly what it gives alone. On CUDA the host waits once, at the end.

    A cluster that loses all its voxels is put on the voxel farthest from its centre, unless the rounds are over. A
    cluster whose seed repeats an earlier one's value (squared distance <= tolerance; always so where there are more
    clusters than distinct voxels) takes no part: it stays on its seed, empty, and which of the two has the voxels is
    not left to rounding.

    Half precision is widened to float32 first. Raises InputError for NaN, infinite or no features, or bad seeds.
    """
    _check(features, clusters, seeds, max_rounds)
    with torch.autocast(features.device.type, enabled=False):
        x = (
            features.detach().to(torch.promote_types(features.dtype, torch.float32)).contiguous()
        )  # (b, p, c)
        if seeds is not None:
            start = x.gather(1, seeds.to(x.device)[:, :, None].expand(-1, -1, x.shape[2]))
            result = _lloyd(x, start, max_rounds, tolerance)
        else:
            generator = torch.Generator().manual_seed(seed)
            start = _plus_plus(_draw(x, SEEDING, generator), clusters, generator)
            sample = _draw(x, SAMPLE, generator)
            result = _lloyd(sample, start, max_rounds, tolerance)
            if sample is not x:
                whole = _lloyd(x, result.centres, 1, tolerance)
                result = KMeans(whole.labels, whole.centres, result.rounds + 1)
    if not bool(result.centres.isfinite().all()):  # one such voxel spoils a mean
        raise InputError(
            "the features to cluster hold NaN or infinite values; check the images and the weights"
        )
    return result


def _check(features: Tensor, clusters: int, seeds: Tensor | None, max_rounds: int) -> None:
    if features.ndim != 3 or 0 in features.shape:
        raise InputError(
            f"the features to cluster have shape {tuple(features.shape)}; (b, p, c), none 0, was expected"
        )
    if clusters < 1 or max_rounds < 1:
        raise InputError(
            f"K-means got {clusters} clusters and {max_rounds} rounds; at least 1 of each was expected"
        )
    if seeds is not None:
        if tuple(seeds.shape) != (features.shape[0], clusters):
            raise InputError(
                f"the seeds have shape {tuple(seeds.shape)}; {(features.shape[0], clusters)} was expected"
            )
        if int(seeds.min()) < 0 or int(seeds.max()) >= features.shape[1]:
            raise InputError(
                f"a seed lies outside the {features.shape[1]} voxels; indices from 0 were expected"
            )


def _draw(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Random voxels, the same of each sample: x (b, p, c) -> (b, count, c), or x itself where p <= count."""
    if x.shape[1] <= count:
        return x
    return x[:, torch.randint(x.shape[1], (count,), generator=generator).to(x.device)]


def _plus_plus(x: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Seeds of each sample: x (b, p, c) -> (b, n, c), by greedy k-means++: of some drawn, the one that helps most.

    Drawing a voxel with probability ~ d² is finding the least of (exponential variate / d²). The variates come from
    the CPU whatever the device, so every device draws alike.
    """
    b, p, c = x.shape
    tries = min(p, 2 + int(math.log(clusters)))  # as scikit-learn has it
    race = torch.empty(clusters, p).exponential_(generator=generator).to(x)
    if x.dtype == torch.float32 and native.usable(x):
        centres = x.new_empty(b, clusters, c)
        native.call(
            "plus_plus", x, race, tries, centres, b, p, c, clusters, torch.get_num_threads()
        )
        return centres
    seeds = [x[:, race[0].argmin()]]  # (b, c)
    nearest = (x - seeds[0][:, None]).square().sum(2)  # (b, p)
    for n in range(1, clusters):
        drawn = (
            (race[n] / nearest).topk(tries, dim=1, largest=False).indices
        )  # (b, t); all 0: infinite, any voxel
        candidates = x.gather(1, drawn[..., None].expand(b, tries, c))
        reached = torch.stack(
            [(x - s[:, None]).square().sum(2) for s in candidates.unbind(1)], 1
        )  # (b, t, p)
        reached = torch.minimum(reached, nearest[:, None])
        best = reached.sum(2).argmin(1)  # (b,)
        samples = torch.arange(b, device=x.device)
        seeds.append(candidates[samples, best])
        nearest = reached[samples, best]
    return torch.stack(seeds, 1)


def _lloyd(x: Tensor, centres: Tensor, max_rounds: int, tolerance: float) -> KMeans:
    """Lloyd's rounds on each sample: x (b, p, c) from centres (b, n, c). Returns the centres' last means."""
    if x.dtype == torch.float32 and native.usable(x):
        b, p, c = x.shape
        labels, centres = (
            x.new_empty((b, p), dtype=torch.int64),
            centres.clone(memory_format=torch.contiguous_format),
        )
        rounds, n = torch.empty(b, dtype=torch.int64), centres.shape[1]
        native.call(
            "lloyd", x, centres, max_rounds, tolerance, labels, rounds, b, p, c, n, torch.get_num_threads()
        )  # fmt: skip
        return KMeans(labels, centres, rounds)
    if x.is_cuda:
        return _lloyd_plain(x, centres, max_rounds, tolerance)
    # one by one, so that a sample's rounding does not depend on its neighbours in the batch
    samples = [
        _lloyd_plain(x[s : s + 1], centres[s : s + 1], max_rounds, tolerance) for s in range(len(x))
    ]
    return KMeans(*(torch.cat(parts) for parts in zip(*samples, strict=True)))


def _lloyd_plain(x: Tensor, centres: Tensor, max_rounds: int, tolerance: float) -> KMeans:
    """The definition of `_lloyd`. The host asks for nothing on a GPU: a sample that has converged is left as it is."""
    b, _, c = x.shape
    n = centres.shape[1]
    names = torch.arange(n, device=x.device)
    duplicate = (
        ((centres[:, :, None] - centres[:, None]).square().sum(-1) <= tolerance).tril(-1).any(2)
    )  # (b, n)
    labels = torch.zeros(x.shape[:2], dtype=torch.int64, device=x.device)
    rounds, going = labels.new_zeros(b), torch.ones(b, dtype=torch.bool, device=x.device)
    for r in range(max_rounds):
        norms = centres.square().sum(2).masked_fill(duplicate, torch.inf)
        scores = torch.baddbmm(
            norms[:, :, None], centres, x.mT, alpha=-2
        )  # (b, n, p); argmin is 10 times slower:
        labels = torch.where(going[:, None], scores.min(1).indices, labels)
        members = (labels[:, None] == names[:, None]).to(x.dtype)  # (b, n, p)
        counts = members.sum(2)  # a product of matrices sums in a fixed order, scatter does not
        means = torch.where(
            counts[..., None] > 0, (members @ x) / counts.clamp(min=1)[..., None], centres
        )
        emptied = (counts == 0) & ~duplicate
        if r + 1 < max_rounds and (x.is_cuda or bool(emptied.any())):
            distance = (x - centres.gather(1, labels[..., None].expand_as(x))).square().sum(2)
            far = distance.topk(min(n, x.shape[1])).indices  # (b, n)
            of = far.gather(
                1, (emptied.cumsum(1) - 1).clamp(0, far.shape[1] - 1)
            )  # the first emptied: the farthest
            means = torch.where(
                emptied[..., None], x.gather(1, of[..., None].expand(-1, -1, c)), means
            )
        shift = (means - centres).square().sum((1, 2))
        centres = torch.where(going[:, None, None], means, centres)
        rounds += going
        going = going & (shift > tolerance)
        if not x.is_cuda and not bool(going.any()):
            break
    return KMeans(labels, centres, rounds)
