import pytest
import torch
import torch.nn.functional as F

from sacbnet.networks.sacbnet.block import SACB, describe


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_two_dimensions_are_the_middle_of_three():
    """In 3-D, a slice between zeros with the 9 taps as the middle ones of 27 gives the same."""
    flat, volume = SACB(4, 3, dims=2), SACB(4, 3)
    with torch.no_grad():
        volume.project[0].weight.zero_()[:, :, 1] = flat.project[0].weight
        volume.project[0].bias.copy_(flat.project[0].bias)
        volume.kernel.zero_()[..., 9:18] = flat.kernel
        volume.to_bias.load_state_dict(flat.to_bias.state_dict())
        volume.to_taps[:4].load_state_dict(flat.to_taps[:4].state_dict())
        volume.to_taps[4].weight.zero_()[9:18] = flat.to_taps[4].weight
        volume.to_taps[4].bias.zero_()[9:18] = flat.to_taps[4].bias
        volume.to_taps[0].weight.mul_(3)  # a mean over 27 voxels, of which 18 are zeros
        volume.to_bias[0].weight.mul_(3)
    x = torch.randn(2, 4, 9, 7)
    torch.testing.assert_close(flat(x), volume(x[:, :, None])[:, :, 0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("kind", "width"), [("spatial", 4), ("channel", 9), ("both", 13)])
def test_descriptors_of_slices(kind, width):
    z = torch.randn(2, 4, 5, 6)
    d = describe(z, kind)
    assert d.shape == (2, width, 5, 6)
    padded = F.pad(z, (1,) * 4)
    if kind != "channel":
        assert torch.allclose(d[0, :4, 0, 3], padded[0, :, 0:3, 3:6].mean((1, 2)), atol=1e-6)
    if kind != "spatial":
        assert torch.allclose(d[1, -9:, 2, 5], padded[1, :, 2:5, 5:8].mean(0).flatten(), atol=1e-6)
    assert SACB(4, 3, dims=2, descriptor=kind)(z).shape == z.shape


@pytest.mark.parametrize("dims", [2, 3])
def test_cold_the_soft_form_is_the_hard_one(dims):
    hard, soft = SACB(4, 3, dims=dims), SACB(4, 3, dims=dims, soft=True)
    soft.load_state_dict(hard.state_dict(), strict=False)
    x = torch.randn(1, 4, 8, 7, 6) if dims == 3 else torch.randn(1, 4, 12, 11)
    with torch.no_grad():
        assert (soft(x) - hard(x)).abs().max() > 1e-3
        soft.log_temperature.fill_(-14)
    torch.testing.assert_close(soft(x), hard(x), atol=1e-3, rtol=1e-3)


def test_only_the_soft_form_learns_by_its_clusters():
    """With a kernel of zeros, the input can get a gradient through the descriptor only."""
    for soft in (False, True):
        block = SACB(3, 3, soft=soft)
        block.kernel.data.zero_()  # what is left of y: the bias of the cluster
        x = torch.randn(1, 3, 6, 6, 6)
        through = block.project(x).detach().requires_grad_()
        y = block._soft(through) if soft else block._hard(through)
        y.square().mean().backward()
        assert bool(through.grad.any()) == soft
    assert block.log_temperature.grad.abs() > 0


@pytest.mark.parametrize("soft", [False, True])
def test_the_image_chooses_how_many_clusters(soft):
    block = SACB(2, 9, soft=soft, least_share=0.02)
    plain, rich = torch.zeros(1, 2, 12, 12, 12), torch.zeros(1, 2, 12, 12, 12)
    plain[:, :, 6:] = 3
    for n in range(4):
        rich[:, n % 2, 3 * n : 3 * n + 3] = 2.0 + n
    assert [block.cluster(d).centres.shape[1] for d in (plain, rich)] == [2, 4]
    together = block.cluster(torch.cat([plain, rich]))
    assert [len(labels.unique()) for labels in together.labels] == [2, 4]
    for image in (plain, rich, torch.cat([plain, rich])):
        assert block(image).isfinite().all()


def test_gradients_reach_every_parameter():
    block = SACB(3, 4, soft=True, least_share=0.005)
    block(torch.randn(2, 3, 6, 7, 5)).square().mean().backward()
    assert [
        n for n, p in block.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()
    ] == []
    assert [
        n for n, p in block.named_parameters() if not p.grad.any() and n != "project.0.bias"
    ] == []
