import pytest
import torch
import torch.nn.functional as F

from sacbnet.config.comparison import TransMorphOptions
from sacbnet.errors import InputError
from sacbnet.kernels.dispatch import plain_kernels
from sacbnet.networks.transmorph import TransMorph, Up
from sacbnet.networks.weights.load import load_weights, save_weights
from sacbnet.spatial.warp import warp

TINY = TransMorphOptions(embedding=6, heads=(2, 2, 4, 4))
FACTS = {
    "licence": "CC0",
    "trained_on": "nothing",
    "spacing_mm": [1, 1, 1],
    "intensity": "[0, 1]",
    "source": "a test",
}


@pytest.fixture(scope="module")
def model():
    """Tiny, with a head that gives displacements of some voxels."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = TransMorph(TINY).eval()
        torch.nn.init.normal_(model.head.weight, std=0.05)
    return model


def images(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    low = torch.rand(2, *shape[:2], 5, 5, 5, generator=g)
    return [F.interpolate(x, shape[2:], mode="trilinear", align_corners=True) for x in low]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (TransMorphOptions(), 46_771_251),
        (TransMorphOptions(embedding=128, depths=(2, 2, 12, 2), heads=(4, 4, 8, 16)), 108_343_907),
        (TransMorphOptions(embedding=48, heads=(4, 4, 4, 4)), 11_757_195),
        (TINY, 244_527),
    ],
    ids=["default", "large", "small", "tiny"],
)
def test_parameters(options, count):
    with torch.device("meta"):
        model = TransMorph(options)
    assert sum(p.numel() for p in model.parameters()) == count
    assert list(model.buffers()) == []
    assert model.config == options


def test_an_embedding_that_cannot_be_halved_is_told():
    with pytest.raises(InputError, match="embedding"):
        TransMorphOptions(embedding=1, heads=(1, 1, 1, 1))


def test_what_each_stage_sees_and_gives(model):
    moving, fixed = images(1, 1, 64, 32, 32)
    seen = {}
    hooks = [
        module.register_forward_hook(
            lambda _, given, out, name=name: seen.__setitem__(name, (given, out))
        )
        for name, module in model.named_children()
    ]
    with torch.inference_mode():
        model(moving, fixed)
    for hook in hooks:
        hook.remove()
    given, out = ({name: both[n] for name, both in seen.items()} for n in range(2))
    maps = [tuple(x.shape[1:]) for x in out.pop("transformer")]
    assert maps == [(6, 16, 8, 8), (12, 8, 4, 4), (24, 4, 2, 2), (48, 2, 1, 1)]
    expected = {
        "up5": (24, 4),
        "up4": (12, 8),
        "up3": (6, 16),
        "up2": (3, 32),
        "up1": (16, 64),
        "level2": (3, 32),
    }
    assert {name: tuple(x.shape[1:3]) for name, x in out.items()} == expected | {
        "level1": (16, 64),
        "head": (3, 64),
    }
    both = torch.cat([moving, fixed], 1)
    assert torch.equal(given["level1"][0], both) and torch.equal(given["transformer"][0], both)
    around = both[0, :, 9:12, 5:8, 7:10].mean((1, 2, 3))  # the 3×3×3 voxels of every other one
    assert torch.allclose(given["level2"][0][0, :, 5, 3, 4], around, atol=1e-6)


def test_features_are_made_finer_about_the_centres_of_their_voxels():
    """Coarse voxel n lies between the fine ones 2n and 2n + 1: align_corners=False."""
    up = Up(1, 2, 1)
    up.blocks = torch.nn.Identity()
    ramp = torch.arange(4.0).view(1, 1, 4, 1, 1).expand(1, 1, 4, 2, 2)
    skip = torch.rand(1, 2, 8, 4, 4)
    fine = up(ramp, skip)
    assert torch.equal(fine[:, 1:], skip)
    assert torch.allclose(fine[0, 0, 1:-1, 0, 0], torch.arange(1, 7) / 2 - 0.25)


@pytest.mark.parametrize("shape", [(1, 1, 1), (33, 20, 5)])
def test_any_shape(model, shape):
    with torch.inference_mode():
        u = model(*images(1, 1, *shape))
    assert u.shape == (1, 3, *shape)
    assert torch.isfinite(u).all() and u.abs().max() > 1e-3


def test_padding_is_zeros_at_the_high_ends(model):
    moving, fixed = images(1, 1, 20, 32, 27)
    with torch.inference_mode():
        small = model(moving, fixed)
        padded = model(F.pad(moving, (0, 5, 0, 0, 0, 12)), F.pad(fixed, (0, 5, 0, 0, 0, 12)))
    assert torch.equal(small, padded[:, :, :20, :, :27])


def test_begins_near_the_identity():
    with torch.random.fork_rng([]):
        u = TransMorph(TINY).eval()(*images(1, 1, 32, 32, 32))
    assert 0 < u.abs().max() < 0.01


def test_batch_equals_singles(model):
    moving, fixed = images(2, 1, 32, 32, 32)
    with torch.inference_mode():
        together = model(moving, fixed)
        for s in range(2):
            assert torch.allclose(
                model(moving[s : s + 1], fixed[s : s + 1])[0], together[s], atol=1e-4
            )


def test_the_order_of_the_images_matters(model):
    moving, fixed = images(1, 1, 32, 32, 32)
    with torch.inference_mode():
        assert not torch.allclose(model(moving, fixed), model(fixed, moving), atol=1e-2)


def test_compiled_equals_plain(model):
    moving, fixed = images(1, 1, 32, 32, 32)
    with torch.inference_mode():
        fast = model(moving, fixed)
        with plain_kernels():
            assert torch.allclose(fast, model(moving, fixed), atol=1e-4)


def test_autocast_stays_near(model):
    moving, fixed = images(1, 1, 32, 32, 32)
    with torch.inference_mode():
        full = model(moving, fixed)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model(moving, fixed)
    assert half.dtype == torch.float32
    assert (half - full).norm() < 0.1 * full.norm()


def test_deterministic_in_evaluation_and_drops_paths_in_training():
    moving, fixed = images(1, 1, 32, 32, 32)
    with torch.random.fork_rng([]), torch.inference_mode():
        torch.manual_seed(0)
        model = TransMorph(TINY).eval()
        before = torch.get_rng_state()
        first = model(moving, fixed)
        assert torch.equal(before, torch.get_rng_state())
        torch.manual_seed(5)
        assert torch.equal(first, model(moving, fixed))
        model.train()
        drawn = []
        for seed in (1, 1, 2, 3, 4):
            torch.manual_seed(seed)
            drawn.append(model(moving, fixed))
    assert torch.equal(drawn[0], drawn[1])
    assert any(not torch.equal(drawn[0], other) for other in drawn[2:])


def test_every_parameter_learns(model):
    moving, fixed = images(1, 1, 32, 32, 32)
    model.zero_grad()
    model(moving, fixed).square().mean().backward()
    still = [
        n
        for n, p in model.named_parameters()
        if p.grad is None or not p.grad.any() or p.grad.isnan().any()
    ]
    model.zero_grad()
    assert still == []


def test_learns_which_way_a_shift_goes():
    fixed = torch.zeros(1, 1, 32, 32, 32)
    fixed[..., 10:22, 10:22, 10:22] = 1
    fixed = F.avg_pool3d(fixed, 5, 1, 2)
    moving = fixed.roll(2, 2)  # moved(p) = moving(p + u) is fixed for u = (2, 0, 0)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = TransMorph(TransMorphOptions(4, (1, 1, 1, 1), (1, 1, 1, 1), (2, 2, 2), last=4))
        optimiser = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(15):
            optimiser.zero_grad()
            F.mse_loss(warp(moving, model(moving, fixed)), fixed).backward()
            optimiser.step()
        with torch.inference_mode():
            u = model.eval()(moving, fixed)
    assert F.mse_loss(warp(moving, u), fixed) < 0.2 * F.mse_loss(moving, fixed)
    assert u[0, 0][fixed[0, 0] > 0.5].mean() == pytest.approx(2, abs=0.7)


def test_weights_survive_the_disk(model, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, model, FACTS)
    loaded, metadata = load_weights(path)
    moving, fixed = images(1, 1, 32, 32, 32)
    assert metadata.architecture == "transmorph" and loaded.config == TINY
    with torch.inference_mode():
        assert torch.equal(loaded(moving, fixed), model(moving, fixed))


def test_other_shapes_are_refused(model):
    with pytest.raises(InputError, match="were expected"):
        model(torch.zeros(1, 1, 8, 8, 8), torch.zeros(1, 1, 8, 8, 9))
