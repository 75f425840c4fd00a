import math

import pytest
import torch
import torch.nn.functional as F

from sacbnet.config.comparison import LapIRNOptions
from sacbnet.errors import InputError
from sacbnet.networks.lapirn import LapIRN, double, pool
from sacbnet.networks.weights.load import load_weights, save_weights
from sacbnet.spatial.jacobian import jacobian_determinant
from sacbnet.training.start import begin_from

FACTS = {
    "licence": "CC0",
    "trained_on": "nothing",
    "spacing_mm": [1, 1, 1],
    "intensity": "[0, 1]",
    "source": "a test",
}


def images(*shape):
    return torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)).unbind()


def network(levels=3, channels=3, seed=0, **options):
    torch.manual_seed(seed)
    return LapIRN(LapIRNOptions(channels=channels, levels=levels, **options)).eval()


def say(network, **steps):
    """Let the heads of the named levels return steps (3, ...) in units; the others return 0."""
    for name, level in network.levels.items():
        step = torch.as_tensor(steps.get(name, [0.0, 0.0, 0.0])) / 0.4
        before_softsign = (step / (1 - step.abs())).reshape(1, 3, *(step.shape[1:] or (1, 1, 1)))
        level.head.register_forward_hook(lambda _, __, out, x=before_softsign: x.expand_as(out))
    return network


@pytest.mark.parametrize(("levels", "count"), [(1, 306_404), (2, 615_076), (3, 923_748)])
def test_parameters(levels, count):
    with torch.device("meta"):
        model = LapIRN(LapIRNOptions(levels=levels))
    assert sum(p.numel() for p in model.parameters()) == count
    assert list(model.buffers()) == []
    each = [sum(p.numel() for p in level.parameters()) for level in model.levels.values()]
    assert each == [306_404, 308_672, 308_672][:levels]


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("shape", [(1, 1, 1), (16, 8, 8), (9, 14, 5)])
def test_any_size_is_padded_with_zeros_at_the_high_ends(shape, levels):
    model, (moving, fixed) = network(levels), images(1, 1, *shape)
    more = [-n % 8 for n in shape]
    pad = (0, more[2], 0, more[1], 0, more[0])
    with torch.inference_mode():
        u = model(moving, fixed)
        padded = model(F.pad(moving, pad), F.pad(fixed, pad))
    assert u.shape == (1, 3, *shape)
    assert torch.equal(u, padded[..., : shape[0], : shape[1], : shape[2]])
    assert math.isfinite(u.sum()) and u.any()


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("diffeomorphic", [False, True])
def test_the_displacement_is_in_voxels_of_the_padded_image(levels, diffeomorphic):
    """One unit is half of 16, 24 and 8 voxels at any level; a constant is its own exponential."""
    steps = {"coarse": [0.1, 0.2, -0.3], "middle": [0.05, -0.1, 0.2], "fine": [0.0, 0.1, 0.1]}
    total = torch.tensor([*steps.values()])[:levels].sum(0)
    model = say(network(levels, diffeomorphic=diffeomorphic), **steps)
    with torch.inference_mode():
        u = model(*images(1, 1, 15, 17, 8))
    expected = (total * torch.tensor([8.0, 12.0, 4.0])).reshape(1, 3, 1, 1, 1)
    assert torch.allclose(u, expected.expand_as(u), atol=1e-5)


def test_a_step_is_below_two_fifths_of_a_unit():
    model = network(1)
    with torch.inference_mode():
        model.levels["coarse"].head.weight.mul_(1e9)
        u = model(*images(1, 1, 16, 32, 8))
    largest = u[0, :, 0, 0, 0].abs()  # nothing is interpolated at the corner
    assert largest.tolist() == pytest.approx([0.4 * 8, 0.4 * 16, 0.4 * 4], rel=1e-4)
    assert (u.abs().amax((0, 2, 3, 4)) <= largest * 1.001).all()


