import contextlib
import functools
import importlib

import numpy as np
import pytest
import torch

from sacbnet.errors import InputError
from sacbnet.kernels.cpu import native
from sacbnet.kernels.dispatch import plain_kernels
from sacbnet.ops.kmeans import kmeans

module = importlib.import_module("sacbnet.ops.kmeans")


def numpy_lloyd(x, seeds, rounds, tolerance=1e-10):
    """Lloyd with explicit loops; clusters must not empty."""
    centres = x[seeds].copy()
    for _ in range(rounds):
        labels = np.array([np.argmin([((v - s) ** 2).sum() for s in centres]) for v in x])
        new = np.stack([x[labels == n].mean(0) for n in range(len(seeds))])
        shift = ((new - centres) ** 2).sum()
        centres = new
        if shift <= tolerance:
            break
    return labels, centres


def blobs(p=300, c=5, clusters=4, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(clusters, c))[rng.integers(clusters, size=p)] * 3
        + rng.normal(size=(p, c)) * spread
    )


@pytest.mark.parametrize("rounds", [1, 3, 200])
def test_equals_numpy_lloyd(rounds):
    x = blobs()
    seeds = [3, 50, 99, 200]
    labels, centres = numpy_lloyd(x, seeds, rounds)
    ours = kmeans(torch.tensor(x)[None], 4, seeds=torch.tensor([seeds]), max_rounds=rounds)
    assert np.array_equal(ours.labels[0].numpy(), labels)
    np.testing.assert_allclose(ours.centres[0].numpy(), centres, atol=1e-12)
    assert int(ours.rounds[0]) <= rounds


def test_seeding_finds_separate_blobs():
    x = torch.tensor(blobs(p=2000, clusters=6, spread=0.01))
    result = kmeans(x[None], 6)
    assert (x - result.centres[0][result.labels[0]]).norm(dim=1).max() < 0.1


def test_batch_equals_singles_and_is_repeatable():
    x = torch.stack(
        [torch.tensor(blobs(seed=s, spread=0.02 if s == 1 else 2.0)).float() for s in range(3)]
    )
    together = kmeans(x, 5, max_rounds=100)
    assert len(together.rounds.unique()) > 1  # one goes on when another has converged
    for s in range(3):
        alone = kmeans(x[s : s + 1], 5, max_rounds=100)
        assert torch.equal(alone.labels[0], together.labels[s])
        assert torch.equal(alone.centres[0], together.centres[s])
        assert alone.rounds[0] == together.rounds[s]


def test_global_random_state_is_left_alone():
    x = torch.rand(1, 20000, 3)
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = kmeans(x, 4).labels
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(before_numpy, np.random.get_state()[1])  # noqa: NPY002
    torch.manual_seed(99)
    assert torch.equal(first, kmeans(x, 4).labels)  # not read either
    assert not torch.equal(
        kmeans(x, 4, max_rounds=1).centres, kmeans(x, 4, max_rounds=1, seed=1).centres
    )


def test_more_clusters_than_voxels():
    x = torch.tensor([[[0.0, 1.0], [5.0, 5.0], [9.0, 0.0]]])
    result = kmeans(x, 7)
    assert result.centres.shape == (1, 7, 2)
    assert torch.equal(result.centres[0][result.labels[0]], x[0])  # every voxel is its own cluster
    # surplus centres repeat voxels
    assert (torch.cdist(result.centres[0], x[0]).amin(1) == 0).all()


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_constant_features(value):
    result = kmeans(torch.full((2, 50, 4), value), 3)
    assert (result.labels == 0).all()
    assert torch.equal(result.centres, torch.full((2, 3, 4), value))
    assert result.rounds.tolist() == [1, 1]


def test_duplicate_seeds_do_not_compete_by_rounding():
    x = torch.tensor([[1.0, 0.0], [1.0, 1e-7], [4.0, 0.0], [4.0, 1e-7]])[None]
    assert kmeans(x, 3, seeds=torch.tensor([[0, 1, 2]])).labels.tolist() == [[0, 0, 2, 2]]


