import pytest
import torch
import torch.nn.functional as F

from sacbnet.config.comparison import VoxelMorphOptions
from sacbnet.errors import InputError
from sacbnet.kernels.dispatch import plain_kernels
from sacbnet.networks.sacbnet.block import SACB
from sacbnet.networks.voxelmorph import VoxelMorph
from sacbnet.networks.weights.load import load_weights, save_weights
from sacbnet.spatial.warp import warp

SMALL = VoxelMorphOptions(encoder=(4, 6, 8), decoder=(8, 6, 5, 7, 4))
BLOCKS = VoxelMorphOptions(encoder=(4, 6), decoder=(6, 5, 4), sacb=3)
LEAST = VoxelMorphOptions(encoder=(2,), decoder=(3,))
FACTS = {
    "licence": "CC0",
    "trained_on": "nothing",
    "spacing_mm": [1, 1, 1],
    "intensity": "[0, 1]",
    "source": "a test",
}


def made(options):
    """With a head that gives displacements of some voxels."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = VoxelMorph(options).eval()
        torch.nn.init.normal_(model.head.weight, std=0.5)
    return model


@pytest.fixture(scope="module")
def model():
    return made(SMALL)


def images(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    low = torch.rand(2, *shape[:2], 5, 5, 5, generator=g)
    return [F.interpolate(x, shape[2:], mode="trilinear", align_corners=True) for x in low]


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        (VoxelMorphOptions(encoder=(8, 32, 32, 32), decoder=(32, 32, 32, 32, 32, 8, 8)), 274_387),
        (VoxelMorphOptions(), 301_411),
    ],
    ids=["VXM-1", "VXM-2"],
)
def test_parameters(options, parameters):
    with torch.device("meta"):
        model = VoxelMorph(options)
    assert count(model) == parameters
    assert list(model.buffers()) == []
    assert model.config == options


def test_what_each_stage_sees_and_gives():
    model, (moving, fixed) = made(VoxelMorphOptions()), images(1, 1, 32, 16, 16)
    seen = []
    for module in (*model.encoder, *model.decoder, model.full):
        module.register_forward_hook(lambda _, given, out: seen.append((given[0], out)))
    with torch.inference_mode():
        model(moving, fixed)
    shapes = [tuple(out.shape[1:3]) for _, out in seen]
    assert shapes[:4] == [(16, 16), (32, 8), (32, 4), (32, 2)]
    assert shapes[4:] == [(32, 2), (32, 4), (32, 8), (32, 16), (16, 32)]
    # each layer sees the enlarged output of the layer before it, and the map of its resolution
    for n in range(1, 5):
        finer = (
            seen[3 + n][1].repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
        )
        beside = seen[3 - n][1] if n < 4 else torch.cat([moving, fixed], 1)
        assert torch.equal(seen[4 + n][0], torch.cat([finer, beside], 1))


@pytest.mark.parametrize("options", [SMALL, BLOCKS, LEAST], ids=["plain", "sacb", "least"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (17, 9, 5)])
def test_any_shape(options, shape):
    with torch.inference_mode():
        u = made(options)(*images(1, 1, *shape))
    assert u.shape == (1, 3, *shape)
    assert torch.isfinite(u).all() and u.abs().max() > 1e-3


def test_padding_is_zeros_at_the_high_ends(model):
    moving, fixed = images(1, 1, 12, 16, 21)
    with torch.inference_mode():
        small = model(moving, fixed)
        padded = model(F.pad(moving, (0, 3, 0, 0, 0, 4)), F.pad(fixed, (0, 3, 0, 0, 0, 4)))
    assert torch.equal(small, padded[:, :, :12, :, :21])


def test_begins_near_the_identity():
    with torch.random.fork_rng([]):
        u = VoxelMorph(SMALL)(*images(1, 1, 16, 16, 16))
    assert 0 < u.abs().max() < 1e-3


def test_batch_equals_singles_and_repeats(model):
    moving, fixed = images(2, 1, 16, 24, 16)
    before = torch.get_rng_state()
    with torch.inference_mode():
        together = model(moving, fixed)
        assert torch.equal(together, model(moving, fixed))
        for s in range(2):
            assert torch.allclose(
                model(moving[s : s + 1], fixed[s : s + 1])[0], together[s], atol=1e-5
            )
    assert torch.equal(before, torch.get_rng_state())


def test_equivariant_to_shifts_of_the_coarsest_voxel(model):
    """No layer knows its place: away from the ends, shifted images give a shifted displacement."""
    blob = torch.zeros(2, 1, 1, 96, 8, 8)
    blob[..., 44:52, :, :] = images(1, 1, 8, 8, 8)[0]
    with torch.inference_mode():
        here, there = model(*blob), model(*blob.roll(8, 3))
    assert torch.allclose(here.roll(8, 2)[:, :, 40:64], there[:, :, 40:64], atol=1e-5)
    assert not torch.allclose(here[:, :, 40:64], there[:, :, 40:64], atol=1e-2)


def test_compiled_equals_plain(model):
    moving, fixed = images(1, 1, 16, 24, 16)
    with torch.inference_mode():
        fast = model(moving, fixed)
        with plain_kernels():
            assert torch.allclose(fast, model(moving, fixed), atol=1e-5)


def test_autocast_stays_near(model):
    moving, fixed = images(1, 1, 16, 24, 16)
    with torch.inference_mode():
        full = model(moving, fixed)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model(moving, fixed)
    assert half.dtype == torch.float32
    assert (half - full).norm() < 0.05 * full.norm()


@pytest.mark.parametrize("options", [SMALL, BLOCKS], ids=["plain", "sacb"])
def test_every_parameter_that_can_learns(options):
    model = made(options)
    model(*images(1, 1, 16, 16, 16)).square().mean().backward()
    still = [
        n
        for n, p in model.named_parameters()
        if p.grad is None or not p.grad.any() or p.grad.isnan().any()
    ]
    # a SACB projects through an instance norm, which removes the bias before it
    assert [n for n in still if not n.endswith("project.0.bias")] == []


def test_learns_which_way_a_shift_goes():
    fixed = torch.zeros(1, 1, 16, 16, 16)
    fixed[..., 5:11, 5:11, 5:11] = 1
    fixed = F.avg_pool3d(fixed, 3, 1, 1)
    moving = fixed.roll(1, 3)  # moved(p) = moving(p + u) is fixed for u = (0, 1, 0)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = VoxelMorph(SMALL)
        optimiser = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(60):
            optimiser.zero_grad()
            F.mse_loss(warp(moving, model(moving, fixed)), fixed).backward()
            optimiser.step()
        u = model(moving, fixed).detach()
    assert F.mse_loss(warp(moving, u), fixed) < 0.3 * F.mse_loss(moving, fixed)
    assert u[0, 1][fixed[0, 0] > 0.3].mean() > 0.4


def test_a_sacb_after_each_convolution_of_the_encoder():
    with torch.device("meta"):
        plain = VoxelMorph(VoxelMorphOptions(encoder=BLOCKS.encoder, decoder=BLOCKS.decoder))
        model = VoxelMorph(BLOCKS)
        blocks = sum(count(SACB(c)) for c in BLOCKS.encoder)
    assert count(model) == count(plain) + blocks
    assert [type(stage[-1]) for stage in model.encoder] == [SACB] * 2
    assert [stage[-1].cluster.clusters for stage in model.encoder] == [3] * 2
    assert not any(isinstance(m, SACB) for m in plain.modules())


@pytest.mark.parametrize("options", [SMALL, BLOCKS], ids=["plain", "sacb"])
def test_weights_survive_the_disk(options, tmp_path):
    model, path = made(options), tmp_path / "w.safetensors"
    save_weights(path, model, FACTS)
    loaded, metadata = load_weights(path)
    moving, fixed = images(1, 1, 16, 16, 16)
    assert metadata.architecture == "voxelmorph" and loaded.config == options
    with torch.inference_mode():
        assert torch.equal(loaded(moving, fixed), model(moving, fixed))


def test_other_shapes_are_refused(model):
    with pytest.raises(InputError, match="were expected"):
        model(torch.zeros(1, 1, 8, 8, 8), torch.zeros(1, 1, 8, 8, 9))
