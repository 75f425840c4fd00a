"""The loss of a recipe: from a batch and a displacement to the terms of the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import sacbnet.losses as losses
from sacbnet.config.recipe import LossOptions
from sacbnet.losses.terms import similarity_loss, smoothness_loss
from sacbnet.networks.sacbnet.symmetric import SymmetricSACBNet
from sacbnet.spatial.warp import warp

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """Pairs as the network takes them.

    Parameters
    ----------
    moving, fixed : Tensor, shape (b, 1, i, j, k)
        Images, float32, in [0, 1].
    moving_labels, fixed_labels : Tensor, shape (b, 1, i, j, k), optional
        Labels, whole numbers; zeros for a pair without labels.
    moving_inside, fixed_inside : Tensor, shape (b, 1, i, j, k), optional
        float32; 0 where an image is only padding that repeats its edges. None means 1 everywhere.
    moving_view, fixed_view : Tensor, shape (b, 1, i, j, k), optional
        What the similarity is measured on instead of the images, where the images were made from
        label maps.
    labelled : float, default 0
        Share of the pairs that have labels.
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
        """Exchange fixed and moving.

        Returns
        -------
        Batch
            The same pairs in the other direction.
        """
        labels = self.fixed_labels, self.moving_labels
        inside = self.fixed_inside, self.moving_inside
        views = self.fixed_view, self.moving_view
        return Batch(self.fixed, self.moving, *labels, *inside, *views, self.labelled)

    @property
    def views(self) -> tuple[Tensor, Tensor]:
        """What the similarity is measured on: of the moving and of the fixed image."""
        if self.moving_view is None or self.fixed_view is None:
            return self.moving, self.fixed
        return self.moving_view, self.fixed_view

    def inside(self, displacement_vox: Tensor) -> Tensor | None:
        """Find where both images show something, once the moving one is warped.

        Parameters
        ----------
        displacement_vox : Tensor, shape (b, 3, i, j, k)
            Displacement on the fixed grid, in voxels.

        Returns
        -------
        Tensor, shape (b, 1, i, j, k), or None
            Weights from 0 to 1; None means everywhere.
        """
        if self.moving_inside is None or self.fixed_inside is None:
            return None
        return both_inside(self.moving_inside, self.fixed_inside, displacement_vox)


@torch.no_grad()
def both_inside(moving: Tensor, fixed: Tensor, displacement_vox: Tensor) -> Tensor:
    """Find what lies inside the fixed and the warped moving image.

    Parameters
    ----------
    moving, fixed : Tensor, shape (b, 1, i, j, k)
        Masks, float32.
    displacement_vox : Tensor, shape (b, 3, i, j, k)
        Displacement on the fixed grid, in voxels.

    Returns
    -------
    Tensor, shape (b, 1, i, j, k)
        Product of the fixed mask and the warped moving mask; it has no gradient.
    """
    return fixed * warp(moving, displacement_vox.float())


class Objective(nn.Module):
    """A network with its loss: one module that is called with a batch and the labels to see.

    One module, so that DistributedDataParallel sees one forward pass even where the network runs in
    both directions.

    Parameters
    ----------
    network : nn.Module
        The network.
    options : LossOptions
        The loss.
    """

    def __init__(self, network: nn.Module, options: LossOptions) -> None:
        super().__init__()
        self.network, self.options = network, options

    def forward(self, batch: Batch, labels: Sequence[int]) -> Terms:
        """Batch, labels that the Dice loss sees -> terms as of `loss_terms`."""
        found = displacements(self.network, batch, self.options)
        return loss_terms(*found, batch, self.options, labels)


def displacements(
    network: nn.Module, batch: Batch, options: LossOptions
) -> tuple[Tensor, Tensor | None]:
    """Run a network as its loss needs it.

    Parameters
    ----------
    network : nn.Module
        The network.
    batch : Batch
        The pairs.
    options : LossOptions
        The loss. With inverse consistency the network runs in both directions.

    Returns
    -------
    forward_vox : Tensor, shape (b, 3, i, j, k)
        Displacement on the fixed grid, in voxels.
    backward_vox : Tensor, shape (b, 3, i, j, k), or None
        Displacement on the moving grid; None where the loss does not need it. A symmetric network,
        whose one pass gives both directions, always learns from both.
    """
    if isinstance(network, SymmetricSACBNet):
        return network.both(batch.moving, batch.fixed)
    u = network(moving=batch.moving, fixed=batch.fixed)
    back = (
        network(moving=batch.fixed, fixed=batch.moving)
        if options.inverse_consistency_weight
        else None
    )
    return u, back


