"""K-means of voxel descriptors: deterministic, with a bounded number of rounds.

Each sample of a batch is clustered by itself. SACB-Net (Cheng et al., CVPR 2025, section 3.2)
clusters the descriptors of each image at each level.

No library is used, for these reasons. faiss and fastkmeans start from random voxels, and one plain
round of them took 1.7 times and 1 times as long as here. scikit-learn leaves torch and its device.
flash-kmeans is for CUDA and a hundred clusters or more. And no library has what saves most time
here: the centres are found on a sample of the voxels, and all voxels are read once.

References
----------
S. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory, 1982.

D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sacbnet.errors import InputError
from sacbnet.kernels.cpu import native
from sacbnet.kernels.dispatch import triton_serves

SEEDING = 4096  # number of voxels from which the seeds are drawn
# Number of voxels on which the centres are found. The inertia of all voxels becomes 0.1% larger;
# two seeds of the random numbers differ by more.
SAMPLE = 16384


class KMeans(NamedTuple):
    """The result of K-means.

    Parameters
    ----------
    labels : Tensor of int64, shape (b, p)
        The cluster of each vector.
    centres : Tensor, shape (b, n, c)
        The centres of the clusters, at least float32.
    rounds : Tensor of int64, shape (b,)
        Number of rounds of each sample.
    """

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
    """Cluster the feature vectors of each sample; no gradients.

    With `seeds`, Lloyd's rounds run on all vectors and start from these. Without seeds, greedy
    k-means++ draws the seeds from 4096 random vectors, the rounds run on 16384 vectors, and a last
    round runs on all. Where there are fewer vectors, all take part from the start.

    The random numbers come from a generator of this call. The global random state is neither read
    nor changed. A sample gives the same result in a batch as alone. On CUDA the host waits once, at
    the end. Half precision is widened to float32 first.

    A cluster that loses all its vectors is moved to the vector farthest from its centre, except in
    the last round. A cluster whose seed has the same value as an earlier seed (squared distance at
    most `tolerance`) takes no part: it stays on its seed and remains empty. This always happens
    where there are more clusters than distinct vectors. So rounding never decides which of two
    equal clusters has the vectors.

    Parameters
    ----------
    features : Tensor, shape (b, p, c)
        The vectors.
    clusters : int
        Number of clusters n.
    seeds : Tensor of int, shape (b, n), optional
        Indices of the vectors that are the first centres.
    max_rounds : int, default 100
        Largest number of rounds.
    tolerance : float, default 1e-10
        A sample ends when the sum of the squared shifts of its centres is at most this.
    seed : int, default 0
        Seed of the random numbers.

    Returns
    -------
    KMeans
        Labels, centres and numbers of rounds.

    Raises
    ------
    InputError
        If there are no features or they hold NaN or infinite values, a number is less than 1, or
        the seeds have another shape or lie outside the vectors.
    """
    _check(features, clusters, seeds, max_rounds)
    with torch.autocast(features.device.type, enabled=False):
        wide = torch.promote_types(features.dtype, torch.float32)
        x = features.detach().to(wide).contiguous()  # (b, p, c)
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
    if not bool(result.centres.isfinite().all()):  # one such voxel makes a mean not finite
        raise InputError(
            "the features to cluster hold NaN or infinite values; check the images and the weights"
        )
    return result


def _check(features: Tensor, clusters: int, seeds: Tensor | None, max_rounds: int) -> None:
    if features.ndim != 3 or 0 in features.shape:
        raise InputError(
            f"the features to cluster have shape {tuple(features.shape)}; "
            "(b, p, c) with no size 0 was expected"
        )
    if clusters < 1 or max_rounds < 1:
        raise InputError(
            f"K-means got {clusters} clusters and {max_rounds} rounds; "
            "at least 1 of each was expected"
        )
    if seeds is not None:
        if tuple(seeds.shape) != (features.shape[0], clusters):
            raise InputError(
                f"the seeds have shape {tuple(seeds.shape)}; "
                f"{(features.shape[0], clusters)} was expected"
            )
        if int(seeds.min()) < 0 or int(seeds.max()) >= features.shape[1]:
            raise InputError(
                f"a seed lies outside the {features.shape[1]} voxels; indices from 0 were expected"
            )


def _draw(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Random vectors with the same indices in each sample: x (b, p, c) -> (b, count, c).

    Where p is at most the count, the result is x itself.
    """
    if x.shape[1] <= count:
        return x
    return x[:, torch.randint(x.shape[1], (count,), generator=generator).to(x.device)]


