"""The network on a coarser lattice than the displacement it is asked for."""

from __future__ import annotations

import pytest
import torch

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.networks.weights.info import WeightsInfo
from sacbnet.registration.predict import BothWays, Mirrored, as_meant, inverse, predict
from sacbnet.spatial.warp import warp


def ramp(shape: tuple[int, int, int]) -> torch.Tensor:
    """(1, 3, i, j, k): the voxel's own index."""
    return torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in shape], indexing="ij"))[
        None
    ]


def stated(**more: bool) -> WeightsInfo:
    return WeightsInfo("sacbnet", SACBNetConfig(), "CC0", "nothing", "a test", "[0, 1]", **more)


class Stretch:
    """A network that sees where its voxels are: u = 0.1 times their index, in its own voxels."""

    def __call__(self, *, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        self.moving, self.fixed = moving, fixed
        return 0.1 * ramp(tuple(fixed.shape[2:]))


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("shape", [(12, 18, 24), (13, 17, 20)])
def test_lattices_meet_whatever_the_shape(shape, factor) -> None:
    fixed, network = torch.rand(1, 1, *shape), Stretch()
    u = predict(network, moving=1 - fixed, fixed=fixed, factor=factor)
    # The centre of the network's voxel q lies at factor * q + (factor - 1) / 2. Outside the outer
    # centres the displacement is level.
    last = torch.tensor([-(-n // factor) - 1.0 for n in shape]).reshape(1, 3, 1, 1, 1)
    q = ((ramp(shape) - (factor - 1) / 2) / factor).clamp_min(0).minimum(last)
    assert u.shape == (1, 3, *shape) and u.is_contiguous()
    assert (u - factor * 0.1 * q).abs().max() < 1e-4
    block = fixed[0, 0, :factor, factor : 2 * factor, :factor].mean()
    assert network.fixed[0, 0, 0, 1, 0] == pytest.approx(float(block)) and torch.allclose(
        network.moving, 1 - network.fixed, atol=1e-6
    )


def test_a_factor_of_1_is_the_network_itself() -> None:
    fixed, network = torch.rand(1, 1, 5, 6, 7), Stretch()
    assert (
        torch.equal(predict(network, moving=fixed, fixed=fixed), network(moving=fixed, fixed=fixed))
        and network.fixed is fixed
    )


# -- both ways -------------------------------------------------------------------------------------
def smooth(seed: int, size: float, shape=(20, 22, 24)) -> torch.Tensor:
    coarse = torch.randn(1, 3, 4, 4, 4, generator=torch.Generator().manual_seed(seed))
    return size * torch.nn.functional.interpolate(
        coarse, shape, mode="trilinear", align_corners=True
    )


def test_inverse_undoes_the_displacement() -> None:
    u = smooth(0, 0.5)
    v = inverse(u)
    there_and_back = v + warp(u, v, padding="border")  # p + v(p), and from there by u
    assert there_and_back.abs().max() < 1e-3 < u.abs().max()
    assert (inverse(torch.full((1, 3, 5, 5, 5), 2.5)) + 2.5).abs().max() == 0


class Drawn:
    """A network with a field of its own for each direction: moving images are 0, fixed ones 1."""

    def __init__(self) -> None:
        self.there, self.back = smooth(1, 1.0), smooth(2, 1.0)

    def __call__(self, *, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        return self.there if fixed.max() > moving.max() else self.back


def test_both_ways_is_the_mean_and_its_own_inverse_for_the_swapped_pair() -> None:
    network, moving, fixed = Drawn(), torch.zeros(1, 1, 20, 22, 24), torch.ones(1, 1, 20, 22, 24)
    both = BothWays(network)
    u, swapped = both(moving=moving, fixed=fixed), both(moving=fixed, fixed=moving)
    assert torch.allclose(u, (network.there + inverse(network.back)) / 2)
    # inverse to second order: far better than what the network gives by itself
    error, alone = (
        (a + warp(b, a, padding="border")).abs().mean()
        for a, b in ((u, swapped), (network.there, network.back))
    )
    assert error < 0.2 * alone


def test_weights_say_how_they_are_meant() -> None:
    network, moving, fixed = Drawn(), torch.zeros(1, 1, 20, 22, 24), torch.ones(1, 1, 20, 22, 24)
    assert as_meant(network, stated()) is network
    assert torch.equal(
        as_meant(network, stated(symmetric=True))(moving=moving, fixed=fixed),
        BothWays(network)(moving=moving, fixed=fixed),
    )


def test_mirrored_is_the_mean_with_the_mirror_image() -> None:
    """The mean of a shift by one voxel in each direction and its mirror image: no shift along i."""
    moving, fixed = torch.rand(2, 1, 1, 6, 7, 8)
    u = Mirrored(lambda moving, fixed: torch.ones(1, 3, 6, 7, 8))(moving=moving, fixed=fixed)
    assert not u[:, 0].any() and (u[:, 1:] == 1).all()
    # the network is given the pair and its mirror image along the first axis
    seen = []
    Mirrored(lambda moving, fixed: seen.append((moving, fixed)) or torch.zeros(1, 3, 6, 7, 8))(
        moving=moving, fixed=fixed
    )
    assert torch.equal(seen[0][0], moving) and torch.equal(seen[1][0], moving.flip(2))
    assert torch.equal(seen[1][1], fixed.flip(2))


def test_mirrored_commutes_with_the_mirror() -> None:
    def network(moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        return torch.cat([moving - fixed, moving * ramp((6, 7, 8))[:, :1], fixed], 1)

    moving, fixed = torch.rand(2, 1, 1, 6, 7, 8)
    u, other = (
        Mirrored(network)(moving=moving, fixed=fixed),
        Mirrored(network)(moving=moving.flip(2), fixed=fixed.flip(2)).flip(2),
    )
    torch.testing.assert_close(u, other * torch.tensor([-1.0, 1, 1]).view(1, 3, 1, 1, 1))
    assert isinstance(as_meant(network, stated(mirrored=True)), Mirrored)
    both = as_meant(network, stated(mirrored=True, symmetric=True))
    assert isinstance(both, Mirrored) and isinstance(both.network, BothWays)
