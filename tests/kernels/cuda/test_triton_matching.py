import pytest
import torch

from sacbnet.ops import matching

from .conftest import assert_alike, outcome

# the definition itself, whatever form serves on this machine
plain = getattr(matching, "match_plain", matching.match)
LAST = torch.channels_last_3d


def case(device, b=2, c=3, size=(3, 2, 5), scale=1.0, dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    return [(scale * torch.randn(b, c, *size, generator=g)).to(device, dtype) for _ in range(2)]


def results(function, moving, fixed):
    return outcome(function, {"moving": moving, "fixed": fixed})


CASES = {
    "batch of three": {"b": 3, "c": 3, "size": (1, 3, 5)},
    "two blocks of voxels": {"b": 1, "c": 16, "size": (3, 5, 4), "scale": 0.5},
    "eight channels": {"c": 8, "size": (5, 2, 1)},
    "twenty channels": {"b": 1, "c": 20, "size": (3, 3, 3), "scale": 0.5},
}


@pytest.mark.parametrize("name", CASES)
def test_equals_the_plain_form(match_module, device, name):
    volumes = case(device, **CASES[name])
    assert_alike(results(match_module.match, *volumes), results(plain, *volumes), 1e-5)


@pytest.mark.parametrize("size", [(1, 3, 6), (5, 2, 3)])  # thinner than the window, and as wide
def test_a_window_of_five(match_module, device, size):
    volumes = case(device, b=1, c=3, size=size, scale=3.0)
    found = results(lambda *v: match_module.match(*v, 5), *volumes)
    assert_alike(found, results(lambda *v: plain(*v, 5), *volumes), 1e-5)
    assert float(found["output"].abs().max()) > 1


def test_one_voxel_stays(match_module, device):
    # all candidates but itself are zeros beyond the edge: the opposite ones cancel
    found = results(match_module.match, *case(device, b=1, size=(1, 1, 1)))
    assert all(t.abs().max() < 1e-6 for t in found.values())


def test_comes_out_the_same_each_time(match_module, device):
    volumes = case(device, b=1)
    first, second = (results(match_module.match, *volumes) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("form", ["channels last", "slices", "one of each"])
def test_any_layout(match_module, device, form):
    moving, fixed = case(device, b=1, c=8, size=(2, 3, 4))
    if form != "slices":
        fixed = fixed.contiguous(memory_format=LAST)
    if form == "channels last":
        moving = moving.contiguous(memory_format=LAST)
    if form == "slices":
        moving = torch.cat([moving, moving], 4)[..., 2:6]
    found = results(match_module.match, moving, fixed)
    assert_alike(found, results(plain, moving, fixed), 1e-5)


def test_half_precision(match_module, device):
    moving, fixed = case(device, b=1, c=16, size=(2, 3, 3), scale=0.5, dtype=torch.bfloat16)
    with torch.autocast(device, dtype=torch.bfloat16):
        found = results(match_module.match, moving, fixed)
    exact = results(plain, moving.float(), fixed.float())
    assert found["output"].dtype == torch.float32
    assert found["moving"].dtype == found["fixed"].dtype == torch.bfloat16
    assert_alike({"output": found["output"]}, {"output": exact["output"]}, 1e-5)
    assert_alike(found, exact, 1e-2)


def test_scores_beyond_half_precision_do_not_overflow(match_module, device):
    moving = torch.full((1, 64, 2, 2, 2), 100.0, dtype=torch.float16, device=device)
    found = results(match_module.match, moving, moving)
    assert_alike({"output": found["output"]}, {"output": plain(moving, moving)}, 1e-5)
    assert all(torch.isfinite(t).all() for t in found.values())


def test_refuses_what_it_would_have_to_round(match_module, device):
    with pytest.raises(TypeError, match="float64"):
        match_module.match(*case(device, dtype=torch.float64))
