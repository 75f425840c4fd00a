from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sacbnet.config.comparison import ModeTOptions
from sacbnet.errors import InputError
from sacbnet.networks.modet import Attention, Competition, ModeT, added, attend
from sacbnet.networks.registry import build
from sacbnet.networks.sacbnet.encoder import Block
from sacbnet.networks.weights.load import load_weights, save_weights
from sacbnet.ops.matching import match
from sacbnet.spatial.warp import warp

FACTS = {
    "licence": "CC0",
    "trained_on": "nothing",
    "spacing_mm": [1, 1, 1],
    "intensity": "[0, 1]",
    "source": "a test",
}
VERSIONS = pytest.mark.parametrize("version", [1, 2])


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def images(*shape, seed=0):
    return noise(2, *shape, seed=seed).sigmoid().unbind()


def new(version=1, channels=2):
    """A network whose displacements are of some voxels: as it begins it hardly moves anything."""
    torch.manual_seed(0)
    model = ModeT(ModeTOptions(channels, version)).eval()
    for module in model.modules():
        if isinstance(module, Attention):
            nn.init.normal_(module.project[0].weight)
            nn.init.normal_(module.bias)
    if version == 2:
        for level in range(1, 6):
            nn.init.normal_(model.get_submodule(f"merge{level}").weight, std=0.1)
    return model


@pytest.mark.parametrize(
    ("channels", "version", "count"),
    [(4, 1, 1_029_670), (8, 1, 3_690_102), (4, 2, 896_551), (2, 2, 229_835), (8, 2, 3_554_495)],
)
def test_parameters_are_as_many_as_published(channels, version, count):
    with torch.device("meta"):
        model = build(ModeTOptions(channels, version))
    assert sum(p.numel() for p in model.parameters()) == count
    assert list(model.buffers()) == []
    assert model.config == ModeTOptions(channels, version)


def naive(key, query, bias):
    n, _, i, j, k = query.shape
    padded = F.pad(key, (1,) * 6)
    out = query.new_zeros(n, 3, i, j, k)
    offsets = torch.tensor(
        [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)]
    ).to(query)
    for s in range(n):
        for x in range(i):
            for y in range(j):
                for z in range(k):
                    window = padded[s, :, x : x + 3, y : y + 3, z : z + 3].flatten(1)
                    out[s, :, x, y, z] = (
                        torch.softmax(query[s, :, x, y, z] @ window + bias[s], 0) @ offsets
                    )
    return out


@pytest.mark.parametrize("size", [(4, 3, 5), (1, 6, 2)])
def test_attention_equals_explicit_loops(size):
    key, query = noise(2, 3, 6, *size, dtype=torch.float64)
    bias = noise(3, 27, seed=1, dtype=torch.float64)
    torch.testing.assert_close(attend(key, query, bias), naive(key, query, bias))
    torch.testing.assert_close(attend(key, query, 0 * bias), match(key, query))


def test_attention_has_gradients():
    key, query = noise(2, 1, 2, 2, 1, 2, dtype=torch.float64).requires_grad_(True)
    bias = noise(1, 27, seed=1, dtype=torch.float64).requires_grad_(True)
    assert torch.autograd.gradcheck(attend, (key, query, bias))


