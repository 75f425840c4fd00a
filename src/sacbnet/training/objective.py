"""The loss of a recipe: from a displacement to its terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sacbnet.losses as losses
from sacbnet.config.recipe import LossOptions
from sacbnet.losses.similarity import EPSILON
from sacbnet.networks.sacbnet.symmetric import SymmetricSACBNet
from sacbnet.spatial.warp import warp

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """Pairs as the network takes them: images (b, 1, i, j, k) float32 in [0, 1]; labels (b, 1, i, j, k) integers.

    A pair without labels has zeros there; labelled: the share of pairs that have some. moving_inside, fixed_inside:
    (b, 1, i, j, k) float32, 0 where an image is only padding that repeats its edges. moving_view, fixed_view: what the
    similarity is measured on in place of the images, where these were made from label maps.
    """

    moving: Tensor
    fixed: Tensor
    moving_labels: Tensor | None = None
    fixed_labels: Tensor | None = None
    moving_inside: Tensor | None = None
    fixed_inside: Tensor | None = None
    moving_view: Tensor | None = None
    fixed_view: Tensor | None = None
    labelled: float = 0.0

    def reversed(self) -> Batch:
        labels, inside = (
            (self.fixed_labels, self.moving_labels),
            (self.fixed_inside, self.moving_inside),
        )
        views = self.fixed_view, self.moving_view
        return Batch(self.fixed, self.moving, *labels, *inside, *views, self.labelled)

    @property
    def views(self) -> tuple[Tensor, Tensor]:
        """Of the moving and of the fixed image: what the similarity is measured on."""
        if self.moving_view is None or self.fixed_view is None:
            return self.moving, self.fixed
        return self.moving_view, self.fixed_view

    def inside(self, displacement_vox: Tensor) -> Tensor | None:
        """Where both images show something, once the moving one is warped; None: everywhere."""
        if self.moving_inside is None or self.fixed_inside is None:
            return None
        return both_inside(self.moving_inside, self.fixed_inside, displacement_vox)


@torch.no_grad()
def both_inside(moving: Tensor, fixed: Tensor, displacement_vox: Tensor) -> Tensor:
    """What lies inside the fixed and the warped moving image: masks (b, 1, i, j, k) -> same shape. No gradient."""
    return fixed * warp(moving, displacement_vox.float())


class Objective(nn.Module):
    """The network with its loss: Batch, labels -> terms, each a scalar, "loss" their weighted sum.

    With a Dice loss there is a term "labelled" besides, the share of the pairs that have labels: "dice" is 0 for the
    others. The terms are thus the same ones for every pair, whatever process sees it.

    labels: those that the Dice loss is to see. One module, so that DistributedDataParallel sees one forward pass even
    where the network runs in both directions. A symmetric network, whose one pass gives both, always learns from both.
    """

    def __init__(self, network: nn.Module, options: LossOptions) -> None:
        super().__init__()
        self.network, self.options = network, options

    def forward(self, batch: Batch, labels: Sequence[int]) -> Terms:
        o, network = self.options, self.network
        back: Tensor | None = None
        if isinstance(network, SymmetricSACBNet):
            u, back = network.both(batch.moving, batch.fixed)
        else:
            u = network(batch.moving, batch.fixed)
            if o.inverse_consistency_weight:
                back = network(batch.fixed, batch.moving)
        terms = _one_way(u, batch, o, labels)
        if back is not None:
            other = _one_way(back, batch.reversed(), o, labels)
            terms = {name: 0.5 * (terms[name] + other[name]) for name in terms}
        if back is not None and o.inverse_consistency_weight:
            terms["inverse_consistency"] = losses.inverse_consistency_loss(u, back)
            terms["loss"] = (
                terms["loss"] + o.inverse_consistency_weight * terms["inverse_consistency"]
            )
        return terms


def _one_way(u: Tensor, batch: Batch, o: LossOptions, labels: Sequence[int]) -> Terms:
    terms: Terms = {}
    if o.similarity_weight:
        moving, fixed = batch.views
        terms["similarity"] = similarity(warp(moving, u), fixed, o, batch.inside(u))
    if o.smoothness_weight:
        terms["smoothness"] = smoothness(u, o)
    if o.jacobian_weight:
        terms["jacobian"] = losses.jacobian_loss(u)
    if o.dice_weight:
        terms["dice"] = _dice(u, batch, labels)
    weights = {name: getattr(o, f"{name}_weight") for name in terms}
    terms["loss"] = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
    if o.dice_weight:
        terms["labelled"] = u.new_full((), batch.labelled)
    return terms


def _dice(u: Tensor, batch: Batch, labels: Sequence[int]) -> Tensor:
    if batch.moving_labels is None or batch.fixed_labels is None:
        return 0.0 * u.sum()
    return losses.dice_loss(u, batch.moving_labels, batch.fixed_labels, labels)


def smoothness(u: Tensor, o: LossOptions) -> Tensor:
    """The recipe's regulariser of a displacement."""
    return losses.gradient_loss(u) if o.smoothness == "gradient" else losses.bending_energy_loss(u)


def similarity(
    moved: Tensor, fixed: Tensor, o: LossOptions, inside: Tensor | None = None
) -> Tensor:
    """The recipe's image term, the mean over its scales: lower is more alike. inside: where ncc counts.

    Not a number where nothing of a sample lies inside: a network that has led all of an image away has diverged, which
    training tells of losses that are not finite.
    """
    if inside is not None and not bool((inside.flatten(1) > 0).any(1).all()):
        return moved.sum() * torch.nan
    terms = [_similarity(moved, fixed, o, o.window, inside)]
    for scale in range(1, o.scales):
        moved, fixed = F.avg_pool3d(moved, 2), F.avg_pool3d(fixed, 2)
        inside = None if inside is None else F.avg_pool3d(inside, 2)
        terms.append(
            _similarity(
                moved, fixed, o, max(2 * (o.window >> (scale + 1)) + 1, min(5, o.window)), inside
            )
        )
    return torch.stack(terms).mean()


def _similarity(
    moved: Tensor, fixed: Tensor, o: LossOptions, window: int, inside: Tensor | None
) -> Tensor:
    if o.similarity == "ncc":
        epsilon = (
            o.noise**4 * window**6 if o.noise else EPSILON
        )  # the product of two windows' sums, of SD `noise`
        return losses.ncc_loss(moved, fixed, window, inside, epsilon)
    if o.similarity == "mse":
        return losses.mse_loss(moved, fixed)
    if o.similarity == "mind":
        return losses.mind_loss(moved, fixed)
    return losses.mutual_information_loss(moved, fixed)


def seen_labels(labels: Sequence[int], o: LossOptions, seed: tuple[int, ...]) -> tuple[int, ...]:
    """The labels that the Dice loss sees in the sample of this seed."""
    if not o.dice_labels or o.dice_labels >= len(labels):
        return tuple(labels)
    chosen = np.random.default_rng(seed).choice(len(labels), o.dice_labels, replace=False)
    return tuple(labels[i] for i in sorted(chosen))
