"""What a network saw, told and shown on the fixed image's own grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.networks.registry import build
from sacbnet.networks.sacbnet.seen import watching
from sacbnet.registration.predict import BothWays


def network(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(SACBNetConfig(base_channels=2, **options)).eval()


def images(shape=(20, 33, 16)):
    g = torch.Generator().manual_seed(0)
    return [
        F.interpolate(x, shape, mode="trilinear") for x in torch.rand(2, 1, 1, 5, 5, 5, generator=g)
    ]


@pytest.mark.parametrize("levels", [(2, 3, 4, 5), (2, 4)])
@torch.inference_mode()
def test_labels_by_level(levels):
    net = network(sacb_levels=levels, clusters=(2, 3, 4, 5))
    with watching(net) as seen:
        net(*images())
    assert set(seen.labels) == set(levels)
    for level, labels in seen.labels.items():
        assert labels.shape == (2, *(n // 2 ** (level - 1) for n in (32, 48, 16)))
        assert set(labels.unique().tolist()) <= set(range(1, level + 1))
    assert seen.numbers()["level2"] == {"fixed": 2, "moving": 2}


@torch.inference_mode()
def test_run_both_ways_the_first_pass_counts():
    net = network()
    with watching(net) as alone:
        net(*images())
    with watching(BothWays(net)) as seen:
        moving, fixed = images()
        BothWays(net)(moving=moving, fixed=fixed)
    assert all(torch.equal(labels, alone.labels[level]) for level, labels in seen.labels.items())


@torch.inference_mode()
def test_nothing_is_noted_afterwards_or_of_others():
    net = network()
    with watching(net) as seen:
        pass
    net(*images())
    assert not seen.labels
    with watching(lambda moving, fixed: fixed) as seen:
        pass
    assert seen.numbers() == {}


@torch.inference_mode()
def test_how_many_the_image_chose():
    net = network(number="image", clusters=(15, 15, 15, 15), least_share=0.05)
    with watching(net) as seen:
        net(*images())
    numbers = [n for level in seen.numbers().values() for n in level.values()]
    assert all(1 <= n < 15 for n in numbers)
    assert len(set(numbers)) > 1


class Pair:
    def __init__(self, grid, spacing, factor):
        self.grid, self.spacing, self.factor = grid, spacing, factor


def test_on_the_fixed_grid():
    """A level-3 lattice of 4 x 2 mm blocks, on an image of 1 mm that is turned and shifted."""
    from sacbnet.imaging.image import Image
    from sacbnet.networks.sacbnet.seen import Seen
    from sacbnet.registration.maps import clusters
    from sacbnet.spatial.grid import Grid

    working = Grid((20, 16, 16), np.diag([2.0, 2.0, 2.0, 1.0]))
    fixed_affine = np.array([[0, -1.0, 0, 20], [1, 0, 0, 3], [0, 0, 1, 2], [0, 0, 0, 1]])
    fixed = Image(np.zeros((20, 12, 18), np.float32), Grid((20, 12, 18), fixed_affine))
    labels = torch.arange(1, 2 * 5 * 4 * 4 + 1).reshape(2, 5, 4, 4)
    found = clusters(Seen({3: labels}), Pair(working, 2.0, 1), fixed)
    assert set(found) == {"clusters_fixed_level3.nii.gz", "clusters_moving_level3.nii.gz"}
    moving = found["clusters_moving_level3.nii.gz"]
    assert moving.data.shape == fixed.data.shape and np.issubdtype(moving.data.dtype, np.integer)
    for voxel in ((0, 0, 0), (7, 3, 11), (15, 11, 17)):
        world = fixed_affine[:3, :3] @ voxel + fixed_affine[:3, 3]
        block = np.floor((world / 2 + 0.5) / 4 + 1e-9).astype(int)
        assert moving.data[voxel] == labels[1][tuple(block)]
