"""Scores during training: Dice, folding, and a picture, on the grid that the network is trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sacbnet.config.recipe import LossOptions
from sacbnet.imaging.labels import numbered
from sacbnet.metrics.overlap import dice_of_present, present_labels
from sacbnet.spatial.jacobian import jacobian_determinant
from sacbnet.spatial.warp import warp

from .objective import Batch, similarity, smoothness
from .team import Team

Scores = dict[str, float]


@dataclass(frozen=True)
class Slices:
    """Middle slices of one pair: (3 planes) of fixed, moving, moved, each a row of 2-D arrays in [0, 1]."""

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
    """Means over pair(0) to pair(count - 1): "dice" (labels by nearest, of the pairs that have any), "similarity" (the
    recipe's image term), "loss" (it and the smoothness, weighted), "folded_percent" (det J <= 0). Without network: of
    the identity. The pairs are shared over the team.
    """
    rows: list[Scores] = []
    picture = None
    for n in range(team.rank, count, team.world):
        batch = pair(n)
        moving, fixed = batch.moving, batch.fixed
        u = torch.zeros(1, 3, *fixed.shape[2:], device=team.device)
        if network is not None:
            with torch.autocast(team.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                u = network(moving, fixed).float()
        of_moving, of_fixed = batch.views
        row = {
            "similarity": (
                alike := float(similarity(warp(of_moving, u), of_fixed, loss, batch.inside(u)))
            ),
            "loss": loss.similarity_weight * alike
            + loss.smoothness_weight * float(smoothness(u, loss)),
            "folded_percent": 100 * float((jacobian_determinant(u[0]) <= 0).float().mean()),
        }
        if batch.moving_labels is not None and batch.fixed_labels is not None and labels:
            found = overlap(batch.moving_labels, batch.fixed_labels, u, labels)
            row |= {} if found is None else {"dice": found}
        rows.append(row)
        picture = picture or Slices(_middle(fixed), _middle(moving), _middle(warp(moving, u)))
    rows = [row for part in team.gather(rows) for row in part]
    names = sorted({name for row in rows for name in row})
    return {
        name: float(np.mean([row[name] for row in rows if name in row])) for name in names
    }, picture


def overlap(moving: Tensor, fixed: Tensor, u: Tensor, labels: Sequence[int]) -> float | None:
    """Mean Dice of label maps (1, 1, i, j, k), the moving one warped by nearest neighbour through u on any device.

    The mean is over those of `labels` that either map has before the warp (`metrics.present_labels`): one that vanishes
    counts as 0. None where there are none.
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
