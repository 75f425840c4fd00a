import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sacbnet.config.comparison import FourierNetOptions
from sacbnet.errors import InputError
from sacbnet.networks.fouriernet import FourierNet, band_limited
from sacbnet.networks.weights.load import load_weights, save_weights

FACTS = {
    "licence": "CC0",
    "trained_on": "nothing",
    "spacing_mm": [1, 1, 1],
    "intensity": "[0, 1]",
    "source": "a test",
}


def images(*shape):
    return torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)).unbind()


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return FourierNet(FourierNetOptions(channels=4)).eval()


@pytest.mark.parametrize(("channels", "count"), [(8, 1_050_800), (16, 4_198_352)])
def test_parameters(channels, count):
    with torch.device("meta"):
        model = FourierNet(FourierNetOptions(channels=channels))
    assert sum(p.numel() for p in model.parameters()) == count
    assert list(model.buffers()) == []


def wave(size, frequency, phase):
    """cos(2π Σ m·p / n + phase) at the whole numbers p below n, `size`."""
    p = np.indices(size)
    return np.cos(
        2 * np.pi * sum(m * x / n for m, x, n in zip(frequency, p, size, strict=True)) + phase
    )


@pytest.mark.parametrize("frequency", [(0, 0, 0), (1, 0, 0), (0, -2, 1), (1, 1, -2)])
@pytest.mark.parametrize(("size", "factor"), [((4, 6, 5), 4), ((8, 5, 6), 4), ((3, 5, 6), 3)])
def test_one_frequency_becomes_the_same_wave_at_a_64th(size, factor, frequency):
    low = torch.from_numpy(wave(size, frequency, 0.7))[None, None]
    full = band_limited(low, factor)
    expected = wave([factor * n for n in size], frequency, 0.7) / factor**3
    np.testing.assert_allclose(full[0, 0], expected, atol=1e-15)


def test_decoding_is_that_of_the_paper():
    """All three axes at once, with the highest frequency that a lattice of even size has."""
    low = np.random.default_rng(0).standard_normal((2, 3, 4, 6, 2))
    axes = (2, 3, 4)
    spectrum = np.fft.fftshift(np.fft.fftn(low, axes=axes), axes=axes)
    spectrum = np.pad(spectrum, [(0, 0), (0, 0), (6, 6), (9, 9), (3, 3)])
    expected = np.fft.ifftn(np.fft.ifftshift(spectrum, axes=axes), axes=axes).real
    np.testing.assert_allclose(band_limited(torch.from_numpy(low), 4), expected, atol=1e-15)


@pytest.mark.parametrize("size", [(4, 6, 2), (3, 5, 1)])
def test_decoding_keeps_the_samples_and_adds_no_frequency(size):
    low = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 1, *size)))
    full = band_limited(low, 4)
    assert torch.allclose(full[..., ::4, ::4, ::4], low / 64, atol=1e-15)
    spectrum = np.abs(np.fft.fftn(full[0, 0]))
    frequency = np.meshgrid(
        *(np.abs(np.fft.fftfreq(4 * n, 1 / (4 * n))) for n in size), indexing="ij"
    )
    beyond = np.any([f > n / 2 for f, n in zip(frequency, size, strict=True)], axis=0)
    assert spectrum[beyond].max() < 1e-12 < spectrum[~beyond].max()


def test_the_displacement_is_in_voxels_of_the_padded_image(model):
    """1/64 from the decoding, and half of 32, 16 and 48 voxels to the unit."""
    hook = model.head.register_forward_hook(lambda *called: torch.ones_like(called[-1]))
    with torch.inference_mode():
        u = model(*images(1, 1, 20, 16, 33))
    hook.remove()
    assert u.amin((0, 2, 3, 4)).tolist() == pytest.approx([16 / 64, 8 / 64, 24 / 64])
    assert u.amax((0, 2, 3, 4)).tolist() == pytest.approx([16 / 64, 8 / 64, 24 / 64])


def by_hand(model, moving, fixed):
    """Layer after layer from the parameters in their order of use; the result is in units."""
    order = ("level1", "level2", "level3", "level4", "level5", "up4", "merge4", "up3", "merge3")
    rest = [p for name in order for p in getattr(model, name).parameters()]

    def next_block(x, stride=1, up=False):
        weight, bias, slope = (rest.pop(0) for _ in range(3))
        x = (
            F.conv_transpose3d(x, weight, bias, 2)
            if up
            else F.conv3d(x, weight, bias, stride, padding=1)
        )
        return torch.where(x > 0, x, slope * x)

    x, skips = torch.cat([moving, fixed], 1), []
    for stride in (1, 2, 2, 2, 2):
        x = next_block(next_block(x, stride))
        skips.append(x)
    for skip in (skips[3], skips[2]):
        x = next_block(next_block(torch.cat([next_block(x, up=True), skip], 1)))
    assert rest == []
    return band_limited(F.conv3d(x, model.head.weight, padding=1), 4)


def test_the_layers_are_those_published(model):
    moving, fixed = images(1, 1, 16, 32, 16)
    with torch.inference_mode():
        units = by_hand(model, moving, fixed)
        u = model(moving, fixed)
    assert torch.allclose(
        u, units * torch.tensor([8.0, 16.0, 8.0]).reshape(1, 3, 1, 1, 1), rtol=1e-4, atol=1e-7
    )


@pytest.mark.parametrize("shape", [(1, 1, 1), (16, 16, 16), (17, 30, 5)])
def test_any_size_is_padded_with_zeros_at_the_high_ends(model, shape):
    moving, fixed = images(1, 1, *shape)
    more = [-n % 16 for n in shape]
    pad = (0, more[2], 0, more[1], 0, more[0])
    with torch.inference_mode():
        u = model(moving, fixed)
        padded = model(F.pad(moving, pad), F.pad(fixed, pad))
    assert u.shape == (1, 3, *shape)
    assert torch.equal(u, padded[..., : shape[0], : shape[1], : shape[2]])
    assert math.isfinite(u.sum()) and u.any()


def test_batch_equals_singles(model):
    moving, fixed = images(2, 1, 16, 32, 16)
    with torch.inference_mode():
        together = model(moving, fixed)
        alone = torch.cat([model(moving[s : s + 1], fixed[s : s + 1]) for s in range(2)])
        assert torch.equal(together, model(moving, fixed))
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-6)


def test_every_parameter_learns():
    torch.manual_seed(0)
    model = FourierNet(FourierNetOptions(channels=2))
    model(*images(1, 1, 32, 16, 16)).square().sum().backward()
    still = [
        name
        for name, p in model.named_parameters()
        if not (p.grad.isfinite().all() and p.grad.any())
    ]
    assert still == []


def test_autocast_stays_near(model):
    pair = images(1, 1, 16, 16, 16)
    with torch.inference_mode():
        full = model(*pair)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model(*pair)
    assert half.dtype == torch.float32
    assert (half - full).abs().max() < 0.05 * full.abs().max()


def test_weights_round_trip(model, tmp_path):
    save_weights(tmp_path / "w.safetensors", model, FACTS)
    found, metadata = load_weights(tmp_path / "w.safetensors")
    assert metadata.architecture == "fouriernet" and found.config == model.config
    pair = images(1, 1, 16, 16, 16)
    with torch.inference_mode():
        assert torch.equal(found(*pair), model(*pair))


def test_other_shapes_are_refused(model):
    with pytest.raises(InputError, match="were expected"):
        model(torch.zeros(1, 1, 16, 16, 16), torch.zeros(1, 1, 16, 16, 32))