def test_heads_are_projected_normalised_and_matched_each_by_itself():
    torch.manual_seed(0)
    attention = Attention(5, heads=3)
    for p in attention.parameters():
        nn.init.normal_(p)
    moving, fixed = noise(2, 2, 5, 3, 4, 3)
    linear, norm = attention.project
    found = attention(moving, fixed)
    assert found.shape == (2, 9, 3, 4, 3)
    projected = []
    for x in (moving, fixed):
        y = torch.einsum("bcijk,dc->bdijk", x, linear.weight) + linear.bias.reshape(-1, 1, 1, 1)
        y = (y - y.mean(1, keepdim=True)) / (y.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        projected.append(y * norm.weight.reshape(-1, 1, 1, 1) + norm.bias.reshape(-1, 1, 1, 1))
    for head in range(3):
        key, query = (x[:, 6 * head : 6 * head + 6] for x in projected)
        expected = naive(key, query, attention.bias[head].expand(2, 27))
        torch.testing.assert_close(
            found[:, 3 * head : 3 * head + 3], expected, atol=1e-5, rtol=1e-5
        )


def test_competition_chooses_between_the_heads():
    torch.manual_seed(0)
    merge = Competition(4)
    offsets = noise(2, 12, 4, 4, 4)
    with torch.no_grad():
        merge.weigh[-1].weight.zero_()
        merge.weigh[-1].bias.zero_()
        fine = 2 * F.interpolate(offsets, scale_factor=2, mode="trilinear", align_corners=True)
        torch.testing.assert_close(merge(offsets), fine.reshape(2, 4, 3, 8, 8, 8).mean(1))
        merge.weigh[-1].bias[2] = 50
        torch.testing.assert_close(merge(offsets), fine[:, 6:9])


@VERSIONS
def test_a_new_network_hardly_moves_anything(version):
    u = ModeT(ModeTOptions(2, version))(*images(1, 1, 32, 32, 32))
    assert u.abs().max() < 0.1


def attentions(model):
    return [model.attend1, model.attend2, model.attend3, model.attend4, model.attend5]


def averaging(model):
    """The heads' mean in place of the convolutions of version 2; version 1 begins near it."""
    if model.config.version == 2:
        for merge in (model.merge1, model.merge2, model.merge3, model.merge4, model.merge5):
            nn.init.zeros_(merge.weight)
            for axis in range(3):
                merge.weight.data[axis, axis::3, 1, 1, 1] = 3 / merge.in_channels


def test_a_step_comes_before_what_the_coarser_levels_found():
    """moved(p) = moving(p + step + u(p + step)), the step on either lattice."""
    u, step, finer = (
        noise(1, 3, 5, 6, 4),
        noise(1, 3, 5, 6, 4, seed=1),
        noise(1, 3, 10, 12, 8, seed=2),
    )

    def double(field):
        return F.interpolate(2 * field, scale_factor=2, mode="trilinear", align_corners=True)

    torch.testing.assert_close(added(u, step), double(step + warp(u, step)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        added(u, finer), finer + warp(double(u), finer), atol=1e-5, rtol=1e-5
    )


@VERSIONS
def test_the_steps_of_all_levels_add_up(version):
    """One voxel at each of the five levels is 31 voxels, along the axis that attention sees."""
    model = ModeT(ModeTOptions(2, version)).eval()
    averaging(model)
    for attention in attentions(model):
        nn.init.constant_(attention.bias[:, 9 * 2 + 3 * 1 + 0], 100)  # offset (1, 0, -1)
    with torch.inference_mode():
        u = model(*images(1, 1, 32, 32, 32))
    assert u[0, 0].max() == pytest.approx(31, abs=0.01) and u[0, 0].min() >= 0
    assert u[0, 1].abs().max() < 0.01
    assert u[0, 2].min() == pytest.approx(-31, abs=0.01) and u[0, 2].max() <= 0


def hold_still(attention):
    nn.init.zeros_(attention.bias)
    nn.init.constant_(attention.bias[:, 13], 1e4)  # offset 0


@VERSIONS
def test_each_level_matches_the_moving_features_to_the_fixed_ones(version):
    model = new(version)
    averaging(model)
    moving, fixed = images(1, 1, 32, 32, 32)
    seen = []
    for attention in attentions(model):
        hold_still(attention)
        attention.register_forward_pre_hook(lambda _, pair: seen.append(pair))
    with torch.inference_mode():
        assert model(moving, fixed).abs().max() < 1e-4
        of_fixed, of_moving = model.encoder(fixed), model.encoder(moving)
    for level, (m, f) in enumerate(reversed(seen)):
        assert f.shape[1:] == (2 * 2 ** (level + 1), *[32 // 2**level] * 3)
        torch.testing.assert_close(m, of_moving[level], atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(f, of_fixed[level], atol=1e-3, rtol=1e-3)


@VERSIONS
@pytest.mark.parametrize(("level", "axis"), [(1, 0), (2, 1), (2, 2)])
def test_a_shift_is_found_by_the_level_of_its_size(version, level, axis):
    """Random features tell voxels apart; a bias keeps the other levels from moving."""
    model = new(version, channels=4)
    averaging(model)
    for n, attention in enumerate(attentions(model), 1):
        hold_still(attention)
        if n == level:
            nn.init.zeros_(attention.bias)
            nn.init.constant_(attention.project[1].weight, 15)
    moving, _ = images(1, 1, 32, 32, 32)
    step = 2 ** (level - 1)
    fixed = moving.roll(-step, 2 + axis)  # fixed(p) = moving(p + step)
    with torch.inference_mode():
        u = model(moving, fixed)[0, :, 8:-8, 8:-8, 8:-8]
    expected = torch.zeros(3)
    expected[axis] = step
    torch.testing.assert_close(u.flatten(1).median(1).values, expected, atol=0.02, rtol=0)


@VERSIONS
@pytest.mark.parametrize("shape", [(1, 1, 1), (17, 30, 5), (33, 16, 20)])
def test_any_size_is_padded_at_the_high_ends(version, shape):
    model = new(version)
    moving, fixed = images(1, 1, *shape)
    # Padding goes up to multiples of 16. If no axis then has 32 voxels, all get 32, because the
    # norms need two voxels at level 5.
    size = [max(16 * -(-n // 16), 32 if max(shape) <= 16 else 0) for n in shape]
    i, j, k = (to - n for to, n in zip(size, shape, strict=True))
    with torch.inference_mode():
        u = model(moving, fixed)
        whole = model(F.pad(moving, (0, k, 0, j, 0, i)), F.pad(fixed, (0, k, 0, j, 0, i)))
    assert u.shape == (1, 3, *shape) and whole.shape[2:] == tuple(size)
    assert torch.isfinite(u).all() and u.abs().max() > 0.1
    assert torch.equal(u, whole[..., : shape[0], : shape[1], : shape[2]])


@VERSIONS
def test_batch_equals_singles(version):
    model = new(version)
    moving, fixed = images(2, 1, 32, 16, 16)
    with torch.inference_mode():
        together = model(moving, fixed)
        for s in range(2):
            alone = model(moving[s : s + 1], fixed[s : s + 1])
            # other batch, other rounding; fields are of size 1
            assert (alone[0] - together[s]).abs().max() < 1e-2
    assert (together[0] - together[1]).abs().max() > 0.5


@VERSIONS
def test_every_parameter_that_can_learns(version):
    torch.manual_seed(0)
    model = ModeT(ModeTOptions(2, version))
    u = model(*images(1, 1, 32, 32, 32))
    (u * noise(*u.shape, seed=1)).mean().backward()
    # a bias before an instance norm cancels
    cancels = {id(m[0].bias) for m in model.modules() if isinstance(m, Block)}
    for name, p in model.named_parameters():
        assert p.grad is not None and torch.isfinite(p.grad).all(), name
        assert p.grad.any() or id(p) in cancels, name


@VERSIONS
def test_autocast_stays_near(version):
    model = new(version)
    moving, fixed = images(1, 1, 32, 16, 16)
    with torch.inference_mode():
        full = model(moving, fixed)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model(moving, fixed)
    assert half.dtype == torch.float32 and torch.isfinite(half).all()
    assert (half - full).abs().mean() < 0.2 * full.abs().mean()


@VERSIONS
def test_weights_survive_the_file(version, tmp_path):
    model = new(version)
    save_weights(tmp_path / "w.safetensors", model, FACTS)
    loaded, metadata = load_weights(tmp_path / "w.safetensors")
    assert metadata.architecture == "modet" and loaded.config == model.config
    moving, fixed = images(1, 1, 16, 16, 16)
    with torch.inference_mode():
        assert torch.equal(loaded(moving, fixed), model(moving, fixed))


def test_shapes_that_are_no_pair_are_refused():
    with pytest.raises(InputError, match="were expected"):
        ModeT(ModeTOptions(1))(torch.zeros(1, 1, 8, 8, 8), torch.zeros(1, 1, 8, 8, 9))
