import subprocess
import sys

import torch

from sacbnet.networks.layers import Conv, Head, draw_normal


def test_a_convolution_is_torchs_under_autocast_and_without_bias_too():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        x = torch.randn(1, 5, 4, 6, 3)
        for conv in (Conv(5, 7), Conv(5, 7, bias=False)):
            expected = torch.nn.functional.conv3d(x, conv.weight, conv.bias, padding=1)
            assert torch.allclose(conv(x), expected, atol=1e-5)
            ours = torch.autograd.grad(conv(x).square().sum(), list(conv.parameters()))
            theirs = torch.autograd.grad(expected.square().sum(), list(conv.parameters()))
            assert all(
                torch.allclose(a, b, rtol=1e-3, atol=1e-3)
                for a, b in zip(ours, theirs, strict=True)
            )
            with torch.autocast("cpu", torch.bfloat16):
                assert conv(x).dtype == torch.bfloat16


def test_a_head_begins_near_zero_and_gives_float32():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        head = Head(64)
        assert 0.8e-5 < head.weight.std() < 1.2e-5
        assert not head.bias.any()
        with torch.autocast("cpu", torch.bfloat16):
            assert head(torch.randn(1, 64, 3, 3, 3)).dtype == torch.float32


def test_normal_numbers():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        drawn = torch.empty(10_000)
        draw_normal(drawn, 0.5)
    assert 0.48 < drawn.std() < 0.52 and drawn.mean().abs() < 0.02


def test_building_on_the_meta_device_imports_no_compiler():
    """As loading weights does."""
    code = (
        "import sys, torch\n"
        "from sacbnet.networks.registry import build\n"
        "from sacbnet.config.registry import options_of\n"
        "with torch.device('meta'):\n"
        "    for name in ('voxelmorph', 'transmorph'): build(options_of(name)())\n"
        "assert 'sympy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
