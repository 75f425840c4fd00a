import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage

from sacbnet.ops.kmeans import KMeans, kmeans
from sacbnet.ops.merge import merge


def blobs(centres, each=200, spread=0.05, seed=0):
    g = torch.Generator().manual_seed(seed)
    centres = torch.tensor(centres)
    return (
        centres[:, None] + spread * torch.randn(len(centres), each, centres.shape[1], generator=g)
    ).flatten(0, 1)


SQUARE = [[0.0, 0.0], [0.0, 4.0], [4.0, 0.0], [4.0, 4.0]]


@pytest.mark.parametrize("most", [4, 7, 15])
def test_finds_how_many_blobs_there_are(most):
    x = blobs(SQUARE)[None]
    found = merge(kmeans(x, most), x, 0.01)
    assert found.centres.shape == (1, 4, 2)
    truth = torch.arange(4).repeat_interleave(200)
    pairs = {(int(a), int(b)) for a, b in zip(found.labels[0], truth, strict=True)}
    assert len(pairs) == 4  # a cluster a blob
    for n in range(4):
        torch.testing.assert_close(found.centres[0, n], x[0, found.labels[0] == n].mean(0))


def test_more_than_there_may_be_stay_apart():
    x = blobs(SQUARE)[None]
    assert merge(kmeans(x, 3), x, 0.01).centres.shape[1] == 3


def test_one_cluster_where_there_is_no_variance():
    x = torch.ones(1, 50, 3)
    found = merge(kmeans(x, 5), x, 0.01)
    assert found.centres.shape[1] == 1
    assert (found.labels == 0).all()


@pytest.mark.parametrize("share", [0.002, 0.01, 0.05, 0.2])
def test_the_numbers_are_those_of_wards_tree(share):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(1, 12, 3, generator=g, dtype=torch.float64)  # every voxel a cluster of its own
    alone = KMeans(torch.arange(12)[None], x, torch.ones(1, dtype=torch.int64))
    found = merge(alone, x, share)
    total = float(x.var(1, correction=0).sum()) * 12
    tree = linkage(x[0].numpy(), "ward")  # its heights h: a merger costs h² / 2
    expected = fcluster(tree, np.sqrt(2 * share * total) * (1 - 1e-9), "distance")
    assert found.centres.shape[1] == len(set(expected))
    same = expected[:, None] == expected
    ours = found.labels[0].numpy()
    assert np.array_equal(ours[:, None] == ours, same)


def test_a_sample_gives_what_it_gives_alone():
    x = torch.stack(
        [blobs(SQUARE), blobs([*SQUARE[:2], *SQUARE[:2]]), blobs(SQUARE[::-1], spread=0.4)]
    )
    together = merge(kmeans(x, 7), x, 0.02)
    used = [len(set(labels.tolist())) for labels in together.labels]
    assert used[:2] == [4, 2]
    for s in range(3):
        alone = merge(kmeans(x[s : s + 1], 7), x[s : s + 1], 0.02)
        assert torch.equal(alone.labels[0], together.labels[s])
        n = alone.centres.shape[1]
        assert torch.equal(alone.centres[0], together.centres[s, :n])
        assert not together.centres[s, n:].any()
