from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sacbnet.config.comparison import LKUNetOptions
from sacbnet.errors import InputError
from sacbnet.networks.lkunet import LargeKernel, LKUNet
from sacbnet.networks.registry import build
from sacbnet.networks.weights.load import load_weights, save_weights
from sacbnet.spatial.exponential import exponential
from sacbnet.spatial.jacobian import jacobian_determinant
from sacbnet.spatial.warp import compose

FACTS = {
    "licence": "CC0",
    "trained_on": "nothing",
    "spacing_mm": [1, 1, 1],
    "intensity": "[0, 1]",
    "source": "a test",
}


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def images(*shape, seed=0):
    return noise(2, *shape, seed=seed).sigmoid().unbind()


def new(channels=2, diffeomorphic=False, factor=1.0):
    """factor: by which its displacements are larger than those of a new network."""
    torch.manual_seed(0)
    model = LKUNet(LKUNetOptions(channels, diffeomorphic)).eval()
    model.head.weight.data *= factor
    return model


@pytest.mark.parametrize(("channels", "published"), [(4, 522_950), (8, 2_087_638), (16, 8_342_294)])
def test_parameters_are_as_many_as_published_less_the_unused_head(channels, published):
    with torch.device("meta"):
        model = build(LKUNetOptions(channels))
    count = sum(p.numel() for p in model.parameters())
    assert count + model.head.weight.numel() == published
    assert channels != 8 or count == 2_086_342 == published - 1_296
    assert list(model.buffers()) == []
    assert model.config == LKUNetOptions(channels)


def test_a_large_kernel_is_one_convolution():
    """As in the paper, the sum of the parallel kernels and the identity is one 5×5×5 kernel."""
    torch.manual_seed(0)
    block = LargeKernel(3)
    x = noise(2, 3, 6, 5, 7)
    weight = (
        block.five.weight + F.pad(block.three.weight, (1,) * 6) + F.pad(block.one.weight, (2,) * 6)
    )
    weight = weight + F.pad(torch.eye(3).reshape(3, 3, 1, 1, 1), (2,) * 6)
    y = F.conv3d(x, weight, block.five.bias + block.three.bias + block.one.bias, padding=2)
    torch.testing.assert_close(block(x), torch.where(y > 0, y, 0.25 * y), atol=1e-5, rtol=1e-5)


def test_displacements_end_at_half_the_padded_image():
    """Softsign of a large number is ±1, which is half of 16, 32 and 48 voxels along i, j, k."""
    with torch.inference_mode():
        u = new(factor=1e6)(*images(1, 1, 16, 20, 33))
    for axis, half in enumerate((8, 16, 24)):
        assert 0.99 * half < u[0, axis].abs().max() <= half


@pytest.mark.parametrize("diffeomorphic", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (17, 30, 5), (33, 16, 20)])
def test_any_size_is_padded_at_the_high_ends(diffeomorphic, shape):
    model = new(diffeomorphic=diffeomorphic, factor=10)
    moving, fixed = images(1, 1, *shape)
    i, j, k = (-n % 16 for n in shape)
    with torch.inference_mode():
        u = model(moving, fixed)
        whole = model(F.pad(moving, (0, k, 0, j, 0, i)), F.pad(fixed, (0, k, 0, j, 0, i)))
    assert u.shape == (1, 3, *shape) and whole.shape[2:] == (
        shape[0] + i,
        shape[1] + j,
        shape[2] + k,
    )
    assert torch.isfinite(u).all() and u.abs().max() > 0.1
    assert torch.equal(u, whole[..., : shape[0], : shape[1], : shape[2]])


def test_the_order_of_the_images_matters():
    moving, fixed = images(1, 1, 16, 16, 16)
    with torch.inference_mode():
        assert (new()(moving, fixed) - new()(fixed, moving)).abs().max() > 1e-3


@pytest.mark.parametrize("diffeomorphic", [False, True])
def test_batch_equals_singles(diffeomorphic):
    model = new(diffeomorphic=diffeomorphic, factor=10)
    moving, fixed = images(2, 1, 32, 16, 16)
    with torch.inference_mode():
        together = model(moving, fixed)
        for s in range(2):
            torch.testing.assert_close(
                model(moving[s : s + 1], fixed[s : s + 1])[0], together[s], atol=1e-3, rtol=1e-3
            )
    assert (together[0] - together[1]).abs().max() > 0.01


@pytest.mark.parametrize("diffeomorphic", [False, True])
def test_every_parameter_learns(diffeomorphic):
    model = new(diffeomorphic=diffeomorphic)
    u = model(*images(1, 1, 32, 32, 16))
    (u * noise(*u.shape, seed=1)).mean().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and torch.isfinite(p.grad).all() and p.grad.any(), name


def test_a_velocity_folds_less_and_can_be_undone():
    """The same weights, with and without integration, strong enough to fold without."""
    moving, fixed = images(1, 1, 32, 32, 32)
    inside = (..., *[slice(6, -6)] * 3)
    with torch.inference_mode():
        velocity, u = (new(diffeomorphic=d, factor=30)(moving, fixed) for d in (False, True))
        undone = compose(u, exponential(-velocity), "border")[inside].abs().mean()
        not_undone = compose(velocity, -velocity, "border")[inside].abs().mean()
    torch.testing.assert_close(u, exponential(velocity))
    without, with_integration = (
        (jacobian_determinant(field[0]) <= 0).float().mean() for field in (velocity, u)
    )
    assert without > 0.02 and with_integration < 0.25 * without
    assert not_undone > 0.4 and undone < 0.1 * not_undone


def test_autocast_stays_near():
    model = new(factor=10)
    moving, fixed = images(1, 1, 32, 16, 16)
    with torch.inference_mode():
        full = model(moving, fixed)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model(moving, fixed)
    assert half.dtype == torch.float32
    assert (half - full).abs().mean() < 0.1 * full.abs().mean()


@pytest.mark.parametrize("diffeomorphic", [False, True])
def test_weights_survive_the_file(diffeomorphic, tmp_path):
    model = new(diffeomorphic=diffeomorphic)
    save_weights(tmp_path / "w.safetensors", model, FACTS)
    loaded, metadata = load_weights(tmp_path / "w.safetensors")
    assert metadata.architecture == "lkunet" and loaded.config == model.config
    moving, fixed = images(1, 1, 16, 16, 16)
    with torch.inference_mode():
        assert torch.equal(loaded(moving, fixed), model(moving, fixed))


def test_shapes_that_are_no_pair_are_refused():
    with pytest.raises(InputError, match="were expected"):
        new()(torch.zeros(1, 1, 8, 8, 8), torch.zeros(1, 1, 8, 8, 9))


def test_the_moving_image_is_the_first_channel():
    """Weights that others trained depend on this order."""
    model, seen = new(), []
    model.level1.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    moving, fixed = images(1, 1, 16, 32, 16)
    with torch.inference_mode():
        model(moving, fixed)
    assert torch.equal(seen[0], torch.cat([moving, fixed], 1))
