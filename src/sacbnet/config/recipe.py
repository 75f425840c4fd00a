"""Recipes: all options of one training run, in one TOML file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .augmentation import Augmentation
from .build import build, conform, plain
from .choices import AffineKind
from .data import DataOptions
from .loss import LossOptions, default_parameters
from .network import NetworkOptions
from .optimiser import OptimiserOptions
from .registry import model_tree, options_of
from .run import RunOptions
from .sacbnet import LEVELS, SACBNetConfig
from .synthesis import SynthesisOptions
from .toml import flat, override, read_toml, split_override, write_toml

__all__ = [
    "DataOptions",
    "LossOptions",
    "OptimiserOptions",
    "Recipe",
    "RunOptions",
    "read_recipe",
    "recipe_from_dict",
    "same_training",
]

Tree = dict[str, Any]
ARCHITECTURE = "model.architecture"
LOSSES = ("loss.similarity", "loss.smoothness")
# what does not change the weights that come out
_FREE = {
    "name",
    "about",
    "trained_on",
    "licence",
    "restricted",
    "symmetric",
    "mirrored",
    "affine",
    "data.source",
    "run.device",
    "run.steps",
    "run.checkpoint_every",
    "run.log_every",
    "run.pairs_at_once",
}


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Parameters
    ----------
    name, about : str
        What the run is; about is one sentence. Default "recipe" and "".
    trained_on, licence : str, default ""
        What the weights will state about their training data and their licence.
    restricted : bool, default False
        The weights will state that some use of them is forbidden.
    symmetric : bool, default False
        The weights will ask to be run in both directions, of which the mean is taken
        (`predict.BothWays`). Training and its validation run them in one direction.
    mirrored : bool, default False
        The weights will ask to be run on the mirror images as well (`predict.Mirrored`).
    affine : {"none", "rigid", "affine"}, default "affine"
        The weights will ask for this alignment of the images before the network. Training and its
        validation take the images as they are.
    model : NetworkOptions
        Options of the network. Default: the published SACB-Net.
    data : DataOptions
        Which images, in which pairs.
    augment : Augmentation
        Random changes of the pairs. Default: none.
    synthesis : SynthesisOptions, optional
        How images are made of a set of label maps; None (default) for a set of images.
    loss : LossOptions
        What is minimised.
    optimiser : OptimiserOptions
        How it is minimised.
    run : RunOptions
        Length, batches, device.

    Raises
    ------
    OptionError
        For a value that is not valid.

    Examples
    --------
    >>> Recipe().with_changes(["model.clusters=11", "model.sacb_levels=[5, 4]"]).model.sacb_levels
    (4, 5)
    """

    name: str = "recipe"
    about: str = ""
    trained_on: str = ""
    licence: str = ""
    restricted: bool = False
    symmetric: bool = False
    mirrored: bool = False
    affine: AffineKind = "affine"
    model: NetworkOptions = field(default_factory=SACBNetConfig)
    data: DataOptions = field(default_factory=DataOptions)
    augment: Augmentation = field(default_factory=Augmentation)
    synthesis: SynthesisOptions | None = None
    loss: LossOptions = field(default_factory=LossOptions)
    optimiser: OptimiserOptions = field(default_factory=OptimiserOptions)
    run: RunOptions = field(default_factory=RunOptions)

    def __post_init__(self) -> None:
        conform(self)

    def to_dict(self) -> Tree:
        """Turn the recipe into values that JSON and TOML have.

        Returns
        -------
        dict
            Nested tables; tuples become lists. A section that is None is left out, and so is an
            empty table of parameters.
        """
        tree = {name: value for name, value in plain(self).items() if value is not None}
        return tree | {"loss": {name: v for name, v in tree["loss"].items() if v != {}}}

    def to_toml(self) -> str:
        """Write the recipe as TOML.

        Returns
        -------
        str
            The content of a file that `read_recipe` reads; it shows every option.
        """
        return write_toml(self.to_dict())

    def with_changes(self, changes: Iterable[str]) -> Recipe:
        """Override options.

        Parameters
        ----------
        changes : iterable of str
            "section.option=value", values as in TOML; text needs no quotes. Another
            model.architecture brings the default options of that network, another loss.similarity
            or loss.smoothness its default parameters.

        Returns
        -------
        Recipe
            The changed recipe.

        Raises
        ------
        InputError
            For an option that is not known, or a value that is not valid.
        """
        tree = self.to_dict()
        for change in changes:
            path, value = split_override(change)
            if path == ARCHITECTURE:
                tree["model"] = model_tree(options_of(str(value))())
            elif path in LOSSES:
                option = path.removeprefix("loss.")
                tree["loss"][f"{option}_parameters"] = default_parameters(option, value)
            override(tree, path, value)
        return recipe_from_dict(tree)


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe from a TOML file.

    Parameters
    ----------
    path : str or Path
        The file. Options that it leaves out have their defaults.

    Returns
    -------
    Recipe
        The recipe.

    Raises
    ------
    InputError
        For a file that cannot be read or is not TOML, an option that is not known, or a value that
        is not valid; the message names the option.
    """
    return recipe_from_dict(read_toml(path, "recipe"))


def recipe_from_dict(tree: Mapping[str, Any]) -> Recipe:
    """Make a recipe from the result of `Recipe.to_dict`.

    Parameters
    ----------
    tree : mapping
        Nested tables. Of SACB-Net, one number for model.clusters counts at every level.

    Returns
    -------
    Recipe
        The recipe.

    Raises
    ------
    InputError
        For an option that is not known, or a value that is not valid; the message names it.
    """
    tree = dict(tree)
    model = tree.get("model")
    if isinstance(model, dict) and isinstance(model.get("clusters"), int):
        ours = SACBNetConfig.architecture  # another network's clusters may be one number
        if model.get("architecture", ours) == ours:
            tree["model"] = model | {"clusters": [model["clusters"]] * len(LEVELS)}
    return build(Recipe, tree, "the recipe")


def same_training(a: Recipe, b: Recipe) -> list[str]:
    """Compare two recipes.

    Parameters
    ----------
    a, b : Recipe
        The recipes.

    Returns
    -------
    list of str
        Paths of the options that differ, of those that change the weights of a training.
    """
    flat_a, flat_b = dict(flat(a.to_dict())), dict(flat(b.to_dict()))
    return [
        key for key in flat_a | flat_b if key not in _FREE and flat_a.get(key) != flat_b.get(key)
    ]
