"""The network against its definitions (`reference.py`), and against a recorded forward pass.

Both need nothing but this repository. They catch what every other test lets pass: the order of
fixed and moving features, the order of concatenation, a scale of the head, another function of the
taps, clusters merged where their number is fixed.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.networks.sacbnet.network import SACBNet

SPEC = importlib.util.spec_from_file_location("reference", Path(__file__).with_name("reference.py"))
reference = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reference)

SIDES = ("fixed", "moving")  # the order of the network's batches
CLOSE = 1e-4  # voxels


def assert_close(found, expected):
    """Equal within 1e-4 voxels, in float32 but for 0.5% of the values, which are within 0.05.

    Float32 misses 1e-4 where a displacement of ten voxels fades to 0 within one voxel at a face:
    there the rounding of a step counts tenfold. 0.04% of the values missed it, by 4e-4 at most; the
    rest is for processors that round otherwise.
    """
    error = (found.double() - expected.double()).abs()
    if found.dtype == torch.float64:
        assert error.max() < CLOSE
    assert (error > CLOSE).double().mean() < 0.005
    assert error.max() < 0.05


@pytest.fixture(scope="module")
def pair():
    return reference.images(reference.draw_pair())


@pytest.fixture(scope="module")
def recorded():
    with np.load(reference.RECORDED) as file:
        return dict(file)


def drawn(**options):
    """A network with drawn weights, and these weights."""
    options = reference.PUBLISHED | {"kmeans_rounds": 4_000} | options  # until nothing changes
    network = SACBNet(SACBNetConfig.from_dict(options)).eval()
    state = reference.draw_state({n: tuple(p.shape) for n, p in network.state_dict().items()})
    network.load_state_dict(state)
    return network, state


def find_seeds(network, pair):
    """Voxels for K-means to start from: those nearest to the centres of K-means with its own seeds.

    Any voxels do, if no cluster gets empty on the way.
    """
    seeds = {}

    def note(level, descriptor, found):
        rows = descriptor.flatten(2).transpose(1, 2)
        for side, of_side, centres in zip(SIDES, rows, found.centres, strict=True):
            seeds[f"{side}{level}"] = torch.cdist(centres, of_side).argmin(1).tolist()

    hooks = [
        network.get_submodule(f"sacb{level}.cluster").register_forward_hook(
            lambda _module, inputs, found, level=level: note(level, inputs[0], found)
        )
        for level in network.config.sacb_levels
    ]
    with torch.inference_mode():
        network(*pair)
    for hook in hooks:
        hook.remove()
    return seeds


def give_seeds(network, seeds):
    """Let K-means start from these voxels."""
    for level in network.config.sacb_levels:
        both = torch.tensor([seeds[f"{side}{level}"] for side in SIDES])
        cluster = network.get_submodule(f"sacb{level}.cluster")
        cluster.register_forward_pre_hook(lambda _module, inputs, both=both: (*inputs, both))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"descriptor": "channel"},
        {"descriptor": "both", "sacb_levels": [3, 5]},
        {"sacb_levels": []},
    ],
)
def test_the_network_is_what_its_definitions_say(pair, options, dtype):
    network, state = drawn(**options)
    seeds = find_seeds(network, pair)
    moving, fixed = (image.double() for image in pair)
    expected = reference.displacement(
        {name: p.double() for name, p in state.items()},
        moving[0], fixed[0], seeds, network.config.sacb_levels, network.config.descriptor,
    )  # fmt: skip
    give_seeds(network.to(dtype), seeds)
    with torch.inference_mode():
        found = network(*(image.to(dtype) for image in pair))[0]
    assert expected.abs().max() > 3  # voxels: the pass moves something
    assert_close(found.to(dtype), expected)


@pytest.mark.parametrize("form", reference.FORMS)
def test_the_network_is_what_was_recorded(recorded, form):
    network = reference.build_form(form)
    assert str(recorded[f"{form}/weights"]) == reference.digest(network.state_dict())
    with torch.inference_mode():
        u = network(*reference.images([recorded["moving"], recorded["fixed"]]))[0]
    found = u[:, :: reference.STRIDE, :: reference.STRIDE, :: reference.STRIDE]
    expected = torch.tensor(recorded[f"{form}/displacement"])
    assert_close(found, expected)


def test_the_recorded_pair_is_the_one_that_is_drawn(recorded):
    for drawn_image, name in zip(reference.draw_pair(), ("moving", "fixed"), strict=True):
        assert np.array_equal(drawn_image, recorded[name])
    assert reference.RECORDED.stat().st_size < 200_000
