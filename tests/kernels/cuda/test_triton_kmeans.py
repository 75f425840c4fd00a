import sys
from types import ModuleType

import pytest
import torch

from sacbnet.ops.kmeans import _lloyd_plain


@pytest.fixture
def kmeans_module(device: str) -> ModuleType:
    return sys.modules["sacbnet.kernels.cuda.kmeans"]


def blobs(device, b=2, p=150, c=5, n=3):
    """Vectors around n places that lie far apart, and the first n of them as first centres."""
    g = torch.Generator().manual_seed(0)
    places = 10 * torch.randn(b, n, c, generator=g)
    of = torch.arange(p) % n
    x = places[:, of] + torch.randn(b, p, c, generator=g)
    return x.to(device), x[:, :n].clone().to(device)


def assert_same(found, expected):
    labels, centres, rounds = found
    assert torch.equal(labels, expected.labels)
    assert torch.equal(rounds, expected.rounds)
    assert torch.allclose(centres, expected.centres, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 150, 5, 3), (1, 40, 27, 7), (1, 129, 16, 1), (1, 30, 3, 18)])
def test_equals_the_plain_form(kmeans_module, device, shape):
    x, start = blobs(device, *shape)
    found = kmeans_module.lloyd(x, start, 100, 1e-10)
    plain = [_lloyd_plain(x[s : s + 1], start[s : s + 1], 100, 1e-10) for s in range(len(x))]
    expected = type(plain[0])(*(torch.cat(parts) for parts in zip(*plain, strict=True)))
    assert_same(found, expected)
    assert int(expected.rounds.max()) > 1


@pytest.mark.parametrize("rounds", [1, 2])
def test_stops_after_the_last_round(kmeans_module, device, rounds):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(1, 200, 4, generator=g).to(device)
    start = x[:, :6].clone()
    found = kmeans_module.lloyd(x, start, rounds, 1e-10)
    assert_same(found, _lloyd_plain(x, start, rounds, 1e-10))
    assert found[2].tolist() == [rounds]


def test_empty_clusters_take_the_farthest_vectors(kmeans_module, device):
    x = torch.tensor([[0.0], [1.0], [2.0], [30.0], [41.0]], device=device)[None]
    start = torch.tensor([[1.0], [-500.0], [900.0]], device=device)[None]  # two get no vector
    found = kmeans_module.lloyd(x, start, 2, 1e-10)
    assert_same(found, _lloyd_plain(x, start, 2, 1e-10))
    # the first empty cluster went to 41, the second one to 30
    assert found[0].tolist() == [[0, 0, 0, 2, 1]]


def test_a_centre_that_exists_already_stays_empty(kmeans_module, device):
    x = torch.tensor([[0.0], [0.0], [5.0], [6.0]], device=device)[None]
    start = torch.tensor([[0.0], [0.0], [5.0]], device=device)[None]
    found = kmeans_module.lloyd(x, start, 10, 1e-10)
    assert_same(found, _lloyd_plain(x, start, 10, 1e-10))
    assert found[0].tolist() == [[0, 0, 2, 2]]
    assert found[1][0, 1].item() == 0