@pytest.mark.parametrize("plain", [False, True], ids=["compiled", "plain"])
def test_the_first_of_equally_near_centres_takes_a_voxel(plain):
    """Voxels half-way between two centres; whole numbers, so that no rounding decides."""
    x = torch.tensor([[0.0, 0], [4, 0], *[[2, n] for n in (0, 1, -3, 5, 7)]])[None]
    for seeds in ([[0, 1]], [[1, 0]]):
        with plain_kernels() if plain else contextlib.nullcontext():
            found = kmeans(x, 2, seeds=torch.tensor(seeds), max_rounds=1)
        first, second = seeds[0]
        assert found.labels[0].tolist() == [first, second, 0, 0, 0, 0, 0]


def lloyd_by_hand(x, seeds, rounds):
    """Lloyd's rounds; the n-th emptied cluster takes the n-th farthest vector from its centre.

    Also returns in which rounds how many clusters were emptied, and the smallest difference between
    two distances that were compared.
    """
    centres, emptied_in, closest = x[seeds].copy(), [], np.inf
    for r in range(rounds):
        squared = ((x[:, None] - centres) ** 2).sum(-1)
        labels = squared.argmin(1)
        nearest, next_nearest = np.sort(squared, 1)[:, :2].T
        closest = min(closest, (next_nearest - nearest).min())
        new = centres.copy()
        for n in set(labels.tolist()):
            new[n] = x[labels == n].mean(0)
        emptied = [n for n in range(len(seeds)) if n not in labels]
        if emptied and r + 1 < rounds:
            emptied_in.append((r, len(emptied)))
            far = np.argsort(-nearest)
            closest = min(closest, (-np.diff(nearest[far[: len(emptied) + 1]])).min())
            new[emptied] = x[far[: len(emptied)]]
        shift, centres = ((new - centres) ** 2).sum(), new
        if shift <= 1e-10:
            break
    return labels, centres, emptied_in, closest


@functools.cache
def emptying_cases():
    """Clouds of which one cluster gets empty, or two or three in one round.

    The first is found by search. The others repeat it, larger and far apart, so that their clusters
    get empty in the same round. No decision in them is so close that single precision could decide
    otherwise.
    """
    rng = np.random.default_rng(0)
    emptied_in, closest = [], 0.0
    while not emptied_in or closest < 0.1:
        x, seeds = rng.uniform(0, 24, size=(9, 2)), rng.choice(9, 3, replace=False)
        *_, emptied_in, closest = lloyd_by_hand(x, seeds, 12)
    cases = []
    for count in (1, 2, 3):
        parts = [np.c_[x * (1 + n / 8), np.full(9, 60.0 * n)] for n in range(count)]
        cloud = np.concatenate(parts), np.concatenate([seeds + 9 * n for n in range(count)])
        *_, emptied_in, closest = lloyd_by_hand(*cloud, 12)
        assert emptied_in[0][1] == count and closest > 0.02
        cases.append((*cloud, emptied_in[0][0]))
    return cases


