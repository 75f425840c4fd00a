"""Training on pairs made from label maps: what the loader gives; runs work and resume exactly."""

from dataclasses import replace

import pytest
import torch

from sacbnet.config.recipe import DataOptions, LossOptions, Recipe, RunOptions, same_training
from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.config.synthesis import SynthesisOptions
from sacbnet.data.cases import Case
from sacbnet.data.pack import PackOptions
from sacbnet.data.packing import build_pack
from sacbnet.errors import InputError
from sacbnet.io.images import save_image
from sacbnet.networks.weights.load import describe_weights, load_weights
from sacbnet.spatial.grid import Grid
from sacbnet.training.loader import Loader
from sacbnet.training.loop import train
from sacbnet.training.pairs import choose
from sacbnet.training.source import open_data
from sacbnet.training.team import Team

SHAPE = (64, 64, 64)
RECIPE = Recipe(
    "made",
    model=SACBNetConfig(base_channels=1, clusters=(3, 3, 3, 3)),
    data=DataOptions(
        train="a,b", validation="c,d", validation_pairs="all", spacing_mm=1.0, shape=SHAPE
    ),
    synthesis=SynthesisOptions(factor=2, noise_maps=2, noise_share=0.3),
    loss=LossOptions(window=5, dice_weight=1.0),
    run=RunOptions(steps=4, validate_every=2, checkpoint_every=2, log_every=1, device="cpu"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four label maps, each of other shapes, whose five labels lie alike."""
    import numpy as np

    out = tmp_path_factory.mktemp("maps")
    places = np.indices(SHAPE)
    for n, name in enumerate("abcd"):
        labels = np.zeros(SHAPE, np.int16)
        for label, centre in enumerate(
            [(20, 20, 20), (44, 22, 20), (22, 44, 24), (40, 42, 44), (28, 30, 46)], start=1
        ):
            distance = sum((p - c) ** 2 for p, c in zip(places, centre, strict=True))
            labels[distance < (7 + (label + n) % 3) ** 2] = label
        save_image(out / f"{name}.nii.gz", labels, Grid(SHAPE, np.eye(4)), labels=True)
    return out


@pytest.fixture(scope="module")
def pack(folder):
    cases = [Case(name, folder / f"{name}.nii.gz") for name in "abcd"]
    return build_pack(
        cases, folder / "maps.pack", PackOptions(1.0, SHAPE, label_maps=True, noise_maps=2)
    )


def test_what_the_loader_shows(pack):
    data = choose(RECIPE, pack)
    assert data.shape == (32, 32, 32) and data.spacing_mm == 2.0
    # noise is no subject
    assert set(data.training) == {(0, 1), (1, 0)} and set(data.validation) == {(2, 3), (3, 2)}
    loader = Loader(data, RECIPE, Team())
    (one,), (again,), (other,) = (
        loader.step(0),
        Loader(data, RECIPE, Team()).step(0),
        loader.step(1),
    )
    assert one.moving.shape == (1, 1, 32, 32, 32) and one.labelled == 1.0
    assert torch.equal(one.moving, again.moving) and not torch.equal(one.fixed, other.fixed)
    assert one.views[0] is one.moving_view and one.reversed().views == (
        one.fixed_view,
        one.moving_view,
    )
    assert torch.equal(loader.validation(0).fixed, loader.validation(0).fixed)
    loader.close()


def test_noise_comes_as_often_as_asked(pack):
    recipe = replace(RECIPE, synthesis=replace(RECIPE.synthesis, noise_share=1.0))
    loader = Loader(choose(recipe, pack), recipe, Team())
    (batch,) = loader.step(0)
    # the maps have five labels, noise has 26
    assert float((batch.fixed_labels > 5).float().mean()) > 0.2
    loader.close()


def test_a_run_resumes_exactly_and_its_weights_say_their_spacing(pack, tmp_path):
    whole = train(RECIPE, pack, tmp_path / "whole", Team(), say=lambda line: None)
    half = replace(
        RECIPE,
        run=replace(RECIPE.run, steps=2),
        optimiser=replace(RECIPE.optimiser, schedule="constant"),
    )
    full = replace(half, run=RECIPE.run)
    for recipe, out in ((full, "one"), (half, "two"), (full, "two")):
        train(recipe, pack, tmp_path / out, Team(), say=lambda line: None)
    one, two = (
        load_weights(tmp_path / out / "last.safetensors")[0].state_dict() for out in ("one", "two")
    )
    assert whole.finished and all(torch.equal(one[name], two[name]) for name in one)
    assert describe_weights(tmp_path / "whole").spacing_mm == 2
    assert whole.state.baseline["dice"] < 1


def test_random_shapes_need_no_data(tmp_path):
    recipe = replace(RECIPE, data=replace(RECIPE.data, train="", validation=""))
    told = []
    pack = open_data(recipe, tmp_path, Team(), told.append)
    assert len(pack) == 2 and "random shapes" in told[0]
    data = choose(recipe, pack)
    assert data.training == ((0, 0), (1, 1)) and data.validation
    assert open_data(recipe, tmp_path, Team(), told.append).names == pack.names and len(told) == 1


def test_recipe_and_set_must_be_of_one_kind(pack, shapes, tmp_path):
    from sacbnet.data.source import read_cases

    with pytest.raises(InputError, match="label maps"):
        choose(replace(RECIPE, synthesis=None), pack)
    images = build_pack(read_cases(shapes).cases, tmp_path / "images.pack")
    with pytest.raises(InputError, match="holds images"):
        choose(RECIPE, images)


def test_another_synthesis_is_another_training():
    changed = replace(RECIPE, synthesis=replace(RECIPE.synthesis, noise=0.2))
    assert same_training(RECIPE, changed) == ["synthesis.noise"]
    assert "synthesis.noise" in same_training(replace(RECIPE, synthesis=None), RECIPE)
