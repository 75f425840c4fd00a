"""Scores during training: the loss, Dice, folding and a picture, on the grid of the training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from sacbnet.config.recipe import LossOptions
from sacbnet.imaging.labels import numbered
from sacbnet.metrics.overlap import dice_of_present, present_labels
from sacbnet.spatial.jacobian import jacobian_determinant
from sacbnet.spatial.warp import warp

from .objective import Batch, displacements, loss_terms, similarity
from .team import Team

Scores = dict[str, float]


@dataclass(frozen=True)
class Slices:
    """Middle slices of one pair, one along each axis.

    Parameters
    ----------
    fixed, moving, moved : list of 3 Tensors
        2-D slices of the images, in [0, 1].
    """

    fixed: list[Tensor]
    moving: list[Tensor]
    moved: list[Tensor]


@torch.no_grad()
def validate(
    network: nn.Module | None,
    pair: Callable[[int], Batch],
    count: int,
    labels: Sequence[int],
    loss: LossOptions,
    team: Team,
    precision: str = "float32",
) -> tuple[Scores, Slices | None]:
    """Score pairs on the grid of the training.

    Parameters
    ----------
    network : nn.Module or None
        The network; None scores the identity.
    pair : callable
        Number of a pair -> a batch of this pair alone.
    count : int
        Number of pairs. They are shared over the team.
    labels : sequence of int
        Labels that are scored.
    loss : LossOptions
        The loss of the training.
    team : Team
        The processes, with their devices.
    precision : {"float32", "bfloat16"}, default "float32"
        Precision of the network's features.

    Returns
    -------
    scores : dict
        Means over the pairs. "loss": the loss that is trained (`loss_terms`), with all labels in
        its Dice term. "similarity": its similarity. "folded_percent": voxels with det J <= 0.
        "dice": of labels warped by nearest neighbour, over the pairs that have labels.
    slices : Slices or None
        Of this process's first pair.

    Raises
    ------
    InputError
        For images or labels that the loss does not take.
    """
    rows: list[Scores] = []
    picture = None
    for n in range(team.rank, count, team.world):
        batch = pair(n)
        u, row = _score(network, batch, labels, loss, precision)
        if batch.moving_labels is not None and batch.fixed_labels is not None and labels:
            found = overlap(batch.moving_labels, batch.fixed_labels, u, labels)
            row |= {} if found is None else {"dice": found}
        rows.append(row)
        moved = warp(batch.moving, u)
        picture = picture or Slices(_middle(batch.fixed), _middle(batch.moving), _middle(moved))
    rows = [row for part in team.gather(rows) for row in part]
    names = sorted({name for row in rows for name in row})
    return {
        name: float(np.mean([row[name] for row in rows if name in row])) for name in names
    }, picture


def _score(
    network: nn.Module | None,
    batch: Batch,
    labels: Sequence[int],
    loss: LossOptions,
    precision: str,
) -> tuple[Tensor, Scores]:
    """The displacement of a batch, and its scores without labels; in autocast, as in training."""
    device = batch.fixed.device
    u, back = torch.zeros(1, 3, *batch.fixed.shape[2:], device=device), None
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        if network is not None:
            u, back = displacements(network, batch, loss)
        terms = loss_terms(u, back, _with_labels_on(device, batch), loss, labels)
        if "similarity" not in terms:  # it has no weight; it is reported all the same
            moving, fixed = batch.views
            terms["similarity"] = similarity(warp(moving, u), fixed, loss, batch.inside(u))
    u = u.float()
    folded = (jacobian_determinant(u[0]) <= 0).float().mean()
    return u, {
        "similarity": float(terms["similarity"]),
        "loss": float(terms["loss"]),
        "folded_percent": 100 * float(folded),
    }


def _with_labels_on(device: torch.device, batch: Batch) -> Batch:
    """Stored labels lie on the CPU, where they are counted."""
    if batch.moving_labels is None or batch.fixed_labels is None:
        return batch
    moving, fixed = batch.moving_labels.to(device), batch.fixed_labels.to(device)
    return replace(batch, moving_labels=moving, fixed_labels=fixed)


def overlap(moving: Tensor, fixed: Tensor, u: Tensor, labels: Sequence[int]) -> float | None:
    """Compute the mean Dice of two label maps after a warp by nearest neighbour.

    Parameters
    ----------
    moving, fixed : Tensor, shape (1, 1, i, j, k)
        Label maps, whole numbers.
    u : Tensor, shape (1, 3, i, j, k)
        Displacement on the fixed grid, in voxels, on any device.
    labels : sequence of int
        Labels that are scored.

    Returns
    -------
    float or None
        Mean over the labels that either map has before the warp (`metrics.overlap.present_labels`);
        a label that vanishes counts as 0. None where there are no such labels.
    """
    # numbers in place of labels: the warp is in float32, which holds no label above 2^24
    of_moving, of_fixed = (numbered(x[0, 0].cpu().numpy(), labels) for x in (moving, fixed))
    present = present_labels(of_moving, of_fixed)
    if not present:
        return None
    moved = warp(
        torch.from_numpy(of_moving)[None, None].to(u.device, torch.float32), u, mode="nearest"
    )
    found = dice_of_present(moved[0, 0].cpu().numpy().astype(of_fixed.dtype), of_fixed, present)
    return sum(found.values()) / len(present)


def _middle(image: Tensor) -> list[Tensor]:
    volume = image[0, 0].float().cpu()
    return [volume.select(axis, volume.shape[axis] // 2) for axis in range(3)]
