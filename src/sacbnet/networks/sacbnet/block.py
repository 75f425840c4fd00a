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
from sacbnet.ops.kmeans import KMeans, kmeans
from sacbnet.ops.membership import memberships
from sacbnet.ops.merge import merge
from sacbnet.ops.mixed_conv import mixed_conv
from sacbnet.ops.neighbourhood import neighbourhood_mean
from sacbnet.ops.pointwise import leaky_add

from .encoder import EPS, SLOPE, Block

# At the start of training: voxels between two clusters belong to both, other voxels hardly do.
TEMPERATURE = 0.5


class SACB(nn.Module):
    """Project, cluster, convolve by cluster, and add the input; a block for any network.

    The input is (b, c, i, j, k), or (b, c, j, k) with ``dims=2``. In 2-D there are 9 taps where
    3-D has 27.

    Parameters
    ----------
    channels : int
        Channels c, in and out.
    clusters : int, default 7
        Number of K-means clusters; the largest number where ``least_share`` is above 0.
    dims : {2, 3}, default 3
        Dimensions of the images.
    descriptor : {"spatial", "channel", "both"}, default "spatial"
        What is clustered (`describe`).
    soft : bool, default False
        A voxel belongs to all clusters by its distances (`memberships`), not to the nearest only.
    least_share : float, default 0
        Above 0, each image gets its own number of clusters (`Clustering`).
    rounds : int, default 100
        Most rounds of Lloyd's algorithm.
    seed : int, default 0
        Seed of the generator that draws the first centres.

    Examples
    --------
    >>> SACB(8, clusters=5)(torch.randn(1, 8, 6, 7, 5)).shape
    torch.Size([1, 8, 6, 7, 5])
    """

    def __init__(
        self, channels: int, clusters: int = 7, *, dims: int = 3, descriptor: str = "spatial",
        soft: bool = False, least_share: float = 0.0, rounds: int = 100, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        c, taps = channels, 3**dims
        d = {"spatial": c, "channel": taps, "both": c + taps}[descriptor]
        self.descriptor = descriptor
        self.project = Block(c, c) if dims == 3 else _block2d(c, c)
        self.cluster = Clustering(clusters, rounds, seed, least_share)
        self.to_taps = _mlp(d, 128, taps)
        self.to_bias = _mlp(d, 64, c)
        bound = 1 / (taps * c) ** 0.5  # as a convolution starts
        self.kernel = nn.Parameter(torch.empty(c, c, taps).uniform_(-bound, bound))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(TEMPERATURE))) if soft else None

    @classmethod
    def of(cls, config: SACBNetConfig, level: int) -> SACB:
        """Make the block of a SACB-Net at one of its levels.

        Parameters
        ----------
        config : SACBNetConfig
            Options of the network.
        level : {2, 3, 4, 5}
            Pyramid level.

        Returns
        -------
        SACB
            The block.
        """
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
        """(b, c, i, j, k) -> (b, c, i, j, k)."""
        z = self.project(x)  # (b, c, i, j, k)
        y = self._soft(z) if self.log_temperature is not None else self._hard(z)
        return leaky_add(y, x, SLOPE) if x.ndim == 5 else F.leaky_relu(y, SLOPE) + x

    def _hard(self, z: Tensor) -> Tensor:
        with torch.no_grad():
            labels, centres, _ = self.cluster(describe(z, self.descriptor))  # (b, p), (b, n, d)
        taps, bias = self._adapt(centres)  # (b, n, 27), (b, n, c)
        volume = _in_3d(z)
        labels = labels.view(-1, *volume.shape[2:])  # (b, i, j, k)
        return adaptive_conv(volume, labels, _widen(taps), _widen(self.kernel), bias).view(z.shape)

    def _soft(self, z: Tensor) -> Tensor:
        assert self.log_temperature is not None
        descriptor = describe(z, self.descriptor)  # (b, d, i, j, k)
        with torch.autocast(z.device.type, enabled=False):
            found = self.cluster(descriptor)
            temperature = self.log_temperature.exp()
            m, centres = memberships(_rows(descriptor), found, temperature)  # (b, p, n), (b, n, d)
        taps, bias = self._adapt(centres)  # (b, n, 27), (b, n, c)
        volume = _in_3d(z)
        m = m.mT.reshape(*m.shape[::2], *volume.shape[2:])  # (b, n, i, j, k)
        return mixed_conv(volume, m, _widen(taps), _widen(self.kernel), bias).view(z.shape)

    def _adapt(self, centres: Tensor) -> tuple[Tensor, Tensor]:
        """Centres (b, n, d) -> tap weights (b, n, 27) and bias (b, n, c) of each cluster."""
        # never in half precision: all voxels depend on these few numbers
        with torch.autocast(centres.device.type, enabled=False):
            return torch.sigmoid(self.to_taps(centres)), self.to_bias(centres)


