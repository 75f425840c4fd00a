"""The spatial-awareness convolution block: a convolution that adapts to regions found by K-means.

Source: Cheng et al., SACB-Net, CVPR 2025, section 3.2.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.ops.adaptive_conv import adaptive_conv
from sacbnet.ops.conv import EPS, SLOPE
from sacbnet.ops.kmeans import KMeans, kmeans
from sacbnet.ops.membership import memberships
from sacbnet.ops.merge import merge
from sacbnet.ops.mixed_conv import mixed_conv
from sacbnet.ops.neighbourhood import neighbourhood_mean
from sacbnet.ops.pointwise import leaky_add

from .encoder import Block

TEMPERATURE = (
    0.5  # at the start of training: voxels between two clusters belong to both, the others hardly
)


def describe(z: Tensor, kind: str) -> Tensor:
    """Descriptor of each voxel: z (b, c, i, j, k) -> (b, d, i, j, k), at least float32, d = c, 27 or c + 27.

    kind "spatial": mean of each channel over the 3×3×3 neighbourhood, zero padded, divided by 27; "channel": mean
    over the channels at each of its 27 voxels, row-major; "both": the two, in this order. In 2-D, z (b, c, j, k), the
    neighbourhood is 3×3 and d = c, 9 or c + 9.
    """
    if kind == "spatial" and z.ndim == 5:
        return neighbourhood_mean(z)
    z = z.to(torch.promote_types(z.dtype, torch.float32))
    spatial = z[:, :0]
    if kind != "channel":
        spatial = neighbourhood_mean(z) if z.ndim == 5 else F.avg_pool2d(z, 3, stride=1, padding=1)
    if kind == "spatial":
        return spatial
    size = z.shape[2:]
    mean = F.pad(z.mean(1), (1, 1) * len(size))  # (b, i+2, j+2, k+2)
    for axis, n in enumerate(size, 1):
        mean = mean.unfold(axis, n, 1)  # a window's offset on `axis`, the voxels at the end
    return torch.cat([spatial, mean.flatten(1, len(size))], dim=1)


class Clustering(nn.Module):
    """K-means of one level's descriptors: (b, d, i, j, k) -> KMeans over the p = i·j·k voxels, row-major.

    least_share > 0: clusters are merged as long as none of the mergers costs so much of the variance (`merge`).
    """

    def __init__(self, clusters: int, rounds: int, seed: int, least_share: float = 0.0) -> None:
        super().__init__()
        self.clusters, self.rounds, self.seed, self.least_share = (
            clusters,
            rounds,
            seed,
            least_share,
        )

    def forward(self, descriptor: Tensor, seeds: Tensor | None = None) -> KMeans:
        features = rows(descriptor)  # (b, p, d)
        found = kmeans(features, self.clusters, seeds=seeds, max_rounds=self.rounds, seed=self.seed)
        return merge(found, features, self.least_share) if self.least_share else found


class SACB(nn.Module):
    """x (b, c, i, j, k) -> same shape: project, cluster, convolve by cluster, add x.

    A block for any network, in 2-D (dims=2, x (b, c, j, k)) as in 3-D. clusters: how many, or with least_share > 0 how
    many at most. soft: voxels belong to all clusters by their distances (`memberships`), else to the nearest.

    >>> SACB(8, clusters=5)(torch.randn(1, 8, 6, 7, 5)).shape
    torch.Size([1, 8, 6, 7, 5])
    """

    def __init__(
        self, channels: int, clusters: int = 7, *, dims: int = 3, descriptor: str = "spatial", soft: bool = False,
        least_share: float = 0.0, rounds: int = 100, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        c, taps = channels, 3**dims
        d = {"spatial": c, "channel": taps, "both": c + taps}[descriptor]
        self.descriptor = descriptor
        self.project = Block(c, c) if dims == 3 else block2d(c, c)
        self.cluster = Clustering(clusters, rounds, seed, least_share)
        self.to_taps = mlp(d, 128, taps)
        self.to_bias = mlp(d, 64, c)
        bound = 1 / (taps * c) ** 0.5  # as a convolution starts
        self.kernel = nn.Parameter(torch.empty(c, c, taps).uniform_(-bound, bound))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(TEMPERATURE))) if soft else None

    @classmethod
    def of(cls, config: SACBNetConfig, level: int) -> SACB:
        """That of a SACB-Net at one of its levels 2..5."""
        return cls(
            config.channels(level),
            config.clusters[level - 2],
            descriptor=config.descriptor,
            soft=config.assignment == "soft",
            least_share=config.least_share if config.number == "image" else 0.0,
            rounds=config.kmeans_rounds,
            seed=config.kmeans_seed,
        )

    def forward(self, x: Tensor) -> Tensor:
        z = self.project(x)  # (b, c, i, j, k)
        y = self._soft(z) if self.log_temperature is not None else self._hard(z)
        return leaky_add(y, x, SLOPE) if x.ndim == 5 else F.leaky_relu(y, SLOPE) + x

    def _hard(self, z: Tensor) -> Tensor:
        with torch.no_grad():
            labels, centres, _ = self.cluster(describe(z, self.descriptor))  # (b, p), (b, n, d)
        taps, bias = self._adapt(centres)
        volume = in_3d(z)
        labels = labels.view(-1, *volume.shape[2:])
        return adaptive_conv(volume, labels, widen(taps), widen(self.kernel), bias).view(z.shape)

    def _soft(self, z: Tensor) -> Tensor:
        assert self.log_temperature is not None
        descriptor = describe(z, self.descriptor)
        with torch.autocast(z.device.type, enabled=False):
            found = self.cluster(descriptor)
            m, centres = memberships(
                rows(descriptor), found, self.log_temperature.exp()
            )  # (b, p, n), (b, n, d)
        taps, bias = self._adapt(centres)
        volume = in_3d(z)
        m = m.mT.reshape(*m.shape[::2], *volume.shape[2:])  # (b, n, i, j, k)
        return mixed_conv(volume, m, widen(taps), widen(self.kernel), bias).view(z.shape)

    def _adapt(self, centres: Tensor) -> tuple[Tensor, Tensor]:
        """Tap weights (b, n, 27) and bias (b, n, c) of the clusters with these centres (b, n, d)."""
        with torch.autocast(
            centres.device.type, enabled=False
        ):  # a few numbers, on which all voxels depend
            return torch.sigmoid(self.to_taps(centres)), self.to_bias(centres)


def rows(descriptor: Tensor) -> Tensor:
    """(b, d, i, j, k) -> (b, p, d): a voxel a row."""
    return descriptor.flatten(2).transpose(1, 2)


def in_3d(z: Tensor) -> Tensor:
    """A slice (b, c, j, k) as a volume (b, c, 1, j, k); a volume as it is."""
    return z if z.ndim == 5 else z.unsqueeze(2)


def widen(taps: Tensor) -> Tensor:
    """9 taps (..., 9) as the middle ones of 27; 27 as they are."""
    return taps if taps.shape[-1] == 27 else F.pad(taps, (9, 9))


def block2d(c_in: int, c_out: int) -> nn.Sequential:
    """`Block` of slices: (b, c_in, j, k) -> (b, c_out, j, k)."""
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, padding=1), nn.InstanceNorm2d(c_out, eps=EPS), nn.LeakyReLU(SLOPE)
    )


def mlp(d_in: int, hidden: int, d_out: int) -> nn.Sequential:
    """Two hidden layers with ReLU: (..., d_in) -> (..., d_out)."""
    return nn.Sequential(
        nn.Linear(d_in, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, d_out),
    )