def loss_terms(
    forward_vox: Tensor,
    backward_vox: Tensor | None,
    batch: Batch,
    options: LossOptions,
    labels: Sequence[int],
) -> Terms:
    """Compute the loss of a recipe; training and validation both call this function.

    Parameters
    ----------
    forward_vox : Tensor, shape (b, 3, i, j, k)
        Displacement on the fixed grid, in voxels.
    backward_vox : Tensor, shape (b, 3, i, j, k), or None
        Displacement on the moving grid. With it each term is the mean over both directions, and
        there may be an inverse consistency.
    batch : Batch
        The pairs.
    options : LossOptions
        The loss.
    labels : sequence of int
        Labels that the Dice loss sees.

    Returns
    -------
    dict
        Name of a term -> scalar tensor: the terms whose weights are not 0, and "loss", their
        weighted sum. With a Dice loss there is "labelled" as well, the share of the pairs that have
        labels; "dice" is 0 for the other pairs. So the terms have the same names for every pair,
        whichever process sees it.

    Raises
    ------
    InputError
        For images, labels or parameters that a loss does not take.
    """
    terms = _one_way(forward_vox, batch, options, labels)
    if backward_vox is None:
        return terms
    other = _one_way(backward_vox, batch.reversed(), options, labels)
    terms = {name: 0.5 * (terms[name] + other[name]) for name in terms}
    if weight := options.inverse_consistency_weight:
        missed = losses.inverse_consistency_loss(forward_vox, backward_vox)
        terms["inverse_consistency"] = missed
        terms["loss"] = terms["loss"] + weight * missed
    return terms


def _one_way(u: Tensor, batch: Batch, o: LossOptions, labels: Sequence[int]) -> Terms:
    terms: Terms = {}
    if o.similarity_weight:
        moving, fixed = batch.views
        terms["similarity"] = similarity(warp(moving, u), fixed, o, batch.inside(u))
    if o.smoothness_weight:
        terms["smoothness"] = smoothness_loss(u, o.smoothness_term)
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


def similarity(
    moved: Tensor, fixed: Tensor, options: LossOptions, inside: Tensor | None = None
) -> Tensor:
    """Compute the similarity of a recipe.

    Parameters
    ----------
    moved, fixed : Tensor, shape (b, 1, i, j, k)
        The images.
    options : LossOptions
        The loss.
    inside : Tensor, shape (b, 1, i, j, k), optional
        Where both images show something; None means everywhere.

    Returns
    -------
    Tensor, scalar
        Mean over the scales; smaller is more alike. It is not a number where nothing of a sample
        lies inside: a network that moved all of an image away has diverged, and training stops at a
        loss that is not finite.

    Raises
    ------
    InputError
        For images that the loss does not take.
    """
    if inside is not None and not bool((inside.flatten(1) > 0).any(1).all()):
        return moved.sum() * torch.nan
    return similarity_loss(moved, fixed, options.similarity_term, inside, options.scales)


def seen_labels(
    labels: Sequence[int], options: LossOptions, seed: tuple[int, ...]
) -> tuple[int, ...]:
    """Draw the labels that the Dice loss sees in one sample.

    Parameters
    ----------
    labels : sequence of int
        All labels.
    options : LossOptions
        The loss; it says how many labels are drawn.
    seed : tuple of int
        The seed that belongs to the sample.

    Returns
    -------
    tuple of int
        The labels, in the order of `labels`.
    """
    count = options.dice_labels
    if not count or count >= len(labels):
        return tuple(labels)
    chosen = np.random.default_rng(seed).choice(len(labels), count, replace=False)
    return tuple(labels[i] for i in sorted(chosen))
