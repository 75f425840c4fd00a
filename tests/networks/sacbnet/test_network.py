import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.errors import InputError
from sacbnet.networks.sacbnet.block import describe
from sacbnet.networks.sacbnet.matching import Matching
from sacbnet.networks.sacbnet.network import SACBNet


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return SACBNet().eval()


def images(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    low = torch.rand(2, *shape[:2], 5, 5, 5, generator=g)
    return [F.interpolate(x, shape[2:], mode="trilinear", align_corners=True) for x in low]


@pytest.mark.parametrize("clusters", [(7, 7, 7, 7), (2, 5, 11, 3)])
def test_parameters(clusters):
    model = SACBNet(SACBNetConfig(clusters=clusters))
    assert sum(p.numel() for p in model.parameters()) == 1_105_591
    assert list(model.buffers()) == []
    counts = {name: sum(p.numel() for p in m.parameters()) for name, m in model.named_children()}
    assert counts == {
        "encoder": 441_984, "sacb2": 42_299, "sacb3": 87_899, "sacb4": 262_043, "sacb5": 262_043,
        "matching": 0, "refine": 3_472, "head": 5_851,
    }  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 1, 1), (16, 16, 16), (17, 30, 5), (33, 16, 48)])
def test_any_shape(model, shape):
    moving, fixed = images(1, 1, *shape)
    with torch.inference_mode():
        u = model(moving, fixed)
    assert u.shape == (1, 3, *shape)
    assert torch.isfinite(u).all()


def test_padding_is_zeros_at_the_high_ends(model):
    moving, fixed = images(1, 1, 20, 32, 16)
    with torch.inference_mode():
        small = model(moving, fixed)
        padded = model(F.pad(moving, (0, 0, 0, 0, 0, 12)), F.pad(fixed, (0, 0, 0, 0, 0, 12)))
    assert torch.equal(small, padded[:, :, :20])


def test_batch_equals_singles(model):
    moving, fixed = images(3, 1, 32, 16, 16)
    with torch.inference_mode():
        together = model(moving, fixed)
        for s in range(3):
            alone = model(moving[s : s + 1], fixed[s : s + 1])
            # other batch, other rounding; fields are of size 1
            assert (alone[0] - together[s]).abs().max() < 1e-2


def test_deterministic_and_global_random_state_is_left_alone(model):
    moving, fixed = images(1, 1, 32, 16, 16)
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    with torch.inference_mode():
        first = model(moving, fixed)
        assert torch.equal(before, torch.get_rng_state())
        assert np.array_equal(before_numpy, np.random.get_state()[1])  # noqa: NPY002
        torch.manual_seed(5)
        assert torch.equal(first, model(moving, fixed))


def test_every_parameter_that_can_learns():
    torch.manual_seed(0)
    model = SACBNet()
    moving, fixed = images(1, 1, 32, 32, 32)
    model(moving, fixed).square().mean().backward()
    # A bias before an instance norm cancels, so its gradient is rounding. All others must arrive.
    dead = [
        n for n, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()
    ]
    still = [n for n, p in model.named_parameters() if p.grad is not None and not p.grad.any()]
    assert dead == []
    assert [n for n in still if not n.endswith("bias")] == []


def test_autocast_stays_near(model):
    moving, fixed = images(1, 1, 32, 32, 16)
    with torch.inference_mode():
        full = model(moving, fixed)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model(moving, fixed)
    assert half.dtype == torch.float32
    assert torch.isfinite(half).all()
    assert (half - full).abs().mean() < 0.5


@pytest.mark.parametrize("levels", [(), (5,), (3, 4)])
def test_levels_without_a_block(levels):
    model = SACBNet(SACBNetConfig(sacb_levels=levels))
    names = {name.split(".")[0] for name in model.state_dict() if name.startswith("sacb")}
    assert names == {f"sacb{level}" for level in levels}
    assert model(*images(1, 1, 32, 16, 16)).shape == (1, 3, 32, 16, 16)


@pytest.mark.parametrize(("kind", "width"), [("channel", 27), ("both", 31)])
def test_other_descriptors(kind, width):
    z = torch.randn(1, 4, 3, 4, 2)
    d = describe(z, kind)
    assert d.shape == (1, width, 3, 4, 2)
    padded = F.pad(z.mean(1), (1,) * 6)
    assert torch.allclose(d[0, -27:, 1, 2, 0], padded[0, 1:4, 2:5, 0:3].flatten())
    model = SACBNet(SACBNetConfig(descriptor=kind, base_channels=2))
    assert model(*images(1, 1, 32, 16, 16)).shape == (1, 3, 32, 16, 16)


def test_spatial_descriptor_divides_by_27_at_the_edge():
    d = describe(torch.ones(1, 2, 3, 3, 3), "spatial")
    assert d[0, 0, 1, 1, 1] == 1
    assert d[0, 0, 0, 0, 0] == pytest.approx(8 / 27)


def test_not_finite_images_are_refused(model):
    moving, fixed = images(1, 1, 16, 16, 32)
    moving[0, 0, 3, 3, 3] = float("nan")
    with pytest.raises(InputError, match="NaN"):
        model(moving, fixed)


@pytest.mark.parametrize(
    ("moving", "fixed"),
    [((1, 1, 8, 8, 8), (1, 1, 8, 8, 9)), ((1, 2, 8, 8, 8),) * 2, ((8, 8, 8),) * 2],
)
def test_other_shapes_are_refused(model, moving, fixed):
    with pytest.raises(InputError, match="were expected"):
        model(torch.zeros(moving), torch.zeros(fixed))


@pytest.mark.parametrize("window", [3, 5])
def test_scaled_scores_are_those_of_attention(window):
    """Equal to torch's attention: queries are fixed, keys moving features, values the offsets."""
    g = torch.Generator().manual_seed(0)
    moving, fixed = (3 * torch.randn(1, 6, 4, 3, 5, generator=g) for _ in range(2))
    r = window // 2
    offsets = torch.cartesian_prod(*[torch.arange(-r, r + 1.0)] * 3)
    at = F.pad(moving, (r,) * 6).unfold(2, window, 1).unfold(3, window, 1).unfold(4, window, 1)
    keys = at.flatten(5).permute(0, 2, 3, 4, 5, 1)  # (1, i, j, k, window³, c)
    queries = fixed.permute(0, 2, 3, 4, 1)[..., None, :]
    expected = F.scaled_dot_product_attention(queries, keys, offsets.expand(1, 4, 3, 5, -1, -1))[
        ..., 0, :
    ]
    scaled = Matching.of(SACBNetConfig(window=window, scores="scaled"))
    torch.testing.assert_close(
        scaled(moving, fixed), expected.permute(0, 4, 1, 2, 3), atol=1e-5, rtol=1e-5
    )
