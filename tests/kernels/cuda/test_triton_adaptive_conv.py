import sys

import pytest
import torch

from sacbnet.ops import adaptive_conv

from .conftest import assert_alike, outcome

# the definition itself, whatever form serves on this machine
plain = getattr(adaptive_conv, "adaptive_conv_plain", adaptive_conv.adaptive_conv)
LAST = torch.channels_last_3d
INPUTS = ("z", "tap_weights", "kernel", "bias")


def case(device, b=2, c=3, c_out=4, n=3, size=(3, 2, 5), dtype=torch.float32):
    g = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.randn(*shape, generator=g).to(device)

    labels = torch.randint(n, (b, *size), generator=g).to(device)
    return (
        rand(b, c, *size).to(dtype),
        labels,
        rand(b, n, 27),
        rand(c_out, c, 27),
        rand(b, n, c_out),
    )


def results(function, arguments):
    return outcome(function, dict(zip(("z", "labels", *INPUTS[1:]), arguments, strict=True)))


CASES = {
    "batch of three": {"b": 3, "c": 3, "c_out": 5, "size": (3, 1, 5)},
    "two blocks of voxels": {"b": 1, "c": 8, "c_out": 16, "n": 2, "size": (3, 5, 4)},
    "more clusters than voxels": {"b": 1, "c": 8, "c_out": 8, "n": 70, "size": (3, 3, 3)},
    "one cluster": {"b": 1, "c": 20, "c_out": 3, "n": 1, "size": (2, 3, 1)},
    "one voxel": {"b": 1, "c": 16, "c_out": 16, "size": (1, 1, 1)},
}


@pytest.mark.parametrize("name", CASES)
def test_equals_the_plain_form(conv_module, device, name):
    arguments = case(device, **CASES[name])
    assert_alike(results(conv_module.adaptive_conv, arguments), results(plain, arguments), 1e-5)


@pytest.mark.parametrize("form", ["channels last", "slices"])
def test_any_layout(conv_module, device, form):
    z, *others = case(device, b=1, c=8, c_out=8, size=(2, 3, 4))
    # of the slices, no single stride leads from voxel to voxel
    z = (
        z.contiguous(memory_format=LAST)
        if form == "channels last"
        else torch.cat([z, z], 4)[..., 2:6]
    )
    found = results(conv_module.adaptive_conv, (z, *others))
    assert_alike(found, results(plain, (z, *others)), 1e-5)
    if form == "channels last":
        assert found["output"].is_contiguous(memory_format=LAST)
        assert found["z"].is_contiguous(memory_format=LAST)
    else:
        assert found["output"].is_contiguous()


def test_gradients_come_out_the_same_each_time(conv_module, device, monkeypatch):
    for module in (conv_module, sys.modules["sacbnet.kernels.cuda.conv_launch"]):
        # one more than blocks: it has nothing to add
        monkeypatch.setattr(module, "shares_of", lambda voxels, block: 3)
    z, labels, *others = case(device, b=1, size=(3, 11, 1))
    others = [t.requires_grad_() for t in others]
    y = conv_module.adaptive_conv(z, labels, *others)
    first, second = (
        torch.autograd.grad(y, others, y.detach(), retain_graph=True) for _ in range(2)
    )
    assert all(map(torch.equal, first, second))
    y = plain(z, labels, *others)
    expected = torch.autograd.grad(y, others, y.detach())
    assert_alike(dict(enumerate(first)), dict(enumerate(expected)), 1e-5)


def test_more_channels_than_a_tile(conv_module, device, monkeypatch):
    for module in (conv_module, sys.modules["sacbnet.kernels.cuda.conv_launch"]):
        monkeypatch.setattr(module, "tile_of", lambda channels, most=0: 16)
    z, labels, *others = case(device, b=1, c=20, c_out=18, size=(2, 2, 3))
    others = [t.requires_grad_() for t in others]
    found, expected = [], []
    for function, results in ((conv_module.adaptive_conv, found), (plain, expected)):
        y = function(z, labels, *others)
        results += y.detach(), *torch.autograd.grad(y, others, torch.ones_like(y))
    assert_alike(dict(enumerate(found)), dict(enumerate(expected)), 1e-5)


def test_half_precision(conv_module, device):
    arguments = case(device, b=1, c=16, c_out=8, dtype=torch.bfloat16)
    found = results(conv_module.adaptive_conv, arguments)
    exact = results(plain, (arguments[0].float(), *arguments[1:]))
    assert_alike(found, exact, 1e-2)
    assert found["output"].dtype == found["z"].dtype == torch.bfloat16
    assert all(found[name].dtype == torch.float32 for name in INPUTS[1:])


def test_computes_in_autocast_s_type(conv_module, device):
    arguments = case(device, b=1, size=(2, 2, 2))
    with torch.autocast(device, dtype=torch.bfloat16):
        found = results(conv_module.adaptive_conv, arguments)
    assert found["output"].dtype == torch.bfloat16
    assert found["z"].dtype == torch.float32
    assert_alike(found, results(plain, arguments), 2e-2)


def test_keeps_nothing_but_its_inputs(conv_module, device):
    z, labels, *others = case(device, b=1, size=(2, 2, 2))
    inputs = [t.requires_grad_() for t in (z, *others)]
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.data_ptr()), lambda t: t):
        conv_module.adaptive_conv(inputs[0], labels, *inputs[1:])
    assert set(kept) <= {t.data_ptr() for t in (labels, *inputs)}


def test_refuses_what_it_would_have_to_round(conv_module, device):
    z, *others = case(device, dtype=torch.float64)
    with pytest.raises(TypeError, match="float64"):
        conv_module.adaptive_conv(z, *others)
