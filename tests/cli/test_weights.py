"""sacbnet weights list, show, verify, path; names and licences in the other verbs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.networks.sacbnet.network import SACBNet
from sacbnet.networks.weights import catalogue
from sacbnet.networks.weights.catalogue import entries
from sacbnet.networks.weights.load import save_weights, weights_hash

NAME = "hippocampus-semi"
FACTS = {
    "licence": "NC",
    "trained_on": "shapes",
    "spacing_mm": 1,
    "intensity": "[0, 1]",
    "source": "test",
    "name": "w",
}


@pytest.fixture
def own(tmp_path):
    """Small weights, whose licence restricts their use."""
    torch.manual_seed(0)
    path = tmp_path / "lab" / "mine.safetensors"
    path.parent.mkdir()
    save_weights(
        path,
        SACBNet(SACBNetConfig(base_channels=1, sacb_levels=(5,))),
        FACTS | {"restricted": True},
    )
    return path


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the package's weights in the place of these, to be damaged."""
    shutil.copytree(catalogue.CHECKOUT, tmp_path / "package")
    monkeypatch.setattr(catalogue, "CHECKOUT", tmp_path / "package")
    monkeypatch.setattr(catalogue, "_installed", lambda: ())
    return tmp_path / "package"


@pytest.mark.parametrize(
    "arguments", [["list"], ["show", NAME], ["show", NAME, "--json"], ["verify"], ["path", NAME]]
)
def test_no_torch_is_imported(arguments, own):
    """Weights of SACBNET_WEIGHTS included."""
    code = (
        "import sys; from sacbnet.cli.main import main\n"
        "sys.argv = ['sacbnet', 'weights', *sys.argv[1:]]\n"
        "main(); heavy = {'torch', 'scipy', 'nibabel', 'SimpleITK'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(catalogue.PLACES, str(own.parent))
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 0 and done.stdout and not done.stderr, done.stderr


def test_list(sacbnet, own, monkeypatch):
    monkeypatch.setenv(catalogue.PLACES, str(own.parent))
    (own.parent / "broken.safetensors").write_text("no weights")
    done = sacbnet("weights", "list")
    assert done.code == 0 and done.err == ""
    rows = {line.split("│")[0].strip(): line for line in done.out.splitlines()}
    for entry in entries():
        name = f"{entry.name} (default)" if entry.default else entry.name
        assert (
            entry.licence in rows[name]
            and f"{entry.spacing_mm:g}" in rows[name]
            and (entry.affine or "affine") in rows[name]
        )
    assert "shapes" in rows["mine"] and "NC" in rows["mine"]
    assert "broken" in rows


def test_show(sacbnet, own):
    done = sacbnet("weights", "show", NAME)
    assert done.code == 0 and all(
        word in done.out for word in ("CC BY-SA 4.0", "base_channels 4", "share alike", "Dice 0.")
    )
    assert "{" not in done.out and "this is the file of the catalogue" in done.out
    told = json.loads(sacbnet("weights", "show", NAME, "--json").out)
    (entry,) = (entry for entry in entries() if entry.name == NAME)
    assert (
        told["file"] == str(entry.path)
        and told["sha256"] == entry.sha256
        and told["as_in_the_catalogue"] is True
    )
    assert told["options"]["base_channels"] == 4 and told["recipe"]["run"]["steps"] == 2500
    assert told["validation"]["dice"] == pytest.approx(entry.validation["dice"], abs=1e-4)
    mine = json.loads(sacbnet("weights", "show", own, "--json").out)
    assert (
        mine["licence"] == "NC" and mine["restricted"] is True and "as_in_the_catalogue" not in mine
    )


def test_path(sacbnet, own, monkeypatch):
    assert sacbnet("weights", "path", NAME).out == f"{catalogue.CHECKOUT / NAME}.safetensors\n"
    monkeypatch.setenv(catalogue.PLACES, str(own.parent))
    assert sacbnet("weights", "path", "mine").out == f"{own}\n"
    own.rename(own.parent / "best.safetensors")
    monkeypatch.chdir(own.parent.parent)
    assert sacbnet("weights", "path", "./lab").out == f"{own.parent / 'best.safetensors'}\n"
    done = sacbnet("weights", "path", "hippocampus-sem")
    assert done.code == 4 and f"did you mean {NAME}" in done.sentence()


def test_verify(sacbnet, own, copied, monkeypatch):
    monkeypatch.setenv(catalogue.PLACES, str(own.parent))
    done = sacbnet("weights", "verify")
    assert done.code == 0 and done.err == ""
    for name, path in {entry.name: entry.path for entry in entries()}.items() | {("mine", own)}:
        assert f"{name}: intact, sha256 {weights_hash(path)}" in done.out.splitlines()
    assert sacbnet("weights", "verify", own).code == 0


def test_verify_finds_damage(sacbnet, own, copied, monkeypatch):
    monkeypatch.setenv(catalogue.PLACES, str(own.parent))
    with (copied / f"{NAME}.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    done = sacbnet("weights", "verify", NAME)
    assert (
        done.code == 4
        and f"{NAME} are damaged" in done.sentence()
        and "install sacbnet-weights-research again" in done.err
    )
    own.write_bytes(own.read_bytes()[:-8])
    done = sacbnet("weights", "verify", NAME, "mine")
    assert done.code == 4 and "error: 2 of 2 weights" in done.err
    assert "are damaged" in done.err and "no intact safetensors" in done.err
    told = json.loads(sacbnet("weights", "show", NAME, "--json").out)
    assert told["as_in_the_catalogue"] is False


def test_register_takes_names_and_refuses_damage(register, copied, tmp_path, monkeypatch):
    """Of the network only that it is called: its displacement is zero."""
    monkeypatch.setattr(
        SACBNet, "forward", lambda self, moving, fixed: torch.zeros(1, 3, *fixed.shape[2:])
    )
    monkeypatch.chdir(tmp_path)
    Path(NAME).write_text("not the weights")
    done = register(f"--weights={NAME}")
    assert done.code == 0, done.err
    told = json.loads((tmp_path / "out" / "run.json").read_text())["weights"]
    assert told["name"] == NAME and told["sha256"] == catalogue.find(NAME).sha256
    shutil.rmtree(tmp_path / "out")
    (copied / f"{NAME}.safetensors").write_bytes(b"\0" * 1000)
    done = register(f"--weights={NAME}")
    assert done.code == 4 and "damaged" in done.sentence() and not (tmp_path / "out").exists()


def test_evaluate_tells_a_restricted_licence_once(sacbnet, own, shapes, tmp_path):
    words = ("evaluate", f"--weights={own}", f"--data={shapes}", "--limit=2", "--refine=0")
    done = sacbnet(*words, f"--out={tmp_path / 'scores'}")
    assert done.code == 0, done.err
    assert done.err.count("the licence of the weights w restricts their use: NC") == 1
    report = json.loads((tmp_path / "scores" / "summary.json").read_text())
    assert report["weights"]["sha256"] == weights_hash(own)
    assert sacbnet(*words, "--quiet", f"--out={tmp_path / 'quiet'}").err == ""


def test_training_from_restricted_weights_says_so(sacbnet, recipe, own, pack, tmp_path):
    chosen = recipe.with_changes([f"run.start_from={own}", "run.steps=1", "model.sacb_levels=[5]"])
    (tmp_path / "r.toml").write_text(chosen.to_toml(), encoding="utf-8")
    words = ("train", tmp_path / "r.toml", f"--data={pack.path}", f"--out={tmp_path / 'run'}")
    done = sacbnet(*words)
    assert done.code == 0, done.err
    assert done.err.count("the licence of the weights w restricts their use: NC") == 1
    told = json.loads(sacbnet("weights", "show", tmp_path / "run", "--json").out)
    assert told["restricted"] is False and told["licence"] == "CC0"  # as the recipe says
    # goes on: from its own checkpoint, and not from those weights
    done = sacbnet(*words, "--set=run.steps=2")
    assert done.code == 0 and "restricts" not in done.err


def test_info_takes_a_name(sacbnet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(NAME).write_text("not the weights")
    done = sacbnet("info", NAME)
    assert done.code == 0 and "CC BY-SA 4.0" in done.out
    assert sacbnet("info", f"./{NAME}").code == 3