@pytest.mark.parametrize("plain", [False, True], ids=["compiled", "plain"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_emptied_clusters_take_the_farthest_voxels(plain, dtype):
    for x, seeds, when in emptying_cases():
        # to the round in which clusters are empty, first as the last one, and to the one after it
        for rounds in (when + 1, when + 2, 12):
            labels, centres, *_ = lloyd_by_hand(x, seeds, rounds)
            given, first = torch.tensor(x, dtype=dtype)[None], torch.tensor(seeds)[None]
            with plain_kernels() if plain else contextlib.nullcontext():
                result = kmeans(given, len(seeds), seeds=first, max_rounds=rounds)
            assert result.labels[0].tolist() == labels.tolist()
            np.testing.assert_allclose(result.centres[0].double().numpy(), centres, atol=1e-4)


def test_half_precision_is_summed_in_single():
    x = torch.tensor(blobs(p=5000)).to(torch.bfloat16)[None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = kmeans(x, 4)
    assert half.centres.dtype == torch.float32
    assert torch.equal(half.labels, kmeans(x.float(), 4).labels)


def test_no_gradient():
    assert not kmeans(torch.rand(1, 30, 2, requires_grad=True), 2).centres.requires_grad


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_not_finite_is_refused(bad):
    x = torch.rand(2, 40, 3)
    x[1, 7, 2] = bad
    with pytest.raises(InputError, match="NaN or infinite"):
        kmeans(x, 3)


@pytest.mark.parametrize(
    "arguments",
    [
        {"clusters": 0},
        {"clusters": 2, "max_rounds": 0},
        {"clusters": 2, "seeds": torch.tensor([[0]])},
        {"clusters": 2, "seeds": torch.tensor([[0, 40]])},
    ],
)
def test_bad_arguments(arguments):
    with pytest.raises(InputError):
        kmeans(torch.rand(1, 40, 3), **arguments)


def test_empty_features():
    with pytest.raises(InputError, match="shape"):
        kmeans(torch.rand(1, 0, 3), 2)


def inertia(x, result):
    return (
        (x - result.centres.gather(1, result.labels[..., None].expand_as(x)))
        .square()
        .sum(2)
        .mean(1)
    )


def test_sample_of_many_voxels_does_as_well_as_all_of_them():
    x = torch.tensor(blobs(p=100_000, c=8, clusters=9)).float()[None]
    fast = kmeans(x, 7)
    seeds = torch.randperm(100_000, generator=torch.Generator().manual_seed(0))[:21].view(3, 7)
    for start in seeds:
        converged = kmeans(x, 7, seeds=start[None], max_rounds=1000)
        assert inertia(x, fast) < 1.005 * inertia(x, converged)
    nearest = torch.cdist(x, fast.centres).argmin(2)
    # of centres that the last round still moved a little
    assert (nearest == fast.labels).float().mean() > 0.97


def test_the_centres_found_on_a_sample_are_moved_once_by_all_voxels(monkeypatch):
    """All voxels get the nearest centre of the sample, and the centres become their means."""
    x = torch.tensor(blobs(p=20_000, c=3, clusters=5)).float()[None]
    rounds, starts = [], []

    def lloyd(x, centres, max_rounds, tolerance):
        rounds.append((x.shape[1], max_rounds))
        starts.append(centres.clone())
        return whole(x, centres, max_rounds, tolerance)

    whole = module._lloyd
    monkeypatch.setattr(module, "_lloyd", lloyd)
    found = kmeans(x, 5, max_rounds=40)
    assert rounds == [(module.SAMPLE, 40), (20_000, 1)] and int(found.rounds[0]) <= 41
    nearest = torch.cdist(x.double(), starts[1].double()).argmin(2)
    assert (nearest == found.labels).float().mean() > 0.999
    means = torch.stack([x[0, found.labels[0] == n].double().mean(0) for n in range(5)])
    torch.testing.assert_close(found.centres[0].double(), means, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(1, 40_000, 16), (2, 1000, 5), (3, 17, 64), (1, 9000, 3)])
@pytest.mark.parametrize("clusters", [1, 7, 31])
def test_compiled_rounds_equal_plain_ones(shape, clusters):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    # of 17 voxels some are taken twice
    seeds = torch.arange(clusters).expand(shape[0], -1) * 5 % shape[1]
    fast = kmeans(x, clusters, seeds=seeds, max_rounds=8)
    with plain_kernels():
        plain = kmeans(x, clusters, seeds=seeds, max_rounds=8)
    # voxels half-way between two centres
    assert (fast.labels == plain.labels).float().mean() > 0.999
    torch.testing.assert_close(fast.centres, plain.centres, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(2, 1000, 5), (3, 400, 64), (1, 4000, 16)])
def test_compiled_seeding_equals_the_plain_one(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    fast = kmeans(x, 7, max_rounds=1)
    with plain_kernels():
        plain = kmeans(x, 7, max_rounds=1)
    torch.testing.assert_close(fast.centres, plain.centres, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(
    native.switched_off() or native.library() is None,
    reason="no compiled kernels; torch's sums depend on the threads",
)
def test_thread_count_changes_no_bit():
    x = torch.randn(2, 50_000, 16, generator=torch.Generator().manual_seed(0))
    threads, results = torch.get_num_threads(), []
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            results.append(kmeans(x, 7))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert torch.equal(results[0].labels, other.labels) and torch.equal(
            results[0].centres, other.centres
        )
