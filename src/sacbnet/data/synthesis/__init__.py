"""Synthesise training pairs from label maps: any contrast, any shape, no image needed.

The idea is that of SynthMorph (Hoffmann et al., IEEE TMI 2022) and SynthSeg (Billot et al., Medical
Image Analysis 2023): if the intensities are random in training, the network learns to look at the
anatomy alone. Two parts are new here. Partial volume comes from several places in each voxel. And
the similarity is measured on a clean view of both anatomies in one random contrast, so that a pair
of any two contrasts has a sharp image term.
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

_TOGETHER = 0.9  # probability of removal from both images: one tool has often prepared both
_PLACES = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 4  # parts of a voxel


@dataclass(frozen=True)
class Anatomy:
    """A label map in compact form.

    Parameters
    ----------
    numbers : Tensor, shape (i, j, k)
        uint8; number n means the label ``values[n]``.
    values : tuple of int
        Label values; the first one is 0, which is background.
    """

    numbers: Tensor
    values: tuple[int, ...]


@dataclass(frozen=True)
class Synthetic:
    """A synthetic pair. Each tensor has the shape (1, 1, i, j, k).

    Parameters
    ----------
    moving, fixed : Tensor
        The images, float32 in [0, 1].
    moving_labels, fixed_labels : Tensor
        int32, the label values of the maps.
    moving_view, fixed_view : Tensor
        Both anatomies without noise and in one contrast, float32 in [0, 1].
    """

    moving: Tensor
    fixed: Tensor
    moving_labels: Tensor
    fixed_labels: Tensor
    moving_view: Tensor
    fixed_view: Tensor


def synthesise(
    o: SynthesisOptions, seed: Sequence[int], moving: Anatomy, fixed: Anatomy, spacing_mm: float
) -> Synthetic:
    """Synthesise a pair of images of two anatomies. The result depends on the arguments alone.

    Parameters
    ----------
    o : SynthesisOptions
        The ranges of all random quantities.
    seed : sequence of int
        Decides the pair.
    moving, fixed : Anatomy
        The anatomies, on one grid.
    spacing_mm : float
        The isotropic spacing of that grid.

    Returns
    -------
    Synthetic
        The pair, on the device of the anatomies.
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
    """1 for each value that stays; 0 for each removed value and for the background."""
    gone = {0, *(value for group in removed for value in group)}
    return torch.tensor([float(value not in gone) for value in values])


def _cropped(o: SynthesisOptions, image: Tensor, rng: np.random.Generator) -> Tensor:
    """The image; sometimes black beyond a plane across an axis, up to a quarter from its end."""
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
    """The numbers at the middle of each voxel and at four places around it, (5, i, j, k) uint8.

    Outside the map they are 0.
    """
    numbers = F.pad(anatomy.numbers, [1] * 6)  # places outside the map are clamped to this edge
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
        # index_select is twenty times as fast as indexing
        out.append(numbers.flatten().index_select(0, index.flatten()).reshape(shape))
    return torch.stack(out)
