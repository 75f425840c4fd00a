import pytest
import torch

from sacbnet.ops.mixed_conv import mixed_conv_plain

from .conftest import assert_alike, outcome

INPUTS = ("z", "membership", "tap_weights", "kernel", "bias")


def case(device, b=2, c=3, c_out=4, n=3, size=(3, 2, 5), dtype=torch.float32):
    g = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.randn(*shape, generator=g).to(device)

    shares = rand(b, n, *size).softmax(1)
    return (
        rand(b, c, *size).to(dtype),
        shares,
        rand(b, n, 27),
        rand(c_out, c, 27),
        rand(b, n, c_out),
    )


def results(function, arguments):
    return outcome(function, dict(zip(INPUTS, arguments, strict=True)))


CASES = {
    "batch of two": {"b": 2, "c": 3, "c_out": 5, "size": (3, 1, 5)},
    "two blocks of voxels": {"b": 1, "c": 8, "c_out": 16, "n": 2, "size": (3, 4, 3)},
    "one cluster": {"b": 1, "c": 4, "c_out": 3, "n": 1, "size": (2, 3, 1)},
    "two tiles of channels": {"b": 1, "c": 40, "c_out": 36, "n": 2, "size": (2, 1, 3)},
}


@pytest.mark.parametrize("name", CASES)
def test_equals_the_plain_form(mixed_module, device, name):
    arguments = case(device, **CASES[name])
    assert_alike(
        results(mixed_module.mixed_conv, arguments), results(mixed_conv_plain, arguments), 1e-5
    )


def test_any_layout(mixed_module, device):
    z, *others = case(device, b=1, c=8, c_out=8, size=(2, 3, 2))
    z = z.contiguous(memory_format=torch.channels_last_3d)
    found = results(mixed_module.mixed_conv, (z, *others))
    assert_alike(found, results(mixed_conv_plain, (z, *others)), 1e-5)
    assert found["output"].is_contiguous(memory_format=torch.channels_last_3d)


def test_shares_of_0_and_1_are_labels(mixed_module, conv_module, device):
    z, shares, *others = case(device, b=1, size=(2, 3, 2))
    labels = shares.argmax(1)
    hard = torch.nn.functional.one_hot(labels, shares.shape[1]).permute(0, 4, 1, 2, 3).float()
    found, expected = (
        mixed_module.mixed_conv(z, hard, *others),
        conv_module.adaptive_conv(z, labels, *others),
    )
    assert torch.allclose(found, expected, atol=1e-5)


def test_half_precision(mixed_module, device):
    arguments = case(device, b=1, c=8, c_out=8, size=(2, 3, 2), dtype=torch.bfloat16)
    with torch.autocast(device, dtype=torch.bfloat16):
        found = results(mixed_module.mixed_conv, arguments)
    assert found["output"].dtype == torch.bfloat16
    assert_alike(found, results(mixed_conv_plain, [t.float() for t in arguments]), 2e-2)


def test_refuses_what_it_would_have_to_round(mixed_module, device):
    z, *others = case(device)
    with pytest.raises(TypeError, match="float64"):
        mixed_module.mixed_conv(z.double(), *others)
