"""Weights by name: the meaning of names, the check of the hash, new entries of the catalogue."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sacbnet.config.recipe import read_recipe
from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.errors import WeightsError
from sacbnet.networks.registry import build
from sacbnet.networks.sacbnet.network import SACBNet
from sacbnet.networks.weights import catalogue
from sacbnet.networks.weights.catalogue import (
    default,
    entries,
    find,
    lasting,
    licence_notice,
    local,
    resolve,
)
from sacbnet.networks.weights.load import (
    check_weights,
    describe_weights,
    load_weights,
    save_weights,
)
from sacbnet.networks.weights.shapes import parameter_shapes
from sacbnet.training.source import with_source

ROOT = Path(__file__).parents[3]
INSTALLED = catalogue._installed.__wrapped__
FACTS = {
    "licence": "CC0",
    "trained_on": "nothing",
    "spacing_mm": 2,
    "intensity": "[0, 1]",
    "source": "a test",
}
FACTS |= {"validation": {"step": 3, "dice": 0.87654321}, "baseline": {"dice": 0.5}}
TEXT = {"about": "tests", "licence_text": "free"}


@pytest.fixture(scope="module")
def script():
    """packaging/weights/add.py, as a module."""
    spec = importlib.util.spec_from_file_location(
        "add_weights", ROOT / "packaging" / "weights" / "add.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def saved(tmp_path):
    """Write weights that state these facts to this file below tmp_path; the file."""

    def save(file="new.safetensors", seed=0, **facts):
        torch.manual_seed(seed)
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        save_weights(path, SACBNet(SACBNetConfig(base_channels=1)), FACTS | facts)
        return path

    return save


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty catalogue instead of the package's, and an empty working directory."""
    (tmp_path / "package").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "package" / catalogue.CATALOGUE).write_text('{"format_version": 1, "weights": {}}')
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path / "package")
    monkeypatch.setattr(catalogue, "CHECKOUT", tmp_path / "package")
    monkeypatch.setattr(catalogue, "_installed", lambda: ())
    monkeypatch.delenv(catalogue.PLACES, raising=False)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "package"


# -- the package's own -----------------------------------------------------------------------------
def test_what_comes_with_the_package_is_what_the_catalogue_says():
    names = [entry.name for entry in entries()]
    assert names and len({entry.sha256 for entry in entries()}) == len(names)
    for entry in entries():
        told = describe_weights(entry.name)
        content = entry.path.read_bytes()
        assert check_weights(entry.name) == entry.sha256 == hashlib.sha256(content).hexdigest()
        assert (entry.licence, entry.trained_on) == (told.licence, told.trained_on)
        assert entry.parameters == told.parameters and entry.spacing_mm == told.spacing_mm
        assert told.name == entry.name and told.restricted == entry.restricted
        assert told.affine == entry.affine
        assert entry.about and entry.licence_text and 0 < entry.validation["dice"] < 1
        assert load_weights(entry.name)[1].sha256 == entry.sha256
    on_disk = {path for folder in catalogue.folders() for path in folder.glob("*.safetensors")}
    assert {entry.path for entry in entries()} <= on_disk
    assert sum(entry.default for entry in entries()) <= 1


def test_sacbnet_holds_only_weights_under_its_own_licence():
    own = [entry for entry in entries() if entry.folder == catalogue.FOLDER]
    assert own and {entry.licence for entry in own} == {"Apache-2.0", "MIT"}
    assert not any(entry.restricted for entry in own) and any(entry.default for entry in own)
    files = {path.name for path in catalogue.FOLDER.iterdir()}
    assert files == {catalogue.CATALOGUE, *(entry.file for entry in own)}


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """sacbnet without further distributions."""
    monkeypatch.setattr(catalogue, "CHECKOUT", tmp_path / "none")
    monkeypatch.setattr(catalogue, "_installed", lambda: ())