def _plus_plus(x: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Seeds of each sample by greedy k-means++: x (b, p, c) -> (b, n, c).

    Of several drawn vectors, the one that reduces the distances most becomes a seed. The vector
    with the least (exponential variate / d²) is a draw with probability ~ d². The variates come
    from the CPU for every device, so all devices draw the same.
    """
    b, p, c = x.shape
    tries = min(p, 2 + int(math.log(clusters)))  # as in scikit-learn
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
        # (b, t); where all distances are 0, the quotients are infinite and any voxel serves
        drawn = (race[n] / nearest).topk(tries, dim=1, largest=False).indices
        candidates = x.gather(1, drawn[..., None].expand(b, tries, c))
        # (b, t, p)
        reached = torch.stack([(x - s[:, None]).square().sum(2) for s in candidates.unbind(1)], 1)
        reached = torch.minimum(reached, nearest[:, None])
        best = reached.sum(2).argmin(1)  # (b,)
        samples = torch.arange(b, device=x.device)
        seeds.append(candidates[samples, best])
        nearest = reached[samples, best]
    return torch.stack(seeds, 1)


def _lloyd(x: Tensor, centres: Tensor, max_rounds: int, tolerance: float) -> KMeans:
    """Lloyd's rounds on each sample: x (b, p, c) from centres (b, n, c). Returns the last means."""
    if x.dtype == torch.float32 and native.usable(x):
        b, p, c = x.shape
        labels, centres = (
            x.new_empty((b, p), dtype=torch.int64),
            centres.clone(memory_format=torch.contiguous_format),
        )
        rounds, n = torch.empty(b, dtype=torch.int64), centres.shape[1]
        native.call(
            "lloyd", x, centres, max_rounds, tolerance, labels, rounds, b, p, c, n,
            torch.get_num_threads(),
        )  # fmt: skip
        return KMeans(labels, centres, rounds)
    if x.is_cuda:
        # one round of all voxels occupies the GPU as it is; many rounds of a sample do not
        if max_rounds > 1 and x.shape[1] <= SAMPLE and triton_serves(x, centres):
            # needs Triton, which only machines with CUDA have
            from sacbnet.kernels.cuda.kmeans import lloyd

            return KMeans(*lloyd(x, centres, max_rounds, tolerance))
        return _lloyd_plain(x, centres, max_rounds, tolerance)
    # one by one: the rounding of a sample must not depend on the other samples of the batch
    samples = [
        _lloyd_plain(x[s : s + 1], centres[s : s + 1], max_rounds, tolerance) for s in range(len(x))
    ]
    return KMeans(*(torch.cat(parts) for parts in zip(*samples, strict=True)))


def _lloyd_plain(x: Tensor, centres: Tensor, max_rounds: int, tolerance: float) -> KMeans:
    """The definition of `_lloyd`.

    On a GPU the host waits for nothing here: a sample that has converged no longer changes.
    """
    b, _, c = x.shape
    n = centres.shape[1]
    names = torch.arange(n, device=x.device)
    # (b, n)
    duplicate = (
        ((centres[:, :, None] - centres[:, None]).square().sum(-1) <= tolerance).tril(-1).any(2)
    )
    labels = torch.zeros(x.shape[:2], dtype=torch.int64, device=x.device)
    rounds, going = labels.new_zeros(b), torch.ones(b, dtype=torch.bool, device=x.device)
    for r in range(max_rounds):
        norms = centres.square().sum(2).masked_fill(duplicate, torch.inf)
        scores = torch.baddbmm(norms[:, :, None], centres, x.mT, alpha=-2)  # (b, n, p)
        # min is ten times as fast as argmin
        labels = torch.where(going[:, None], scores.min(1).indices, labels)
        members = (labels[:, None] == names[:, None]).to(x.dtype)  # (b, n, p)
        counts = members.sum(2)
        # a product of matrices sums in a fixed order, which scatter does not
        means = torch.where(
            counts[..., None] > 0, (members @ x) / counts.clamp(min=1)[..., None], centres
        )
        emptied = (counts == 0) & ~duplicate
        if r + 1 < max_rounds and (x.is_cuda or bool(emptied.any())):
            distance = (x - centres.gather(1, labels[..., None].expand_as(x))).square().sum(2)
            far = distance.topk(min(n, x.shape[1])).indices  # (b, n)
            # the first empty cluster takes the farthest voxel, the second one the next
            of = far.gather(1, (emptied.cumsum(1) - 1).clamp(0, far.shape[1] - 1))
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
