"""The pairs of a training: which cases of a packed set they join, and reading them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from sacbnet.config.recipe import DataOptions, Recipe
from sacbnet.data.cases import chosen_by, pair_up, select, spread
from sacbnet.data.pack import Pack
from sacbnet.errors import InputError

from .objective import Batch


@dataclass(frozen=True)
class Data:
    """A packed set, and its pairs (moving, fixed) for training and validation.

    Parameters
    ----------
    pack : Pack
        The packed set.
    training, validation : tuple of pairs of int
        Numbers of the moving and the fixed case of each pair.
    labels : tuple of int
        Labels that are scored.
    factor : int, default 1
        A voxel of the images is as long as this many voxels of the set, along each axis.
    """

    pack: Pack
    training: tuple[tuple[int, int], ...]
    validation: tuple[tuple[int, int], ...]
    labels: tuple[int, ...]
    factor: int = 1  # a voxel of the images is so many voxels of the pack along each axis

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels of the images along each axis."""
        return tuple(n // self.factor for n in self.pack.shape)

    @property
    def spacing_mm(self) -> float:
        """Side of the images' voxels, which are cubes, in mm."""
        return self.factor * self.pack.spacing_mm[0]


def choose(recipe: Recipe, pack: Pack) -> Data:
    """Choose the pairs and labels that a recipe names.

    Parameters
    ----------
    recipe : Recipe
        The options.
    pack : Pack
        The packed set.

    Returns
    -------
    Data
        Set, pairs and labels.

    Raises
    ------
    InputError
        Where the set is not what the recipe needs: images or label maps, cubic voxels, enough
        voxels for all scales, labels for a Dice loss; or where the recipe names no pairs, or labels
        that the set does not have.
    """
    o, made = recipe.data, recipe.synthesis
    if pack.pictured is not (made is None):
        holds, wants = ("images", "label maps") if pack.pictured else ("label maps", "images")
        raise InputError(
            f"{pack.path} holds {holds}; the recipe is for {wants} (its section synthesis, or none)"
        )
    train, validation = _pairs(o, pack)
    data = Data(pack, train, validation, (), 1 if made is None else made.factor)
    if missing := sorted(set(o.labels) - set(pack.label_values)) if pack.label_values else []:
        raise InputError(
            f"data.labels asks for {missing[:8]}; the set has {list(pack.label_values)[:80]}"
        )
    labels = o.labels or pack.label_values
    if recipe.loss.dice_weight and not pack.label_values:
        raise InputError(
            "loss.dice_weight is set but the set has no labels; give labels, or set it to 0"
        )
    sides = pack.spacing_mm
    if max(sides) - min(sides) > 1e-3 * min(sides):
        raise InputError(
            f"the voxels of the set are {sides} mm; cubes were expected: give data.spacing_mm"
        )
    if (least := min(data.shape) >> (recipe.loss.scales - 1)) < 5:
        raise InputError(
            f"loss.scales is {recipe.loss.scales}, which leaves {least} voxels of {data.shape}; at"
            " least 5 were expected"
        )
    limit = recipe.run.validation_limit
    validation = spread(validation, limit) if limit else validation
    return replace(data, validation=validation, labels=tuple(labels) if pack.label_values else ())


def _pairs(
    o: DataOptions, pack: Pack
) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """The pairs to train on, and those to validate.

    Noise maps are no subjects. Where a set holds nothing else, each is a pair with itself.
    """
    names = pack.names[: pack.noise.start]
    if not names:
        alone = tuple((n, n) for n in pack.noise)
        return alone, alone[:: max(1, len(alone) // 4)]
    train = pairs_of("train", o, names, pack.pairs)
    return train, pairs_of("validation", o, names, pack.pairs) if o.validation else ()


def pairs_of(
    part: Literal["train", "validation"],
    o: DataOptions,
    names: Sequence[str],
    listed: Sequence[tuple[int, int]],
) -> tuple[tuple[int, int], ...]:
    """List the pairs of a recipe that a subset and a pairing mean.

    Parameters
    ----------
    part : {"train", "validation"}
        Which pairs of the recipe.
    o : DataOptions
        Its options on data. A validation without a subset takes the cases of the training.
    names : sequence of str
        Names of the cases.
    listed : sequence of pairs of int
        The pairs that the source lists.

    Returns
    -------
    tuple of pairs of int
        Numbers of the moving and the fixed case of each pair.

    Raises
    ------
    InputError
        Where there are none; the message says where the subset came from.
    """
    train = part == "train"
    subset = o.train if train else o.validation or o.train
    how = o.train_pairs if train else o.validation_pairs
    with chosen_by(f"data.{part} and data.{part}_pairs of the recipe"):
        return pair_up(names, select(names, subset), how, atlas=o.atlas, listed=listed)


def stored_pair(pack: Pack, moving: int, fixed: int, device: torch.device | str = "cpu") -> Batch:
    """Read two cases of a set of images, as they are.

    Parameters
    ----------
    pack : Pack
        The packed set.
    moving, fixed : int
        Numbers of the cases.
    device : torch.device or str, default "cpu"
        Where the images go. Labels stay on the CPU, where they are counted.

    Returns
    -------
    Batch
        The pair.
    """
    inside = insides(pack, moving, fixed, device) or (None, None)
    images = pack.image(moving).to(device), pack.image(fixed).to(device)
    return Batch(*images, pack.labels(moving), pack.labels(fixed), *inside)


def insides(
    pack: Pack, moving: int, fixed: int, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor] | None:
    """Read where two images of a set are not padding.

    Parameters
    ----------
    pack : Pack
        The packed set.
    moving, fixed : int
        Numbers of the cases.
    device : torch.device or str, default "cpu"
        Where the masks go.

    Returns
    -------
    tuple of 2 Tensors, shape (1, 1, i, j, k), or None
        Masks of the moving and the fixed image; None where neither is padded.
    """
    found = pack.inside(moving), pack.inside(fixed)
    if found == (None, None):
        return None
    m, f = (
        torch.ones(1, 1, *pack.shape, device=device) if x is None else x.to(device) for x in found
    )
    return m, f
