"""Batches: which pairs they hold, and a thread that reads them ahead."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sacbnet.config.augmentation import Augmentation
from sacbnet.config.recipe import DataOptions, Recipe
from sacbnet.data.augment import augment
from sacbnet.data.cases import pair_up, select, spread
from sacbnet.data.pack import Pack
from sacbnet.errors import InputError

from .maps import Maps
from .objective import Batch, seen_labels
from .sampler import pair_number, samples_of
from .team import Team


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
    train = pairs_of(names, o.train, o.train_pairs, o.atlas, pack.pairs)
    return train, pairs_of(
        names, o.validation, o.validation_pairs, o.atlas, pack.pairs
    ) if o.validation else ()


def pairs_of(
    names: Sequence[str], subset: str, how: str, atlas: str, listed: Sequence[tuple[int, int]]
) -> tuple[tuple[int, int], ...]:
    """List the pairs that a subset and a pairing mean.

    Parameters
    ----------
    names : sequence of str
        Names of the cases.
    subset : str
        Which cases, as `DataOptions.train`.
    how : str
        Which pairs, as `DataOptions.train_pairs`.
    atlas : str
        Name of the moving case of atlas pairs.
    listed : sequence of pairs of int
        The pairs that the source lists.

    Returns
    -------
    tuple of pairs of int
        Numbers of the moving and the fixed case of each pair.

    Raises
    ------
    InputError
        Where there are none.
    """
    return pair_up(names, select(names, subset), how, atlas=atlas, listed=listed)


class Loader:
    """The batches of this process's steps, on its device.

    A thread makes the batches of the next step during the present one.

    Parameters
    ----------
    data : Data
        Set, pairs and labels.
    recipe : Recipe
        The options.
    team : Team
        The processes that share each batch.

    Raises
    ------
    InputError
        Where the batch cannot be shared by so many processes.
    """

    def __init__(self, data: Data, recipe: Recipe, team: Team) -> None:
        check_batch(recipe, team.world)
        self.data, self.recipe, self.team = data, recipe, team
        self.augmentation = recipe.augment if recipe.augment != Augmentation() else None
        self.maps = (
            None if recipe.synthesis is None else Maps(data.pack, recipe.synthesis, team.device)
        )
        self._thread = ThreadPoolExecutor(1)
        self._ahead: tuple[int, Future[list[Batch]]] | None = None

    def step(self, step: int) -> list[Batch]:
        """Make the batches of one step, whose gradients are accumulated.

        Parameters
        ----------
        step : int
            Number of the step, from 0.

        Returns
        -------
        list of Batch
            The batches of this process.
        """
        found = (
            self._ahead[1]
            if self._ahead and self._ahead[0] == step
            else self._thread.submit(self._make, step)
        )
        batches = found.result()
        if step + 1 < self.recipe.run.steps:
            self._ahead = (step + 1, self._thread.submit(self._make, step + 1))
        return batches

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _make(self, step: int) -> list[Batch]:
        run, team = self.recipe.run, self.team
        groups = samples_of(step, run.batch, run.pairs_at_once, team.rank, team.world)
        return [_stack([self._pair(sample) for sample in samples]) for samples in groups]

    def _pair(self, sample: int) -> Batch:
        m, f = self.data.training[
            pair_number(sample, len(self.data.training), self.recipe.run.seed)
        ]
        pack, device, seed = self.data.pack, self.team.device, self.recipe.run.seed
        if self.maps is not None:
            made = self.maps.pair(m, f, (seed, sample, 3))
            assert made.moving_labels is not None and made.fixed_labels is not None
            chosen = self._seen(made.moving_labels, made.fixed_labels, (seed, sample, 1))
            return replace(made, moving_labels=chosen[0], fixed_labels=chosen[1])
        images = (pack.image(m).to(device), pack.image(f).to(device))
        labels, inside = self._labels(m, f, (seed, sample, 1)), insides(pack, m, f, device)
        if self.augmentation is not None:
            images, labels = augment(
                self.augmentation, (seed, sample, 2), images, labels, pack.spacing_mm
            )
            if inside is not None:  # the same geometry from the same seed
                places = replace(self.augmentation, gamma=0.0, bias=0.0, noise=0.0)
                inside, _ = augment(places, (seed, sample, 2), inside, None, pack.spacing_mm)
        maps = labels or (None, None)
        m_inside, f_inside = inside or (None, None)
        return Batch(
            *images, maps[0], maps[1], m_inside, f_inside, labelled=float(labels is not None)
        )

    def validation(self, n: int) -> Batch:
        """Make a pair for validation, with all its labels.

        Parameters
        ----------
        n : int
            Number of the pair.

        Returns
        -------
        Batch
            The pair. A pair that is made from label maps is the same each time.
        """
        pair = self.data.validation[n]
        if self.maps is not None:
            return self.maps.pair(*pair, (self.recipe.run.seed, n, 4))
        return stored_pair(self.data.pack, *pair, self.team.device)

    def _labels(
        self, moving: int, fixed: int, seed: tuple[int, ...]
    ) -> tuple[Tensor | None, Tensor | None] | None:
        """Both label maps, with the labels that the Dice loss sees; None where a map is missing."""
        m, f = self.data.pack.labels(moving), self.data.pack.labels(fixed)
        if not self.recipe.loss.dice_weight or m is None or f is None:
            return None
        return self._seen(m.to(self.team.device), f.to(self.team.device), seed)

    def _seen(self, m: Tensor, f: Tensor, seed: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Label maps with the labels alone that the Dice loss sees in the sample of this seed."""
        seen = seen_labels(self.data.labels, self.recipe.loss, seed)
        if len(seen) == len(self.data.labels):
            return m, f
        wanted = torch.tensor(seen, device=m.device, dtype=m.dtype)
        return m * torch.isin(m, wanted), f * torch.isin(f, wanted)


def check_batch(recipe: Recipe, world: int) -> None:
    """Check that processes can share a batch.

    Parameters
    ----------
    recipe : Recipe
        The options.
    world : int
        Number of processes.

    Raises
    ------
    InputError
        Where the batch is no multiple of what the processes take at once, or where pairs of
        different shapes would go through the network together.
    """
    each = world * recipe.run.pairs_at_once
    if recipe.run.batch % each:
        raise InputError(
            f"run.batch is {recipe.run.batch}; a multiple of {each} was expected (processes ×"
            " run.pairs_at_once)"
        )
    made = recipe.synthesis
    if made is not None and made.box[0] < made.box[1] and recipe.run.pairs_at_once > 1:
        raise InputError(
            "synthesis.box gives each pair a shape of its own; run.pairs_at_once = 1 was expected"
        )


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


def _stack(parts: Sequence[Batch]) -> Batch:
    """Join batches: a part without labels gets zeros, a part without padding gets ones."""

    def joined(name: str, fill: float) -> Tensor | None:
        found = [getattr(part, name) for part in parts]
        like = next((x for x in found if x is not None), None)
        return (
            None
            if like is None
            else torch.cat([torch.full_like(like, fill) if x is None else x for x in found])
        )

    labels = joined("moving_labels", 0), joined("fixed_labels", 0)
    places = joined("moving_inside", 1), joined("fixed_inside", 1)
    views = joined("moving_view", 0), joined("fixed_view", 0)
    share = sum(part.labelled for part in parts) / len(parts)
    images = torch.cat([p.moving for p in parts]), torch.cat([p.fixed for p in parts])
    return Batch(*images, *labels, *places, *views, share)
