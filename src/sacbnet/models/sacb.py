"""The spatial-awareness convolution block: a convolution that adapts to regions found by K-means.

Source: Cheng et al., SACB-Net, CVPR 2025, section 3.2.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.adaptive_conv import adaptive_conv
from ..ops.conv import SLOPE
from ..ops.kmeans import KMeans, kmeans
from ..ops.neighbourhood import neighbourhood_mean
from ..ops.pointwise import leaky_add
from .config import SACBNetConfig
from .encoder import Block


@torch.no_grad()
def describe(z: Tensor, kind: str) -> Tensor:
    """Descriptor of each voxel: z (b, c, i, j, k) -> (b, d, i, j, k) float32, d = c, 27 or c + 27; no gradient.

    kind "spatial": mean of each channel over the 3×3×3 neighbourhood, zero padded, divided by 27; "channel": mean
    over the channels at each of its 27 voxels, row-major; "both": the two, in this order.
    """
    if kind == "spatial":
        return neighbourhood_mean(z)
    z = z.float()
    spatial = neighbourhood_mean(z) if kind == "both" else z[:, :0]
    i, j, k = z.shape[2:]
    mean = F.pad(z.mean(1), (1,) * 6)  # (b, i+2, j+2, k+2)
    around = [mean[:, x : x + i, y : y + j, w : w + k] for x, y, w in product(range(3), repeat=3)]
    return torch.cat([spatial, torch.stack(around, 1)], dim=1)


class Clustering(nn.Module):
    """K-means of one level's descriptors: (b, d, i, j, k) -> KMeans over the p = i·j·k voxels, row-major."""

    def __init__(self, clusters: int, rounds: int, seed: int) -> None:
        super().__init__()
        self.clusters, self.rounds, self.seed = clusters, rounds, seed

    def forward(self, descriptor: Tensor, seeds: Tensor | None = None) -> KMeans:
        features = descriptor.flatten(2).transpose(1, 2)  # (b, p, d)
        return kmeans(features, self.clusters, seeds=seeds, max_rounds=self.rounds, seed=self.seed)


class SACB(nn.Module):
    """x (b, c, i, j, k) -> same shape: project, cluster, convolve by cluster, add x."""

    def __init__(self, config: SACBNetConfig, level: int) -> None:
        super().__init__()
        c = config.channels(level)
        d = {"spatial": c, "channel": 27, "both": c + 27}[config.descriptor]
        self.descriptor = config.descriptor
        self.project = Block(c, c)
        self.cluster = Clustering(config.clusters[level - 2], config.kmeans_rounds, config.kmeans_seed)
        self.to_taps = mlp(d, 128, 27)
        self.to_bias = mlp(d, 64, c)
        bound = 1 / (27 * c) ** 0.5  # as Conv3d starts
        self.kernel = nn.Parameter(torch.empty(c, c, 27).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        z = self.project(x)  # (b, c, i, j, k)
        labels, centres, _ = self.cluster(describe(z, self.descriptor))  # (b, p), (b, n, d)
        with torch.autocast(z.device.type, enabled=False):  # a few numbers, on which all voxels depend
            taps = torch.sigmoid(self.to_taps(centres))  # (b, n, 27)
            bias = self.to_bias(centres)  # (b, n, c)
        y = adaptive_conv(z, labels.view(-1, *z.shape[2:]), taps, self.kernel, bias)  # (b, c, i, j, k)
        return leaky_add(y, x, SLOPE)


def mlp(d_in: int, hidden: int, d_out: int) -> nn.Sequential:
    """Two hidden layers with ReLU: (..., d_in) -> (..., d_out)."""
    return nn.Sequential(
        nn.Linear(d_in, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, d_out)
    )