def test_weights_that_come_apart_are_known_by_name(alone, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hippocampus").mkdir()  # does not stand in for the weights
    for name, distribution in catalogue.missing().items():
        with pytest.raises(WeightsError, match=rf"{name}.*pip install {distribution}`") as refused:
            resolve(name)
        assert len(str(refused.value)) <= 300 and lasting(name) == name
    assert "hippocampus" in catalogue.missing() and "brain" not in catalogue.missing()
    with pytest.raises(WeightsError, match="did you mean hippocampus-semi"):
        resolve("hippocampus-sami")


def test_the_names_that_come_apart_are_those_of_the_other_distribution(request):
    if not (catalogue.CHECKOUT / catalogue.CATALOGUE).is_file():
        pytest.skip("not a checkout")
    there = {entry.name for entry in entries() if entry.folder == catalogue.CHECKOUT}
    assert not catalogue.missing()
    request.getfixturevalue("alone")
    assert set(catalogue.missing()) == there


def test_a_distribution_is_found_by_its_entry_point(alone, tmp_path, monkeypatch, saved):
    package = tmp_path / "site" / "further_weights" / "files"
    package.mkdir(parents=True)
    package.with_name("__init__.py").write_text("raise RuntimeError('it is not imported')")
    found = saved("livers.safetensors")
    (package / "liver.safetensors").write_bytes(found.read_bytes())
    facts = {"file": "liver.safetensors", "sha256": hashlib.sha256(found.read_bytes()).hexdigest()}
    facts |= {"licence": "CC0", "restricted": False, "parameters": 1, "spacing_mm": 2.0, **TEXT}
    facts |= {"trained_on": "nothing", "validation": {}}
    tree = {"format_version": 1, "weights": {"liver": facts}}
    (package / catalogue.CATALOGUE).write_text(json.dumps(tree))
    metadata = tmp_path / "site" / "further-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: further\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[sacbnet.weights]\nmore = further_weights\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(catalogue, "_installed", INSTALLED)
    assert resolve("liver") == package / "liver.safetensors" == find("liver").path
    assert load_weights("liver")[1].sha256 == facts["sha256"]


# -- names and places ------------------------------------------------------------------------------
def test_a_name_means_the_catalogue_whatever_lies_in_the_working_directory(
    script, empty, saved, monkeypatch
):
    own = script.add(saved(), "brain", **TEXT).path
    elsewhere = saved("other/brain.safetensors", seed=1)
    monkeypatch.setenv(catalogue.PLACES, str(elsewhere.parent))
    Path("brain").mkdir()
    Path("brain/best.safetensors").write_bytes(elsewhere.read_bytes())
    assert resolve("brain") == own == find("brain").path
    assert load_weights("brain")[1].sha256 == find("brain").sha256
    assert load_weights("./brain")[1].sha256 != find("brain").sha256  # a run folder of that name
    assert load_weights(Path("brain"))[1].sha256 != find("brain").sha256
    assert resolve("brain/best.safetensors") == Path("brain/best.safetensors")
    assert resolve(str(own)) == resolve(own) == own


def test_folders_of_the_environment(script, empty, saved, monkeypatch):
    first, second = saved("first/liver.safetensors"), saved("second/liver.safetensors", seed=1)
    spleen = saved("second/spleen.v2.safetensors")
    monkeypatch.setenv(
        catalogue.PLACES, os.pathsep.join([str(first.parent), "", str(second.parent), "/nowhere"])
    )
    assert local() == {"liver": first, "spleen.v2": spleen}
    Path("liver").write_text("no weights")
    assert resolve("liver") == first and resolve("spleen.v2") == spleen
    assert resolve("./liver") == Path("liver")
    monkeypatch.setenv(catalogue.PLACES, str(second.parent))
    assert resolve("liver") == second
    monkeypatch.delenv(catalogue.PLACES)
    assert local() == {} and resolve("liver") == Path("liver")  # nothing else bears the name


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("hippocampus-sami", "did you mean hippocampus-semi"),
        ("Hippocampus-Semi", "did you mean hippocampus-semi"),
        ("zzz", "neither a file nor a known name; `sacbnet weights list`"),
        ("", "neither a file nor a known name"),
        ("a/hippocampus-semi", "do not exist"),
        ("hippocampus-semi.safetensors", "do not exist"),
    ],
)
def test_a_name_that_is_not_known(asked, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for function in (resolve, load_weights, describe_weights, check_weights):
        with pytest.raises(WeightsError) as refused:
            function(asked)
        assert words in str(refused.value)
    with pytest.raises(WeightsError, match="neither a file nor a known name"):
        find(asked)


def test_what_a_run_starts_from_stays_a_name_or_becomes_absolute(recipe, empty, script, saved):
    script.add(saved(), "brain", **TEXT)
    Path("brain").mkdir()
    Path("old").mkdir()

    def start(text):
        return with_source(recipe.with_changes([f'run.start_from="{text}"']), None).run.start_from

    assert start("brain") == "brain" and start("nosuch") == "nosuch" and start("") == ""
    assert start("old") == str(Path("old").absolute()) == lasting("old")
    assert start("./brain") == str(Path("brain").absolute())
    assert start("w.safetensors") == str(Path("w.safetensors").absolute())


# -- damage ----------------------------------------------------------------------------------------
def test_a_file_that_is_not_what_the_catalogue_expects_is_refused(script, empty, saved):
    """One bit of one value: the file is whole safetensors still."""
    path = script.add(saved(), "brain", **TEXT).path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for weights in ("brain", str(path)):
        for function in (load_weights, check_weights):
            with pytest.raises(WeightsError, match=r"brain are damaged.*install sacbnet again"):
                function(weights)
    elsewhere = empty / "copy.safetensors"
    elsewhere.write_bytes(content)
    load_weights(elsewhere)  # of no catalogue: nothing to compare with


def test_a_file_that_is_gone(script, empty, saved):
    script.add(saved(), "brain", **TEXT).path.unlink()
    with pytest.raises(WeightsError, match=r"cannot be read \(No such file"):
        load_weights("brain")


@pytest.mark.parametrize("descriptor", ["spatial", "channel", "both"])
@pytest.mark.parametrize(
    ("channels", "levels"), [(1, (5,)), (3, (2, 4)), (4, (2, 3, 4, 5)), (2, ())]
)
def test_shapes_are_those_of_the_network(descriptor, channels, levels):
    config = SACBNetConfig(base_channels=channels, sacb_levels=levels, descriptor=descriptor)
    with torch.device("meta"):
        state = SACBNet(config).state_dict()
    assert parameter_shapes(config) == {name: tuple(p.shape) for name, p in state.items()}


def test_checking_finds_parameters_that_do_not_fit(saved):
    path = saved()
    assert check_weights(path) == describe_weights(path).sha256
    before = path.read_bytes()
    path.write_bytes(before.replace(b'\\"base_channels\\": 1', b'\\"base_channels\\": 2'))
    assert path.read_bytes() != before
    with pytest.raises(WeightsError, match="does not fit"):
        check_weights(path)


# -- licences --------------------------------------------------------------------------------------
def test_a_licence_that_restricts_use_is_told(script, empty, saved):
    free, own = (
        saved("free.safetensors"),
        saved("own.safetensors", seed=1, restricted=True, name="mine", licence="NC"),
    )
    bound = saved("bound.safetensors", seed=2)
    assert licence_notice(load_weights(free)[1]) is None and licence_notice(None) is None
    assert (
        licence_notice(load_weights(own)[1])
        == "the licence of the weights mine restricts their use: NC"
    )
    assert licence_notice(describe_weights(own)) == licence_notice(load_weights(own)[1])
    script.add(str(bound), "bound", restricted=True, **TEXT)
    told = "the licence of the weights bound restricts their use: CC0"
    assert licence_notice(load_weights("bound")[1]) == told
    assert licence_notice(load_weights(bound)[1]) == told  # a copy of it, anywhere
    assert script.add(own, "mine", **TEXT).restricted  # the file says so


def test_recipes_on_restricted_data_say_so():
    restricted = {
        path.stem for path in (ROOT / "recipes").glob("*.toml") if read_recipe(path).restricted
    }
    assert {
        "lpba40",
        "lpba40-fast",
        "lpba40-2mm",
        "lpba40-2mm-accurate",
        "abdomen-ct",
    } <= restricted
    assert not restricted & {"hippocampus", "hippocampus-semi", "ixi"}


# -- adding ----------------------------------------------------------------------------------------
def test_adding_copies_the_file_and_what_it_says(script, empty, saved):
    path = saved()
    entry = script.add(path, "brain", affine="none", default=True, **TEXT)
    assert entries() == (entry,) and entry.path.read_bytes() == path.read_bytes()
    assert (entry.licence, entry.trained_on, entry.spacing_mm) == ("CC0", "nothing", 2)
    assert entry.validation == {"step": 3, "dice": 0.8765, "dice_before": 0.5}
    assert default() == "brain" and entry.affine == "none" and not entry.restricted
    another = script.add(saved("x.safetensors", seed=1, affine="rigid"), "another", **TEXT)
    assert another.affine == "rigid"  # the file states it
    assert [e.name for e in entries()] == ["another", "brain"] and find("brain") == entry


def test_adding_in_half_the_bytes(script, empty, saved):
    path = saved()
    entry = script.add(path, "brain", half=True, **TEXT)
    assert entry.path.stat().st_size < 0.6 * path.stat().st_size
    (whole, told), (half, told_by_half) = load_weights(path), load_weights("brain")
    assert replace(told, name="brain", sha256=entry.sha256) == told_by_half
    for a, b in zip(whole.state_dict().values(), half.state_dict().values(), strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=2**-11, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "facts", "options", "words"),
    [
        ("none", {}, {}, "the name is 'none'"),
        ("a/b", {}, {}, "the name is 'a/b'"),
        ("taken", {}, {}, "catalogue already has weights named taken"),
        ("new", {"licence": "not stated; that of the data"}, {}, "states no licence"),
        ("new", {"licence": "unknown: the publisher states no licence"}, {}, "states no licence"),
        ("new", {}, {"default": True}, "weights taken are already the default"),
        ("new", {"affine": "none"}, {"affine": "rigid"}, "states the alignment none"),
    ],
)
def test_what_is_not_added(script, empty, saved, name, facts, options, words):
    taken = script.add(saved("taken.safetensors"), "taken", default=True, **TEXT)
    with pytest.raises(WeightsError, match=words):
        script.add(saved("new.safetensors", seed=1, **facts), name, **options, **TEXT)
    assert entries() == (taken,) and {p.name for p in empty.iterdir()} == {
        "catalogue.json",
        "taken.safetensors",
    }


def test_replacing(script, empty, saved):
    before = script.add(saved(), "brain", default=True, **TEXT)
    after = script.add(saved(seed=1), "brain", replace=True, default=True, **TEXT)
    assert entries() == (after,) and after.sha256 != before.sha256


def test_the_catalogue_needs_no_torch():
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['torch', 'numpy', 'nibabel', 'SimpleITK']))\n"
        "from sacbnet.networks.weights.catalogue import entries, resolve\n"
        "import json; print(json.dumps([str(resolve(entry.name)) for entry in entries()]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [str(entry.path) for entry in entries()]


@pytest.mark.parametrize(
    "options",
    [{"assignment": "soft"}, {"level1": "matching"}, {"level1": "both", "symmetric": True}],
)
def test_shapes_of_what_the_paper_has_not(options):
    config = SACBNetConfig(base_channels=2, **options)
    with torch.device("meta"):
        state = build(config).state_dict()
    assert parameter_shapes(config) == {name: tuple(p.shape) for name, p in state.items()}