def test_a_level_sees_the_moving_image_warped_by_the_field_of_the_one_before():
    model, (moving, fixed) = say(network(), coarse=[0.25, 0.0, -0.125]), images(1, 1, 16, 8, 16)
    seen = {}
    for name, level in model.levels.items():
        level.register_forward_pre_hook(
            lambda _, given, name=name: seen.update({name: given[0][0]})
        )
    with torch.inference_mode():
        model(moving, fixed)
    assert torch.equal(seen["coarse"], torch.cat([pool(pool(moving)), pool(pool(fixed))], 1)[0])
    for name, scale, m, f in (("middle", 2, pool(moving), pool(fixed)), ("fine", 1, moving, fixed)):
        # 2 voxels of the image along i
        i = torch.arange(m.shape[2]).add(2 // scale).clamp(max=m.shape[2] - 1)
        k = torch.arange(m.shape[4]).sub(1)[1:]  # and -1 along k: half a voxel of the middle level
        image = m[0, 0][i]
        at = image[..., k] if scale == 1 else (image[..., k] + image[..., k + 1]) / 2
        assert torch.allclose(seen[name][0][..., 1:], at, atol=1e-6)
        assert torch.equal(seen[name][1], f[0, 0])
        assert torch.allclose(seen[name][2:, 0, 0, 0], torch.tensor([0.25, 0.0, -0.125]))


def level_by_hand(level, images, below):
    """Layer after layer, in terms of the parameters in their order."""
    first, second, down, *blocks, up, merge, head = level.parameters()

    def leaky(x):
        return torch.where(x > 0, x, 0.2 * x)

    fine = F.conv3d(leaky(F.conv3d(images, first, padding=1)), second, padding=1)
    x = F.conv3d(fine, down, stride=2, padding=1) + below
    for a, b in zip(blocks[::2], blocks[1::2], strict=True):
        x = leaky(x + F.conv3d(leaky(F.conv3d(leaky(x), a, padding=1)), b, padding=1))
    features = F.conv_transpose3d(x, up, stride=2)
    step = F.conv3d(
        leaky(F.conv3d(torch.cat([features, fine], 1), merge, padding=1)), head, padding=1
    )
    return 0.4 * step / (1 + step.abs()), features


def test_a_level_is_what_was_published():
    g = torch.Generator().manual_seed(0)
    for name, below in (("coarse", None), ("middle", torch.randn(1, 3, 4, 2, 3, generator=g))):
        level = network().levels[name]
        given = torch.randn(1, 2 if below is None else 5, 8, 4, 6, generator=g)
        with torch.inference_mode():
            step, features = level(given, below)
            expected_step, expected_features = level_by_hand(
                level, given, 0 if below is None else below
            )
        assert torch.allclose(step, expected_step, atol=1e-6)
        assert torch.allclose(features, expected_features, atol=1e-6)


def test_a_level_gets_the_features_of_the_one_before():
    model, given, told = network(), [], []
    for level in model.levels.values():
        level.register_forward_pre_hook(lambda _, inputs: given.append(inputs[1:]))
        level.register_forward_hook(lambda _, inputs, outputs: told.append(outputs[1]))
    with torch.inference_mode():
        model(*images(1, 1, 16, 8, 8))
    assert given[0] == ()
    assert all(
        torch.equal(features, before)
        for (features,), before in zip(given[1:], told[:-1], strict=True)
    )


def test_pooling_leaves_out_what_is_beyond_the_edge():
    (image, _) = images(1, 2, 4, 6, 4)
    small = pool(image)
    assert small.shape == (1, 2, 2, 3, 2)
    assert torch.allclose(small[:, :, 1, 1, 1], image[:, :, 1:4, 1:4, 1:4].mean((2, 3, 4)))
    assert torch.allclose(small[:, :, 0, 2, 0], image[:, :, :2, 3:6, :2].mean((2, 3, 4)))


def test_doubling_keeps_values_and_the_slope_of_a_ramp():
    ramp = torch.arange(4.0).reshape(1, 1, 4, 1, 1).expand(1, 3, 4, 2, 2)
    expected = torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    assert torch.allclose(double(ramp), expected.reshape(1, 1, 8, 1, 1).expand(1, 3, 8, 4, 4))


def test_a_velocity_that_would_fold_as_a_displacement_does_not():
    i = torch.arange(32.0)
    wave = torch.zeros(3, 32, 8, 8)
    # 6 voxels: slopes down to -2.4
    wave[0] = 0.375 * torch.sin(2 * math.pi * i / 16).reshape(-1, 1, 1)
    pair = images(1, 1, 32, 8, 8)
    with torch.inference_mode():
        plain, flow = (say(network(diffeomorphic=d), fine=wave)(*pair)[0] for d in (False, True))
    assert torch.allclose(plain, 16 * wave, atol=1e-5)
    assert jacobian_determinant(plain).min() < -1
    assert jacobian_determinant(flow).min() > 0
    assert flow[0].max() > 3


def test_the_names_of_a_level_do_not_depend_on_how_many_there_are():
    with torch.device("meta"):
        one, two, three = (
            {name: p.shape for name, p in LapIRN(LapIRNOptions(levels=n)).state_dict().items()}
            for n in (1, 2, 3)
        )
    assert one.items() < two.items() < three.items()


@pytest.mark.parametrize("levels", [1, 2])
def test_it_grows_from_weights_of_fewer_levels(levels, tmp_path):
    small, large = network(levels), network(levels + 1, seed=1)
    fresh = {name: p.clone() for name, p in large.state_dict().items()}
    save_weights(tmp_path / "w.safetensors", small, FACTS)
    begin_from(str(tmp_path / "w.safetensors"), large)
    state = small.state_dict()
    assert all(
        torch.equal(p, state.get(name, fresh[name])) for name, p in large.state_dict().items()
    )
    # a level that adds nothing changes nothing
    torch.nn.init.zeros_([*large.levels.values()][-1].head.weight)
    pair = images(1, 1, 16, 8, 9)
    with torch.inference_mode():
        assert torch.allclose(large(*pair), small(*pair), atol=1e-6)


def test_it_does_not_begin_from_more_levels_or_other_channels(tmp_path):
    save_weights(tmp_path / "w.safetensors", network(2), FACTS)
    for other in (network(1), network(3, channels=2)):
        with pytest.raises(InputError, match="weights of another network"):
            begin_from(str(tmp_path / "w.safetensors"), other)


@pytest.mark.parametrize("diffeomorphic", [False, True])
def test_batch_equals_singles(diffeomorphic):
    model, (moving, fixed) = network(diffeomorphic=diffeomorphic), images(2, 1, 16, 8, 8)
    with torch.inference_mode():
        together = model(moving, fixed)
        alone = torch.cat([model(moving[s : s + 1], fixed[s : s + 1]) for s in range(2)])
        assert torch.equal(together, model(moving, fixed))
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("diffeomorphic", [False, True])
def test_every_parameter_learns(diffeomorphic):
    model = network(diffeomorphic=diffeomorphic).train()
    model(*images(1, 1, 16, 16, 8)).square().sum().backward()
    still = [
        name
        for name, p in model.named_parameters()
        if not (p.grad.isfinite().all() and p.grad.any())
    ]
    assert still == []


def test_autocast_stays_near():
    model, pair = network(diffeomorphic=True), images(1, 1, 16, 16, 8)
    with torch.inference_mode():
        full = model(*pair)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model(*pair)
    assert half.dtype == torch.float32
    assert (half - full).abs().max() < 0.05 * full.abs().max()


def test_weights_round_trip(tmp_path):
    model = network(2, diffeomorphic=True)
    save_weights(tmp_path / "w.safetensors", model, FACTS)
    found, metadata = load_weights(tmp_path / "w.safetensors")
    assert metadata.architecture == "lapirn" and found.config == model.config
    pair = images(1, 1, 16, 8, 8)
    with torch.inference_mode():
        assert torch.equal(found(*pair), model(*pair))


def test_other_shapes_are_refused():
    with pytest.raises(InputError, match="were expected"):
        network(1)(torch.zeros(1, 1, 8, 8, 8), torch.zeros(1, 2, 8, 8, 8))
