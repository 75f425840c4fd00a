"""The network on a coarser lattice than the displacement it is asked for."""

from __future__ import annotations

import pytest
import torch

from sacbnet.predict import predict


def ramp(shape: tuple[int, int, int]) -> torch.Tensor:
    """(1, 3, i, j, k): the voxel's own index."""
    return torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in shape], indexing="ij"))[None]


class Stretch:
    """A network that sees where its voxels are: u = 0.1 times their index, in its own voxels."""

    def __call__(self, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        self.moving, self.fixed = moving, fixed
        return 0.1 * ramp(tuple(fixed.shape[2:]))


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("shape", [(12, 18, 24), (13, 17, 20)])
def test_lattices_meet_whatever_the_shape(shape, factor) -> None:
    fixed, network = torch.rand(1, 1, *shape), Stretch()
    u = predict(network, 1 - fixed, fixed, factor)
    # the centre of the network's voxel q lies at factor * q + (factor - 1) / 2; outside the outer centres it is level
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
    assert torch.equal(predict(network, fixed, fixed), network(fixed, fixed)) and network.fixed is fixed