class Clustering(nn.Module):
    """K-means of the descriptors of one level; it has no parameters.

    Parameters
    ----------
    clusters : int
        Number of clusters.
    rounds : int
        Most rounds of Lloyd's algorithm.
    seed : int
        Seed of the generator that draws the first centres.
    least_share : float, default 0
        Above 0, clusters are merged as long as no merger costs this share of the descriptors'
        variance (`merge`).
    """

    def __init__(self, clusters: int, rounds: int, seed: int, least_share: float = 0.0) -> None:
        super().__init__()
        self.clusters, self.rounds = clusters, rounds
        self.seed, self.least_share = seed, least_share

    def forward(self, descriptor: Tensor, seeds: Tensor | None = None) -> KMeans:
        """(b, d, i, j, k) -> KMeans over the p = i·j·k voxels, row-major."""
        features = _rows(descriptor)  # (b, p, d)
        found = kmeans(features, self.clusters, seeds=seeds, max_rounds=self.rounds, seed=self.seed)
        return merge(found, features, self.least_share) if self.least_share else found


def describe(z: Tensor, kind: str) -> Tensor:
    """Compute the descriptor of each voxel, which K-means then clusters.

    Parameters
    ----------
    z : Tensor, shape (b, c, i, j, k) or (b, c, j, k)
        Features.
    kind : {"spatial", "channel", "both"}
        "spatial": the mean of each channel over the 3×3×3 neighbourhood, zero padded and divided by
        27. "channel": the mean over the channels at each of the 27 voxels, row-major. "both": these
        two, in this order.

    Returns
    -------
    Tensor, shape (b, d, i, j, k) or (b, d, j, k)
        At least float32; d is c, 27 or c + 27. In 2-D the neighbourhood is 3×3, and d is c, 9 or
        c + 9.
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
        mean = mean.unfold(axis, n, 1)  # the offset on `axis`; the voxels become the last axis
    return torch.cat([spatial, mean.flatten(1, len(size))], dim=1)


def _rows(descriptor: Tensor) -> Tensor:
    """One row per voxel: (b, d, i, j, k) -> (b, p, d)."""
    return descriptor.flatten(2).transpose(1, 2)


def _in_3d(z: Tensor) -> Tensor:
    """A slice (b, c, j, k) as a volume (b, c, 1, j, k); a volume unchanged."""
    return z if z.ndim == 5 else z.unsqueeze(2)


def _widen(taps: Tensor) -> Tensor:
    """9 taps (..., 9) as the middle ones of 27; 27 taps unchanged."""
    return taps if taps.shape[-1] == 27 else F.pad(taps, (9, 9))


def _block2d(c_in: int, c_out: int) -> nn.Sequential:
    """`Block` for slices: (b, c_in, j, k) -> (b, c_out, j, k)."""
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, padding=1), nn.InstanceNorm2d(c_out, eps=EPS), nn.LeakyReLU(SLOPE)
    )


def _mlp(d_in: int, hidden: int, d_out: int) -> nn.Sequential:
    """Two hidden layers with ReLU: (..., d_in) -> (..., d_out)."""
    return nn.Sequential(
        nn.Linear(d_in, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, d_out),
    )
