"""Training pairs made from label maps: any contrast, any shape, no image needed.

The idea is that of SynthMorph (Hoffmann et al., IEEE TMI 2022) and SynthSeg (Billot et al., Medical Image Analysis
2023): where the intensities are random in training, the network learns to look at the anatomy alone. What is ours:
partial volume by looking up several places in each voxel, and a clean view of both anatomies in one random contrast
on which the similarity is measured, so that a pair of any two contrasts has a sharp image term.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sacbnet.config.synthesis import SynthesisOptions

from .deform import coordinates, random_affine, random_box, random_warp
from .render import class_numbers, looked_up, painted, photographed, random_table, view_table

__all__ = ["Anatomy", "SynthesisOptions", "Synthetic", "synthesise"]

_TOGETHER = 0.9  # probability that what is removed is removed from both images, as one tool has prepared both
_PLACES = (
    torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 4
)  # within a voxel, of its side


@dataclass(frozen=True)
class Anatomy:
    """A label map as numbers: (i, j, k) uint8, number n meaning values[n], and values[0] = 0, which is nothing."""

    numbers: Tensor
    values: tuple[int, ...]


@dataclass(frozen=True)
class Synthetic:
    """A pair. images: float32 in [0, 1]; labels: int32 values of the maps; views: both clean, in one contrast, in
    [0, 1]. Each is (1, 1, i, j, k)."""

    moving: Tensor
    fixed: Tensor
    moving_labels: Tensor
    fixed_labels: Tensor
    moving_view: Tensor
    fixed_view: Tensor


def synthesise(
    o: SynthesisOptions, seed: Sequence[int], moving: Anatomy, fixed: Anatomy, spacing_mm: float
) -> Synthetic:
    """The pair of images of two anatomies (on one grid of cubes of spacing_mm) that belongs to the seed.

    The result lies on the device of the numbers and is a function of the arguments alone.
    """
    common, *own = (np.random.default_rng((*seed, n)) for n in range(3))
    shared = random_affine(o, 1.0, common)
    shape, place = random_box(o, fixed.numbers.shape, spacing_mm, np.random.default_rng((*seed, 3)))
    affines = (shared @ random_affine(o, o.relative, common) @ place, shared @ place)
    gone = [group for group in o.removable if common.random() < o.removed]
    tables = [random_table(class_numbers(moving.values, o.classes), common) for _ in range(2)]
    if common.random() < o.same_contrast:
        tables[1] = tables[0]
    view = view_table(class_numbers(moving.values, o.classes), common)
    images, labels, views = [], [], []
    for n, anatomy in enumerate((moving, fixed)):
        seen = _seen(o, anatomy, shape, affines[n], spacing_mm, own[n])
        mine = [group for group in gone if own[n].random() < _TOGETHER]
        table = tables[n] * _kept(anatomy.values, mine) if mine else tables[n]
        clean = _cropped(o, painted(seen, table), own[n])
        images.append(photographed(o, clean, own[n]))
        left = _kept(anatomy.values, gone)
        views.append(painted(seen, view * left))
        labels.append(
            looked_up(torch.tensor(anatomy.values, dtype=torch.int32) * left.int(), seen[0])[
                None, None
            ]
        )
    return Synthetic(*images, *labels, *views)


def _kept(values: Sequence[int], removed: Sequence[Sequence[int]]) -> Tensor:
    """1 for each value that stays, 0 for those removed and for nothing."""
    gone = {0, *(value for group in removed for value in group)}
    return torch.tensor([float(value not in gone) for value in values])


def _cropped(o: SynthesisOptions, image: Tensor, rng: np.random.Generator) -> Tensor:
    """The image, at times black beyond a plane across an axis, up to a quarter from its end."""
    drawn = rng.random(4)
    if drawn[0] >= o.cropped:
        return image
    axis = 2 + int(3 * drawn[1])
    n = image.shape[axis]
    cut = int(drawn[2] * n / 4)
    image = image.clone()
    image.narrow(axis, 0 if drawn[3] < 0.5 else n - cut, cut).zero_()
    return image


def _seen(
    o: SynthesisOptions,
    anatomy: Anatomy,
    shape: Sequence[int],
    affine: np.ndarray,
    spacing_mm: float,
    rng: np.random.Generator,
) -> Tensor:
    """(5, i, j, k) uint8: the numbers at the middle of each voxel, and at four places about it. Nothing beyond."""
    numbers = F.pad(
        anatomy.numbers, [1] * 6
    )  # nothing lies all about: what looks beyond the edge is sent there
    size = anatomy.numbers.shape
    at = coordinates(affine, shape, size, o.factor, spacing_mm)
    at += random_warp(o, shape, o.factor * spacing_mm, rng) / spacing_mm
    at = at.to(numbers.device)
    out = []
    for place in (torch.zeros(3), *(_PLACES * o.factor)):
        index = torch.zeros(tuple(shape), dtype=torch.int32, device=at.device)
        for axis, n in enumerate(size):
            nearest = (at[axis] + (float(place[axis]) + 1.5)).floor_().clamp_(0, n + 1).int()
            index = index.mul_(n + 2).add_(nearest)
        # index_select: twenty times as fast as indexing
        out.append(numbers.flatten().index_select(0, index.flatten()).reshape(shape))
    return torch.stack(out)
