"""What is kept of an unfinished training: half as large, without paths, and good to go on from."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sacbnet.config.recipe import read_recipe
from sacbnet.networks.weights.load import LAST, load_weights
from sacbnet.training.loop import train
from sacbnet.training.team import Team


@pytest.fixture
def keep():
    path = Path(__file__).parents[2] / "packaging" / "weights" / "keep.py"
    spec = importlib.util.spec_from_file_location("keep_weights", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.keep


def test_a_training_goes_on_from_what_is_kept(keep, recipe, pack, tmp_path):
    train(
        replace(recipe, data=replace(recipe.data, source=str(pack.path))),
        pack,
        tmp_path / "run",
        Team(),
    )
    path = keep(tmp_path / "run", "toy", tmp_path / "kept")
    assert path.stat().st_size < 0.75 * (tmp_path / "run" / LAST).stat().st_size
    whole, half = (load_weights(file)[0].state_dict() for file in (tmp_path / "run" / LAST, path))
    assert all(torch.equal(half[name], value.half().float()) for name, value in whole.items())
    assert not any(str(tmp_path).encode() in file.read_bytes() for file in path.parent.iterdir())
    kept = read_recipe(path.with_suffix(".toml"))
    assert kept == replace(recipe, data=replace(recipe.data, source=""))
    assert path.with_suffix(".csv").read_text() == (tmp_path / "run" / "metrics.csv").read_text()
    more = kept.with_changes([f"run.start_from={path}", "run.seed=1"])
    assert train(more, pack, tmp_path / "more", Team()).finished
