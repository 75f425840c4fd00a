"""Batches: which pairs they hold, and a thread that reads them ahead."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor

from sacbnet.config.augmentation import Augmentation
from sacbnet.config.recipe import Recipe
from sacbnet.data.augment import augment
from sacbnet.errors import InputError

from .maps import Maps
from .objective import Batch, seen_labels
from .pairs import Data, insides, stored_pair
from .sampler import pair_number, samples_of
from .team import Team


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
