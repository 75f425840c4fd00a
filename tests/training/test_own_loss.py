"""A loss from outside joins by the entry point `sacbnet.losses`, without a change here."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest
import torch

from sacbnet.config.recipe import LossOptions, read_recipe, recipe_from_dict
from sacbnet.errors import InputError
from sacbnet.losses import registry
from sacbnet.losses.registry import Similarity, Smoothness
from sacbnet.losses.terms import similarity_loss
from sacbnet.training.log import read_metrics
from sacbnet.training.loop import train
from sacbnet.training.team import Team

OPTIONS = """
    from dataclasses import dataclass
    from typing import ClassVar

    from sacbnet.errors import InputError
    from sacbnet.losses.registry import Similarity, Smoothness


    @dataclass(frozen=True)
    class Huber(Similarity):
        name: ClassVar[str] = "huber"
        implementation: ClassVar[str] = "ownloss.losses:huber"

        delta: float = 0.1

        def __post_init__(self):
            if self.delta <= 0:
                raise InputError(f"delta is {self.delta}; a positive number was expected")


    @dataclass(frozen=True)
    class Size(Smoothness):
        name: ClassVar[str] = "size"
        implementation: ClassVar[str] = "ownloss.losses:size"


    @dataclass(frozen=True)
    class Wide(Similarity):
        name: ClassVar[str] = "wide"
        implementation: ClassVar[str] = "ownloss.losses:wide"


    @dataclass(frozen=True)
    class Lost(Similarity):
        name: ClassVar[str] = "lost"
        implementation: ClassVar[str] = "ownloss.losses:lost"
"""
LOSSES = """
    import torch.nn.functional as F


    def huber(moved, fixed, delta):
        return F.huber_loss(moved, fixed, delta=delta) / delta


    def size(displacement_vox):
        return displacement_vox.square().mean()


    def wide(moved, fixed):
        return moved - fixed
"""
ENTRY_POINTS = """
    [sacbnet.losses]
    huber = ownloss.options:Huber
    size = ownloss.options:Size
    wide = ownloss.options:Wide
    lost = ownloss.options:Lost
    absent = ownloss.elsewhere:Absent
    misnamed = ownloss.options:Huber
"""


@pytest.fixture
def guest(tmp_path, monkeypatch):
    """An installed package with losses, as pip leaves it in site-packages."""
    site = tmp_path / "site-packages"
    for name, text in {
        "ownloss/__init__.py": "",
        "ownloss/options.py": OPTIONS,
        "ownloss/losses.py": LOSSES,
        "ownloss-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: ownloss\nVersion: 1.0\n",
        "ownloss-1.0.dist-info/entry_points.txt": ENTRY_POINTS,
    }.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(dedent(text))
    monkeypatch.syspath_prepend(site)
    caches = registry._points, registry._function
    for found in caches:
        found.cache_clear()
    yield site
    for found in caches:
        found.cache_clear()
    for module in [name for name in sys.modules if name.split(".")[0] == "ownloss"]:
        del sys.modules[module]


def test_it_trains_and_is_validated_with_parameters_of_its_recipe(guest, recipe, pack, tmp_path):
    tree = recipe.to_dict()
    tree["loss"] |= {
        "similarity": "huber",
        "similarity_parameters": {"delta": 0.02},
        "smoothness": "size",
        "smoothness_weight": 0.01,
    }
    tree["run"] |= {"steps": 2, "validate_every": 1, "checkpoint_every": 2, "log_every": 1}
    chosen = recipe_from_dict(tree)
    outcome = train(chosen, pack, tmp_path / "run", Team(), say=lambda line: None)
    assert outcome.state.step == 2 and read_recipe(tmp_path / "run" / "recipe.toml") == chosen

    # before training: the images as they are
    baseline = outcome.state.baseline
    assert baseline["similarity"] > 0 and baseline["loss"] == pytest.approx(baseline["similarity"])
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    trained = [row for row in rows if row["loss"]]
    assert len(trained) == 2
    for row in trained:
        parts = float(row["similarity"]) + 0.01 * float(row["smoothness"])
        assert float(row["loss"]) == pytest.approx(parts, rel=1e-4)


def test_its_parameters_have_defaults_and_are_checked(guest):
    moved, fixed = torch.rand(2, 1, 1, 6, 6, 6)
    options = LossOptions(similarity="huber")
    assert options.similarity_parameters == {"delta": 0.1}
    expected = torch.nn.functional.huber_loss(moved, fixed, delta=0.1) / 0.1
    assert torch.equal(similarity_loss(moved, fixed, options.similarity_term), expected)

    def read(**parameters):
        loss = {"similarity": "huber", "similarity_parameters": parameters}
        return recipe_from_dict({"loss": loss})

    assert read(delta=1).loss.similarity_term.delta == 1.0
    with pytest.raises(InputError, match=r"^loss.similarity_parameters.delta is 'x'; a number was"):
        read(delta="x")
    with pytest.raises(InputError, match="the loss 'huber' has no option beta; known are delta"):
        read(beta=1)
    with pytest.raises(InputError, match=r"delta is 0\.0; a positive number"):
        read(delta=0)
    changes = ["loss.similarity=huber", "loss.similarity_parameters.delta=0.5"]
    changed = read(delta=1).with_changes(changes)
    assert changed.loss.similarity_parameters == {"delta": 0.5}
    assert changed.with_changes(["loss.similarity=mse"]).loss.similarity_parameters == {}


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("absent", Similarity, r"'absent' \(ownloss.elsewhere:Absent\) cannot be imported"),
        ("misnamed", Similarity, r"'misnamed' \(ownloss.options:Huber\) is no Similarity of that"),
        ("huber", Smoothness, r"'huber' \(ownloss.options:Huber\) is no Smoothness of that name"),
    ],
)
def test_an_entry_point_that_cannot_be_used_is_named(guest, name, kind, message):
    with pytest.raises(InputError, match=message):
        registry.loss_named(name, kind)
    option = "similarity" if kind is Similarity else "smoothness"
    with pytest.raises(InputError, match=message):
        recipe_from_dict({"loss": {option: name}})


def test_a_function_that_cannot_be_used_is_named(guest):
    images = torch.rand(2, 1, 1, 6, 6, 6)
    with pytest.raises(InputError, match=r"'wide' gave shape \(1, 1, 6, 6, 6\); a scalar tensor"):
        similarity_loss(*images, registry.loss_named("wide", Similarity)())
    with pytest.raises(InputError, match=r"'lost' names 'ownloss.losses:lost', which cannot be"):
        similarity_loss(*images, registry.loss_named("lost", Similarity)())


def test_reading_its_recipe_imports_no_torch(guest):
    code = f"""
import sys
sys.path.insert(0, {str(guest)!r})
from sacbnet.config.recipe import recipe_from_dict
loss = recipe_from_dict({{"loss": {{"similarity": "huber"}}}}).loss
assert loss.similarity_term.delta == 0.1
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
