"""Every network of the package satisfies `networks/contract.py`, point by point."""

import pytest
import torch
import torch.nn.functional as F

from sacbnet.config.registry import BUILT_IN, options_of
from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.errors import InputError
from sacbnet.networks.contract import check_pair, pad_to
from sacbnet.networks.registry import build

SMALL = {
    "voxelmorph": {"encoder": [4, 4], "decoder": [4, 4, 4]},
    "transmorph": {"embedding": 8, "depths": [1, 1, 1, 1], "heads": [1, 1, 2, 2], "last": 4},
    "lapirn": {"channels": 4},
}
OPTIONS = {name: options_of(name).from_dict(SMALL.get(name, {})) for name in BUILT_IN}
OPTIONS |= {
    "symmetric": SACBNetConfig(symmetric=True, diffeomorphic=True),
    "beyond": SACBNetConfig(assignment="soft", number="image", level1="both", window=5),
}


@pytest.fixture(scope="module")
def networks():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {name: build(options).eval() for name, options in OPTIONS.items()}


def pair(size, batch=1, seed=0):
    low = torch.rand(2, batch, 1, 4, 4, 4, generator=torch.Generator().manual_seed(seed))
    return [F.interpolate(x, size, mode="trilinear", align_corners=True) for x in low]


@pytest.mark.parametrize("name", OPTIONS)
def test_it_is_built_from_its_options_and_keeps_them(networks, name):
    assert networks[name].config is OPTIONS[name]
    with torch.device("meta"):
        shapes = {n: p.shape for n, p in build(OPTIONS[name]).state_dict().items()}
    assert shapes == {n: p.shape for n, p in networks[name].state_dict().items()}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("size", [(33, 20, 17), (5, 40, 9)])
def test_any_size_gives_a_displacement_of_that_size(networks, name, size):
    state = torch.get_rng_state()
    with torch.inference_mode():
        u = networks[name](*pair(size))
        again = networks[name](*pair(size))
    assert u.shape == (1, 3, *size) and u.dtype == torch.float32
    assert u.isfinite().all() and u.any()
    assert torch.equal(u, again) and torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", OPTIONS)
def test_a_sample_gives_what_it_gives_alone(networks, name):
    moving, fixed = pair((32, 16, 24), batch=2)
    with torch.inference_mode():
        both = networks[name](moving, fixed)
        alone = [networks[name](moving[s : s + 1], fixed[s : s + 1]) for s in range(2)]
    assert not torch.allclose(both[0], both[1], atol=1e-6)
    torch.testing.assert_close(both, torch.cat(alone), atol=1e-2, rtol=1e-3)  # other rounding


@pytest.mark.parametrize("name", OPTIONS)
def test_what_is_no_pair_is_refused(networks, name):
    with pytest.raises(InputError, match=r"\(1, 1, 8, 8, 9\).*were expected.*resample"):
        networks[name](torch.zeros(1, 1, 8, 8, 8), torch.zeros(1, 1, 8, 8, 9))


def test_the_size_of_a_pair():
    assert check_pair(torch.zeros(2, 1, 3, 4, 5), torch.zeros(2, 1, 3, 4, 5)) == (3, 4, 5)
    for shape in ((1, 2, 3, 4, 5), (3, 4, 5), (1, 1, 3, 0, 5)):
        with pytest.raises(InputError, match="were expected"):
            check_pair(torch.zeros(shape), torch.zeros(shape))


@pytest.mark.parametrize(
    ("size", "least", "expected"),
    [
        ((16, 16, 16), 1, (16, 16, 16)),
        ((17, 1, 32), 1, (32, 16, 32)),
        ((17, 1, 32), 32, (32, 16, 32)),
        ((16, 8, 3), 32, (32, 32, 32)),
        ((16, 8, 3), 33, (48, 48, 48)),
    ],
)
def test_padding_is_zeros_at_the_high_ends(size, least, expected):
    image = torch.ones(1, 2, *size)
    padded = pad_to(image, 16, least=least)
    assert padded.shape == (1, 2, *expected)
    assert torch.equal(padded[:, :, : size[0], : size[1], : size[2]], image)
    assert padded.sum() == image.sum()
