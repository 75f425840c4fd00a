"""Batches: which pairs, read ahead of the step that needs them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..data.augment import Augmentation, augment
from ..data.cases import pair_up, select
from ..data.pack import Pack
from ..errors import InputError
from .objective import Batch, seen_labels
from .recipe import AugmentOptions, Recipe
from .sampler import pair_number, samples_of

Group = tuple[Batch, tuple[int, ...]]  # a batch, and the labels that its Dice loss sees


@dataclass(frozen=True)
class Data:
    """A packed set and the (moving, fixed) pairs of it that are trained on and validated. labels: the scored ones."""

    pack: Pack
    training: tuple[tuple[int, int], ...]
    validation: tuple[tuple[int, int], ...]
    labels: tuple[int, ...]


def choose(recipe: Recipe, pack: Pack) -> Data:
    """The pairs that the recipe names. InputError where it names none, or labels that the set lacks."""
    o = recipe.data
    train = pairs_of(pack.names, o.train, o.train_pairs, o.atlas, pack.pairs)
    validation = pairs_of(pack.names, o.validation, o.validation_pairs, o.atlas, pack.pairs) if o.validation else ()
    if missing := sorted(set(o.labels) - set(pack.label_values)) if pack.label_values else []:
        raise InputError(f"data.labels asks for {missing[:8]}; the set has {list(pack.label_values)[:80]}")
    labels = o.labels or pack.label_values
    if recipe.loss.dice_weight and not pack.label_values:
        raise InputError("loss.dice_weight is set but the set has no labels; give labels, or set it to 0")
    limit = recipe.run.validation_pairs
    return Data(pack, train, validation[:limit] if limit else validation, tuple(labels) if pack.label_values else ())


def pairs_of(
    names: Sequence[str], subset: str, how: str, atlas: str, listed: Sequence[tuple[int, int]]
) -> tuple[tuple[int, int], ...]:
    """The (moving, fixed) pairs that a subset and a pairing mean. InputError where there are none."""
    return pair_up(names, select(names, subset), how, atlas=atlas, listed=listed)


class Loader:
    """The groups of pairs of this process's steps. The next step's are read by a thread while the present one runs."""

    def __init__(self, data: Data, recipe: Recipe, rank: int, world: int, device: torch.device) -> None:
        each = world * recipe.run.pairs_at_once
        if recipe.run.batch % each:
            raise InputError(
                f"run.batch is {recipe.run.batch}; a multiple of {each} was expected (processes × run.pairs_at_once)"
            )
        self.data, self.recipe, self.rank, self.world, self.device = data, recipe, rank, world, device
        wanted = recipe.augment != AugmentOptions()
        self.augmentation = Augmentation(**vars(recipe.augment)) if wanted else None
        self._thread = ThreadPoolExecutor(1)
        self._ahead: tuple[int, Future[list[Group]]] | None = None

    def step(self, step: int) -> list[Group]:
        """The groups of one step, on the device."""
        found = self._ahead[1] if self._ahead and self._ahead[0] == step else self._thread.submit(self._read, step)
        groups = found.result()
        if step + 1 < self.recipe.run.steps:
            self._ahead = (step + 1, self._thread.submit(self._read, step + 1))
        return [(_to(batch, self.device), labels) for batch, labels in groups]

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _read(self, step: int) -> list[Group]:
        run = self.recipe.run
        groups = []
        for samples in samples_of(step, run.batch, run.pairs_at_once, self.rank, self.world):
            parts = [self._pair(sample) for sample in samples]
            groups.append((_stack(parts), seen_labels(self.data.labels, self.recipe.loss, (run.seed, samples[0], 1))))
        return groups

    def _pair(self, sample: int) -> Batch:
        m, f = self.data.training[pair_number(sample, len(self.data.training), self.recipe.run.seed)]
        pack = self.data.pack
        images, labels = (pack.image(m), pack.image(f)), None
        inside = insides(pack, m, f)
        if self.recipe.loss.dice_weight:
            labels = (pack.labels(m), pack.labels(f))
        if self.augmentation is not None:
            seed = (self.recipe.run.seed, sample, 2)
            images, labels = augment(self.augmentation, seed, images, labels, pack.spacing_mm)
            if inside is not None:  # the same places of the same seed
                places = replace(self.augmentation, gamma=0.0, bias=0.0, noise=0.0)
                inside, _ = augment(places, seed, inside, None, pack.spacing_mm)
        return Batch(*images, *(labels or (None, None)), *(inside or (None, None)))


def insides(pack: Pack, moving: int, fixed: int) -> tuple[Tensor, Tensor] | None:
    """Where the two images are not padding, (1, 1, i, j, k) each; None where neither is padded."""
    found = pack.inside(moving), pack.inside(fixed)
    if found == (None, None):
        return None
    m, f = (torch.ones(1, 1, *pack.shape) if x is None else x for x in found)
    return m, f


def _stack(parts: Sequence[Batch]) -> Batch:
    def joined(tensors: Sequence[Tensor | None]) -> Tensor | None:
        present = [t for t in tensors if t is not None]
        return torch.cat(present) if len(present) == len(tensors) else None

    if any(p.fixed_inside is not None for p in parts):
        all_of_it = torch.ones_like(parts[0].fixed)
        parts = [
            p if p.fixed_inside is not None else replace(p, moving_inside=all_of_it, fixed_inside=all_of_it)
            for p in parts
        ]
    columns = zip(*(vars(p).values() for p in parts), strict=True)
    return Batch(*(joined(column) for column in columns))  # type: ignore[arg-type]


def _to(batch: Batch, device: torch.device) -> Batch:
    return Batch(*(None if t is None else t.to(device) for t in vars(batch).values()))  # type: ignore[arg-type]
