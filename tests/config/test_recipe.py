import tomllib
from pathlib import Path

import pytest

from sacbnet.config.comparison import VoxelMorphOptions
from sacbnet.config.recipe import (
    OptimiserOptions,
    Recipe,
    read_recipe,
    recipe_from_dict,
    same_training,
)
from sacbnet.errors import InputError
from sacbnet.losses.registry import MIND, NCC
from sacbnet.training.folder import find_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


def keys(tree, prefix=""):
    return {
        k
        for n, v in tree.items()
        for k in (keys(v, f"{n}.") if isinstance(v, dict) else {prefix + n})
    }


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_shows_every_option(path):
    recipe = read_recipe(path)
    assert recipe.name == path.stem and recipe.about and recipe.trained_on and recipe.licence
    assert keys(tomllib.loads(path.read_text(encoding="utf-8"))) == keys(recipe.to_dict())
    assert keys(Recipe().to_dict()) <= keys(recipe.to_dict())


def test_recipes_are_found_by_name():
    assert {"ixi", "lpba40", "abdomen-ct", "hippocampus"} <= {path.stem for path in RECIPES}
    assert find_recipe("lpba40").name == "lpba40.toml"
    with pytest.raises(InputError, match="hippocampus"):
        find_recipe("no-such-recipe")


@pytest.mark.parametrize(
    ("name", "smoothness"), [("ixi", 3.0), ("lpba40", 1.0), ("abdomen-ct", 0.3)]
)
def test_the_papers_hyperparameters(name, smoothness):
    recipe = read_recipe(find_recipe(name))
    assert (
        recipe.loss.smoothness_weight == smoothness
        and recipe.loss.window == 9
        and recipe.loss.noise == 0
    )
    assert recipe.optimiser == OptimiserOptions(1e-4, "polynomial", 0.9)
    assert (
        recipe.model == Recipe().model
        and recipe.run.batch == 1
        and recipe.augment == Recipe().augment
    )
    pairs = {"ixi": 403, "lpba40": 870, "abdomen-ct": 380}[name]
    assert recipe.run.steps == 300 * pairs


def test_toml_round_trip(tmp_path):
    recipe = Recipe(about='a "quoted" ü text').with_changes(
        ["data.labels=[1, 2]", "run.start_from=a b.safetensors"]
    )
    (tmp_path / "r.toml").write_text(recipe.to_toml(), encoding="utf-8")
    assert read_recipe(tmp_path / "r.toml") == recipe


def test_overrides():
    changed = Recipe().with_changes(
        [
            "model.clusters=11",
            "model.sacb_levels=[5, 4]",
            "model.descriptor=channel",
            "optimiser.learning_rate=1",
        ]
    )
    assert changed.model.clusters == (11,) * 4 and changed.model.sacb_levels == (4, 5)
    assert changed.model.descriptor == "channel" and changed.optimiser.learning_rate == 1.0
    assert Recipe().with_changes(["model.sacb_levels=[]"]).model.sacb_levels == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.cluster=3", "section.option=value"),
        ("clusters=3", "section.option=value"),
        ("model=3", "section.option=value"),
        ("model.clusters", "section.option=value"),
        ("run.steps=many", "run.steps is 'many'; a whole number"),
        ("run.steps=true", "run.steps is True; a whole number"),
        ("run.steps=0", "run.steps"),
        ("loss.window=4", "loss.window is 4; an odd"),
        ("loss.similarity=ssd", "ncc, mse"),
        ("loss.smoothness_weight=-1", "loss.smoothness_weight"),
        ("loss.similarity_weight=0", "neither similarity nor Dice"),
        ("optimiser.learning_rate=nan", "learning_rate"),
        ("optimiser.learning_rate=0.0", "learning_rate"),
        ("data.labels=5", "data.labels is 5; a list"),
        ("data.shape=[1, 2]", "data.shape"),
        ("data.bits=12", "data.bits"),
        ("augment.flip=3", "augment.flip is 3; a list"),
        ("model.descriptor=mean", "descriptor"),
    ],
)
def test_bad_overrides_are_named(change, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        Recipe().with_changes([change])


def test_bad_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no option run\.step;"):
        recipe_from_dict({"run": {"step": 3}})
    with pytest.raises(InputError, match="section of options"):
        recipe_from_dict({"run": 3})
    (tmp_path / "r.toml").write_text("[run\n")
    with pytest.raises(InputError, match="no TOML"):
        read_recipe(tmp_path / "r.toml")
    with pytest.raises(InputError, match="cannot be read"):
        read_recipe(tmp_path / "absent.toml")


def test_schedules():
    steps = 100
    poly = OptimiserOptions(2.0, "polynomial", 0.9)
    assert poly.rate(0, steps) == 2.0 and poly.rate(50, steps) == pytest.approx(2 * 0.5**0.9)
    cosine = OptimiserOptions(2.0, "cosine", warmup_steps=10)
    assert (
        cosine.rate(0, steps) == pytest.approx(0.2)
        and cosine.rate(9, steps) == cosine.rate(10, steps) == 2.0
    )
    assert cosine.rate(55, steps) == pytest.approx(1.0) and 0 < cosine.rate(99, steps) < 0.002
    assert OptimiserOptions(2.0, "constant").rate(99, steps) == 2.0


def test_what_makes_another_training():
    a = Recipe()
    assert (
        same_training(a, a.with_changes(["run.steps=5", "data.source=x", "run.checkpoint_every=2"]))
        == []
    )
    assert same_training(a, a.with_changes(["loss.window=5", "run.seed=1"])) == [
        "loss.window",
        "run.seed",
    ]


def test_losses_bring_their_own_parameters():
    recipe = Recipe().with_changes(["loss.similarity=mind", "loss.similarity_parameters.radius=1"])
    assert recipe.loss.similarity_term == MIND(radius=1, dilation=2)
    assert recipe.loss.similarity_parameters == {"radius": 1, "dilation": 2}
    assert recipe_from_dict(recipe.to_dict()) == recipe
    assert "loss.similarity_parameters.radius" in same_training(recipe, Recipe())
    back = recipe.with_changes(["loss.similarity=ncc", "loss.window=5"])
    assert back.loss.similarity_term == NCC(window=5) and back.loss.similarity_parameters == {}
    for loss, told in (
        ({"similarity": "mind", "similarity_parameters": {"bins": 3}}, "'mind' has no option bins"),
        ({"similarity_parameters": {"window": 3}}, "similarity_parameters.window is 3; the option"),
        ({"similarity_parameters": 3}, "loss.similarity_parameters is 3; a section"),
        ({"smoothness_parameters": {"x": 3}}, "'gradient' has no option x; known are none"),
        ({"smoothness": "ncc"}, "loss.smoothness is 'ncc'; gradient or bending was expected"),
    ):
        with pytest.raises(InputError, match=told):
            recipe_from_dict({"loss": loss})
    with pytest.raises(InputError, match=r"loss\.similarity is 3; text was expected"):
        recipe.with_changes(["loss.similarity=3"])


def test_another_network_brings_its_own_options():
    recipe = Recipe().with_changes(["model.architecture=voxelmorph", "model.encoder=[8, 16]"])
    assert recipe.model == VoxelMorphOptions(encoder=(8, 16))
    assert recipe_from_dict(recipe.to_dict()) == recipe
    with pytest.raises(InputError, match="clusters"):
        recipe.with_changes(["model.clusters=5"])
    with pytest.raises(InputError, match="'unet'"):
        Recipe().with_changes(["model.architecture=unet"])
