"""The parts of the transformer, compared with brute force and with MONAI's transformer."""

import itertools

import pytest
import torch

from sacbnet.config.comparison import TransMorphOptions
from sacbnet.networks.swin import (
    Block,
    DropPath,
    Merge,
    Swin,
    WindowAttention,
    from_windows,
    offsets,
    sides,
    to_windows,
)

WINDOW = (2, 3, 4)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        yield


def changed(module, size, at):
    """Where the output differs once one voxel of the input does: bool (i, j, k)."""
    x = torch.randn(1, *size, 8)
    y = x.clone()
    y[(0, *at)] += 1
    with torch.inference_mode():
        return (module(x) != module(y)).any(-1)[0]


def group(size, shift):
    """The window of each voxel, none of which reaches past an end: three numbers (i, j, k, 3)."""
    axes = [
        (torch.arange(n) - s).div(w, rounding_mode="floor")
        for n, s, w in zip(size, shift, WINDOW, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def test_windows_are_boxes_and_hold_each_voxel_once():
    size = (4, 9, 8)
    x = torch.arange(2 * 4 * 9 * 8).view(2, *size, 1)
    windows = to_windows(x, WINDOW)
    assert windows.shape == (2, 2 * 3 * 2, 2 * 3 * 4, 1)
    assert windows.unique().numel() == x.numel()
    assert torch.equal(windows[1, 1 * 6 + 2 * 2 + 1], x[1, 2:4, 6:9, 4:8].reshape(-1, 1))
    assert torch.equal(from_windows(windows, WINDOW, size), x)


def test_equal_offsets_have_equal_numbers():
    numbers = offsets(WINDOW, CPU)
    positions = list(itertools.product(*map(range, WINDOW)))
    found = {}
    for (a, p), (b, q) in itertools.product(enumerate(positions), repeat=2):
        found.setdefault(tuple(x - y for x, y in zip(p, q, strict=True)), set()).add(
            int(numbers[a, b])
        )
    assert all(len(values) == 1 for values in found.values())
    assert sorted(v for values in found.values() for v in values) == list(range(3 * 5 * 7))


@pytest.mark.parametrize("at", [(0, 0, 0), (3, 8, 7), (1, 4, 5)])
@pytest.mark.parametrize("shifted", [False, True])
def test_a_voxel_reaches_its_window_and_not_past_the_seam(shifted, at):
    size = (4, 9, 8)
    attention = WindowAttention(8, 2, WINDOW, shifted)
    assert attention.shift == ((1, 1, 2) if shifted else (0, 0, 0))
    windows = group(size, attention.shift)
    expected = (windows == windows[at]).all(-1)
    assert 0 < expected.sum() < expected.numel()
    assert torch.equal(changed(attention, size, at), expected)


def test_sides_of_the_seams():
    side = sides((4, 6, 8), (1, 0, 2), CPU)[0, ..., 0]
    assert side.unique().tolist() == [0, 1, 4, 5]
    assert side[2, 5, 5] == 0 and side[3, 0, 5] == 4 and side[2, 0, 6] == 1 and side[3, 5, 7] == 5


def test_the_end_of_an_incomplete_window_is_zeros():
    """A size that windows do not divide: the same as with those zeros, and the rest cut off."""
    attention = WindowAttention(8, 2, WINDOW, shifted=True)
    x = torch.randn(1, 3, 7, 5, 8)
    whole = torch.zeros(1, 4, 9, 8, 8)
    whole[:, :3, :7, :5] = x
    with torch.inference_mode():
        assert torch.allclose(attention(x), attention(whole)[:, :3, :7, :5], atol=1e-6)


def test_equivariant_to_whole_windows():
    """Positions count within a window only."""
    block = Block(8, 2, WINDOW, shifted=False, drop=0).eval()
    x = torch.randn(1, 4, 9, 8, 8)
    with torch.inference_mode():
        assert torch.allclose(
            block(x.roll(WINDOW, (1, 2, 3))), block(x).roll(WINDOW, (1, 2, 3)), atol=1e-6
        )


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("size", [(4, 9, 8), (3, 5, 7)])
def test_block_equals_monai(size, shifted):
    monai = pytest.importorskip("monai.networks.nets.swin_unetr")
    mine = Block(8, 2, WINDOW, shifted, drop=0)
    torch.nn.init.normal_(mine.attention.bias)
    shift = tuple(w // 2 if shifted else 0 for w in WINDOW)
    theirs = monai.SwinTransformerBlock(8, 2, WINDOW, shift, qkv_bias=False)
    pairs = [
        (theirs.norm1, mine.norm1), (theirs.attn.qkv, mine.attention.qkv),
        (theirs.attn.proj, mine.attention.project), (theirs.norm2, mine.norm2),
        (theirs.mlp.linear1, mine.mlp[0]), (theirs.mlp.linear2, mine.mlp[2]),
    ]  # fmt: skip
    for to, of in pairs:
        to.load_state_dict(of.state_dict())
    theirs.attn.relative_position_bias_table.data = mine.attention.bias.data
    assert sum(p.numel() for p in mine.parameters()) == sum(p.numel() for p in theirs.parameters())
    x = torch.randn(2, *size, 8)
    whole = [w * -(-n // w) for n, w in zip(size, WINDOW, strict=True)]
    with torch.inference_mode():
        expected = theirs(x, monai.compute_mask(whole, WINDOW, shift, "cpu"))
        assert torch.allclose(mine(x), expected, atol=1e-5)


def test_merge_equals_monai():
    monai = pytest.importorskip("monai.networks.nets.swin_unetr")
    mine, theirs = Merge(3), monai.PatchMergingV2(3)
    theirs.norm.load_state_dict(mine.norm.state_dict())
    theirs.reduction.load_state_dict(mine.project.state_dict())
    x = torch.randn(2, 4, 6, 8, 3)
    assert mine(x).shape == (2, 2, 3, 4, 6)
    assert torch.allclose(mine(x), theirs(x), atol=1e-6)


def test_blocks_take_turns_and_drop_more_the_deeper_they_are():
    swin = Swin(2, TransMorphOptions(embedding=8, depths=(1, 2, 3, 1)))
    blocks = [block for stage in swin.stages for block in stage]
    assert [any(b.attention.shift) for b in blocks] == [
        False,
        False,
        True,
        False,
        True,
        False,
        False,
    ]
    assert [b.drop.rate for b in blocks] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3])


def test_stages():
    swin = Swin(2, TransMorphOptions(embedding=8, window=WINDOW)).eval()
    with torch.inference_mode():
        maps = swin(torch.randn(2, 2, 64, 32, 32))
    assert [m.shape for m in maps] == [
        (2, 8 * 2**s, 16 // 2**s, 8 // 2**s, 8 // 2**s) for s in range(4)
    ]
    for m in maps:  # the norm of each stage: over the channels of a voxel
        assert m.mean(1).abs().max() < 1e-5


def test_drop_path_drops_whole_samples_in_training_alone():
    drop, x = DropPath(0.25), torch.rand(400, 2, 1, 1, 3) + 1
    ratio = (drop(x) / x).flatten(1)
    kept = ratio[:, 0] > 0
    assert 0.6 < kept.float().mean() < 0.9
    assert torch.allclose(ratio, kept[:, None] * (4 / 3), atol=1e-6)
    assert torch.equal(drop.eval()(x), x)
