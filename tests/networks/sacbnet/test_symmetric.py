import pytest
import torch
import torch.nn.functional as F

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.networks.registry import build
from sacbnet.networks.sacbnet.network import SACBNet
from sacbnet.networks.sacbnet.symmetric import Half, SymmetricSACBNet
from sacbnet.spatial.jacobian import non_diffeomorphic_volume
from sacbnet.spatial.warp import compose

ALL = {
    "assignment": "soft", "number": "image", "clusters": (9, 9, 9, 9), "level1": "both",
    "iterations": 2,
    "diffeomorphic": True,
}  # fmt: skip


def images(shape=(32, 32, 48), seed=0):
    g = torch.Generator().manual_seed(seed)
    low = torch.rand(2, 1, 1, 6, 6, 6, generator=g)
    return [F.interpolate(x, shape, mode="trilinear", align_corners=True) for x in low]


def network(seed=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(SACBNetConfig(base_channels=2, **{"symmetric": True, **options})).eval()


@pytest.mark.parametrize(
    "options", [{}, ALL, {"level1": "matching", "diffeomorphic": True}], ids=["", "all", "matching"]
)
@torch.inference_mode()
def test_exchanging_the_images_exchanges_the_directions(options):
    net = network(**options)
    moving, fixed = images()
    first, second = net.both(moving, fixed)
    other, one = net.both(fixed, moving)
    assert first.abs().mean() > 0.1
    torch.testing.assert_close(first, one, atol=1e-3, rtol=0)
    torch.testing.assert_close(second, other, atol=1e-3, rtol=0)
    assert torch.equal(net(moving, fixed), first)


@torch.inference_mode()
def test_the_directions_are_inverse_to_each_other():
    moving, fixed = images()
    left = {}
    for diffeomorphic in (False, True):
        first, second = network(diffeomorphic=diffeomorphic).both(moving, fixed)
        around = compose(first, second)[..., 6:-6, 6:-6, 6:-6]
        left[diffeomorphic] = float(around.norm(dim=1).mean())
        assert float(first.norm(dim=1).mean()) > 0.5
    assert left[True] < 0.1
    assert left[True] < left[False]


@torch.inference_mode()
def test_an_image_with_itself_stays_where_it_is():
    (moving, _) = images()
    first, second = network().both(moving, moving)
    assert first.abs().max() < 1e-5
    assert second.abs().max() < 1e-5


def test_same_parameters_as_the_one_way_network():
    options = SACBNetConfig(symmetric=True, assignment="soft")
    net = build(options)
    assert isinstance(net, SymmetricSACBNet)
    plain = SACBNet(SACBNetConfig(assignment="soft"))
    assert {n: p.shape for n, p in net.named_parameters()} == {
        n: p.shape for n, p in plain.named_parameters()
    }


def test_every_parameter_learns_from_both_directions():
    net = network(**ALL)
    first, second = net.both(*images())
    (first.square().mean() + second.square().mean()).backward()
    dead = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert dead == []


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
@torch.inference_mode()
def test_integrated_steps_do_not_fold(symmetric, seed):
    # on images whose structures reach the faces; by as much as 11 voxels
    moving, fixed = images(seed=seed)
    net = network(seed, symmetric=symmetric, level1="both", diffeomorphic=True)
    assert non_diffeomorphic_volume(net(moving, fixed)[0]) == 0


@torch.inference_mode()
def test_steps_that_are_not_integrated_fold():
    assert non_diffeomorphic_volume(network(symmetric=False)(*images())[0]) > 0


@pytest.mark.parametrize("symmetric", [False, True])
@torch.inference_mode()
def test_not_even_where_the_head_finds_what_no_lattice_can_show(symmetric):
    net = network(symmetric=symmetric, level1="both", diffeomorphic=True)
    list(net.head.parameters())[-2].mul_(1000)  # offsets that turn round from one voxel to the next
    assert non_diffeomorphic_volume(net(*images())[0]) == 0


@torch.inference_mode()
def test_what_would_fold_between_the_samples_is_not_walked_to_its_end():
    """Training takes whole steps. Evaluation shortens a step where it folds, and nowhere else."""
    moving, fixed = images(seed=1)
    net = network(1, symmetric=False, level1="both", diffeomorphic=True, iterations=2)
    list(net.head.parameters())[-2].mul_(1000)
    whole = net.train()(moving, fixed)
    shortened = net.eval()(moving, fixed)
    assert non_diffeomorphic_volume(whole[0]) > 0 == non_diffeomorphic_volume(shortened[0])
    assert ((whole - shortened).norm(dim=1) == 0).float().mean() > 0.9


@torch.inference_mode()
def test_a_step_of_both_directions_is_shortened_where_either_folds():
    coarse = 30 * torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    velocity = F.interpolate(coarse, scale_factor=2)
    velocity[1] = 0
    zero = torch.zeros_like(velocity)
    net = network(diffeomorphic=True)
    found = {}
    for mode in (True, False):
        net.train(mode)
        to_fixed, to_moving = net._meet(Half(zero, zero), Half(zero, zero), velocity)[:2]
        ends = (to_moving, to_fixed), (to_fixed, to_moving)
        first, second = (compose(a.there, b.back, padding="border") for a, b in ends)
        found[mode] = [non_diffeomorphic_volume(u) for u in (first[0], second[0])]
        around = compose(first, second, padding="border")[..., 3:-3, 3:-3, 3:-3]
        assert first[1].abs().max() == second[1].abs().max() == 0 < first[0].abs().max()
    assert min(found[True]) > 0 == max(found[False])
    assert around.norm(dim=1).mean() < 0.1  # still inverse to each other
