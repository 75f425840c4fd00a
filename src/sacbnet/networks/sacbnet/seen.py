"""What a SACB-Net saw of a pair: the regions of every level, and how sure its matching was.

The published method shows neither. Source of both: Cheng et al., CVPR 2025, sections 3.2 (clusters) and 3.3 (matching);
the spread is the standard deviation of the offset under the matching's own softmax.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .block import Clustering
from .network import SACBNet
from .symmetric import SymmetricSACBNet

SIDES = ("fixed", "moving")


@dataclass(eq=False)
class Seen:
    """labels: of each level, of fixed and moving (2, i, j, k), clusters from 1, on the level's own lattice; the moving
    image's are of its features as warped so far, so that both lie on the fixed image. spread: of each level matched,
    (1, 1, i, j, k), trace of the offset's covariance, in voxels² of the level. half_way: of a symmetric network, the
    regions lie between the images, on the grid of neither, and are counted only."""

    labels: dict[int, Tensor] = field(default_factory=dict)
    spread: dict[int, Tensor] = field(default_factory=dict)
    half_way: bool = False

    def numbers(self) -> dict[str, dict[str, int]]:
        """How many clusters each image had, by level: what run.json tells."""
        return {
            f"level{level}": {
                side: int(x.flatten().bincount().count_nonzero())
                for side, x in zip(SIDES, labels, strict=True)
            }
            for level, labels in sorted(self.labels.items())
        }


@contextmanager
def watching(network: object, spread: bool = False) -> Iterator[Seen]:
    """Note what the first pass of a network sees of one pair, while the block lasts; nothing where it has no regions.

    spread: also how sure the matching is, which takes as long as the matching once more.
    """
    seen = Seen()
    levels: dict[torch.Size, int] = {}  # by the lattice's shape

    def of_encoder(module: nn.Module, inputs: Any, features: list[Tensor]) -> None:
        levels.update({x.shape[2:]: level for level, x in enumerate(features, 1)})

    def of_clusters(module: nn.Module, inputs: Any, found: Any) -> None:
        size = inputs[0].shape[2:]
        if (level := levels[size]) not in seen.labels:
            seen.labels[level] = found.labels.detach().reshape(-1, *size) + 1

    def of_matching(module: Any, inputs: Any, found: Any) -> None:
        moving, fixed = inputs
        if (level := levels[fixed.shape[2:]]) not in seen.spread:
            with torch.no_grad():
                seen.spread[level] = module.spread(moving, fixed)

    with ExitStack() as stack:
        inner = network
        while hasattr(inner, "network"):  # one that runs it both ways, or mirrored
            inner = inner.network
        if isinstance(inner, SACBNet):
            seen.half_way = isinstance(inner, SymmetricSACBNet)
            hooks: list[tuple[nn.Module, Any]] = [(inner.encoder, of_encoder)]
            hooks += [
                (module, of_clusters)
                for module in inner.modules()
                if isinstance(module, Clustering)
            ]
            hooks += [(inner.matching, of_matching)] if spread else []
            for module, hook in hooks:
                stack.callback(module.register_forward_hook(hook).remove)
        yield seen
