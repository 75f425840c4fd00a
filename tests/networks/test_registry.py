"""A network from outside joins by the entry point `sacbnet.networks`; no line here changes."""

import sys
from textwrap import dedent

import pytest
import torch
from safetensors.torch import load_file

import sacbnet
from sacbnet.config import registry
from sacbnet.config.recipe import read_recipe, recipe_from_dict
from sacbnet.config.registry import architectures, options_of
from sacbnet.errors import InputError
from sacbnet.networks.registry import build
from sacbnet.networks.weights.load import describe_weights, load_weights
from sacbnet.training.loop import train
from sacbnet.training.team import Team

OPTIONS = """
    from dataclasses import dataclass
    from typing import ClassVar

    from sacbnet.config.network import NetworkOptions


    @dataclass(frozen=True)
    class TinyOptions(NetworkOptions):
        architecture: ClassVar[str] = "tiny"
        implementation: ClassVar[str] = "guest.network:Tiny"

        width: int = 3


    @dataclass(frozen=True)
    class LostOptions(NetworkOptions):
        architecture: ClassVar[str] = "lost"
        implementation: ClassVar[str] = "guest.nowhere:Lost"


    @dataclass(frozen=True)
    class NoModuleOptions(NetworkOptions):
        architecture: ClassVar[str] = "no-module"
        implementation: ClassVar[str] = "guest.network:NoModule"


    @dataclass(frozen=True)
    class ForgetfulOptions(NetworkOptions):
        architecture: ClassVar[str] = "forgetful"
        implementation: ClassVar[str] = "guest.network:Forgetful"
"""
NETWORK = """
    import torch
    from torch import nn

    from sacbnet.networks.contract import check_pair


    class Tiny(nn.Module):
        def __init__(self, options):
            super().__init__()
            self.config = options
            self.first = nn.Conv3d(2, options.width, 3, padding=1)
            self.last = nn.Conv3d(options.width, 3, 3, padding=1)

        def forward(self, moving, fixed):
            check_pair(moving, fixed)
            return self.last(torch.relu(self.first(torch.cat([moving, fixed], 1)))).float()


    class Forgetful(Tiny):
        def __init__(self, options):
            super().__init__(type("Other", (), {"width": 2}))


    class NoModule:
        def __init__(self, options):
            self.config = options
"""
ENTRY_POINTS = """
    [sacbnet.networks]
    tiny = guest.options:TinyOptions
    lost = guest.options:LostOptions
    no-module = guest.options:NoModuleOptions
    forgetful = guest.options:ForgetfulOptions
    absent = guest.elsewhere:Options
    misnamed = guest.options:TinyOptions
"""


@pytest.fixture
def guest(tmp_path, monkeypatch):
    """An installed package with networks, as pip leaves it in site-packages."""
    site = tmp_path / "site-packages"
    for name, text in {
        "guest/__init__.py": "",
        "guest/options.py": OPTIONS,
        "guest/network.py": NETWORK,
        "guest-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: guest\nVersion: 1.0\n",
        "guest-1.0.dist-info/entry_points.txt": ENTRY_POINTS,
    }.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(dedent(text))
    monkeypatch.syspath_prepend(site)
    known = [f for f in (registry.architectures, registry.options_of) if hasattr(f, "cache_clear")]
    for found in known:
        found.cache_clear()
    yield site
    for found in known:
        found.cache_clear()
    for module in [name for name in sys.modules if name.split(".")[0] == "guest"]:
        del sys.modules[module]


def test_it_trains_is_saved_and_loaded_and_registers_a_pair(guest, recipe, pack, pair, tmp_path):
    assert "tiny" in architectures()
    tree = recipe.to_dict() | {"model": {"architecture": "tiny", "width": 4}}
    tree["run"] |= {"steps": 2, "validate_every": 2, "checkpoint_every": 2, "log_every": 1}
    outcome = train(recipe_from_dict(tree), pack, tmp_path / "run", Team(), say=lambda line: None)
    assert outcome.state.step == 2

    written = describe_weights(tmp_path / "run")
    assert (written.architecture, written.options.to_dict()) == ("tiny", {"width": 4})
    assert written.parameters == (27 * 2 + 1) * 4 + (27 * 4 + 1) * 3
    assert read_recipe(tmp_path / "run" / "recipe.toml").model == options_of("tiny")(width=4)

    network, _ = load_weights(tmp_path / "run" / "last.safetensors")
    assert type(network).__name__ == "Tiny" and network.config == options_of("tiny")(width=4)
    state = load_file(tmp_path / "run" / "last.safetensors")
    assert all(torch.equal(state[n], p) for n, p in network.state_dict().items())
    with torch.random.fork_rng():
        torch.manual_seed(recipe.run.seed)
        untrained = build(network.config).state_dict()
    for name, p in state.items():  # two steps of Adam from the weights of the seed
        assert 0 < (untrained[name] - p).abs().max() <= 2 * recipe.optimiser.learning_rate

    found = sacbnet.register(
        fixed=pair.fixed, moving=pair.aligned, weights=tmp_path / "run", affine="none", refine=3
    )
    assert found.report.weights.architecture == "tiny"
    assert found.report.weights.sha256 == describe_weights(tmp_path / "run").sha256


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lost", r"'lost' names 'guest.nowhere:Lost'.*No module.*package.module:Class"),
        ("no-module", r"guest.network:NoModule gave a NoModule; a torch.nn.Module was expected"),
        ("forgetful", r"guest.network:Forgetful has another `config`.*self.config = options"),
    ],
)
def test_a_network_that_breaks_the_contract_is_named(guest, name, message):
    with pytest.raises(InputError, match=message):
        build(options_of(name)())


@pytest.mark.parametrize("name", ["absent", "misnamed"])
def test_options_that_cannot_be_used_are_named(guest, name):
    with pytest.raises(InputError, match=rf"'{name}' \(guest\."):
        options_of(name)


def test_without_its_package_the_network_is_not_known():
    with pytest.raises(InputError, match="'tiny'"):
        options_of("tiny")
