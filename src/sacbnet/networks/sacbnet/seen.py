"""What a SACB-Net saw of a pair: the regions of every level.

The published method does not show them. Source: Cheng et al., CVPR 2025, section 3.2.
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
    """What the network saw of one pair, by pyramid level.

    Parameters
    ----------
    labels : dict of int to Tensor, shape (2, i, j, k)
        The cluster of each voxel, from 1, on the level's own lattice: of the fixed image, then of
        the moving image. The moving image's features were warped by the displacement so far, so
        both lie on the fixed image.
    half_way : bool, default False
        The network is symmetric: the regions lie between the images, on the grid of neither. They
        are counted and not drawn.
    """

    labels: dict[int, Tensor] = field(default_factory=dict)
    half_way: bool = False

    def numbers(self) -> dict[str, dict[str, int]]:
        """Count the clusters of each image, as run.json reports them.

        Returns
        -------
        dict
            "level2" to "level5", and in each of them "fixed" and "moving": clusters that have
            voxels.
        """
        return {
            f"level{level}": {
                side: int(x.flatten().bincount().count_nonzero())
                for side, x in zip(SIDES, labels, strict=True)
            }
            for level, labels in sorted(self.labels.items())
        }


@contextmanager
def watching(network: object) -> Iterator[Seen]:
    """Record what a network sees of one pair while the block of this context runs.

    Only the first pass is recorded. Nothing is recorded of a network that has no regions.

    Parameters
    ----------
    network : object
        The network, or a wrapper that holds it as its attribute ``network``.

    Yields
    ------
    Seen
        Filled when the network runs.
    """
    seen = Seen()
    inner = network
    while hasattr(inner, "network"):  # a wrapper that runs it in both directions, or mirrored
        inner = inner.network
    with ExitStack() as stack:
        if isinstance(inner, SACBNet):
            seen.half_way = isinstance(inner, SymmetricSACBNet)
            for module, hook in _hooks(inner, seen):
                stack.callback(module.register_forward_hook(hook).remove)
        yield seen


def _hooks(network: SACBNet, seen: Seen) -> list[tuple[nn.Module, Any]]:
    """The modules to hook, each with the hook that fills `seen`."""
    levels: dict[torch.Size, int] = {}  # by the shape of the level's lattice

    def of_encoder(module: nn.Module, inputs: Any, features: list[Tensor]) -> None:
        levels.update({x.shape[2:]: level for level, x in enumerate(features, 1)})

    def of_clusters(module: nn.Module, inputs: Any, found: Any) -> None:
        size = inputs[0].shape[2:]
        if (level := levels[size]) not in seen.labels:
            seen.labels[level] = found.labels.detach().reshape(-1, *size) + 1

    hooks: list[tuple[nn.Module, Any]] = [(network.encoder, of_encoder)]
    return hooks + [(x, of_clusters) for x in network.modules() if isinstance(x, Clustering)]
