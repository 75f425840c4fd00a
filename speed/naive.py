"""The published formulation of SACB-Net in plain torch, which speed/kernels.py compares with.

It is written from the paper and from a description of how the authors' code behaves; no line is
taken from that code. It has the habits of that code:

- each image is a batch of one, and tensors are contiguous;
- features are unfolded 27-fold into a real tensor;
- K-means runs from random voxels until the centres stand still;
- for each cluster, the unfolded tensor of the whole volume is weighted by the cluster's 27 taps,
  multiplied by the kernel, and masked;
- matching unfolds and multiplies matrices;
- each warp makes a new sampling grid for `grid_sample`;
- NCC takes five convolutions with 9³ ones.

Measured of the original, in float32 on a quiet two-core AVX-512 machine:

- 23 s (7 s of them K-means) and 2.3 GB for one pair of 160×192×160;
- 5.1 s for a training step at 64³;
- 104 ms for a round of K-means at 860k×16, N = 7, with 72 to 143 rounds;
- 2.9 s for its adaptive convolution at 80×96×80. On another machine, at 80×96×112 (16 channels,
  N = 7): 1.5 s forward, 11.2 s and 16.7 GB forward and backward, which is 30 and 62 times a plain
  convolution.

The form below was chosen by that memory. It takes 2.0 GB at an eighth of that volume, and 2.3 GB
for the pair. It took 25 to 64 times a plain convolution forward, and 44 to 62 times with the
backward pass (on a busy machine, with and without huge pages). A weighted kernel instead of the
weighted tensor would need 7 GB, and a masked unfolded tensor 13 GB. Of a pass at 80×96×80, K-means
takes 30%, as in the original. Leaner forms exist: a conv3d per cluster takes 8 to 11 times a plain
convolution, but it is not what was published. Faults of the original that cost no time are left out
(a shape fixed at construction, grids among the weights).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise, product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.networks.sacbnet.network import SACBNet

# descriptors (p, d), level, image ("fixed" or "moving") -> labels (p,), centres (n, d)
Clustering = Callable[[Tensor, int, str], tuple[Tensor, Tensor]]


class NaiveSACBNet(nn.Module):
    """moving, fixed (1, 1, i, j, k), sides multiples of 16 -> displacement_vox (1, 3, i, j, k).

    Its parameters have SACBNet's names. clustering: replaces K-means, to compare like with like; by
    default each call starts from random voxels of a generator with the configuration's seed.
    """

    def __init__(self, config: SACBNetConfig, clustering: Clustering | None = None) -> None:
        super().__init__()
        if config.descriptor != "spatial" or config.sacb_levels != (2, 3, 4, 5):
            raise ValueError(
                "only the published network: spatial descriptors, a SACB at levels 2 to 5"
            )
        self.config, self.clustering = config, clustering
        c = [config.channels(level) for level in range(1, 6)]
        first = [
            block(1, config.base_channels),
            block(config.base_channels, c[0]),
            block(c[0], c[0]),
        ]
        self.encoder = nn.ModuleDict({"level1": nn.Sequential(*first)})
        for level, (a, b) in enumerate(pairwise(c), start=2):
            self.encoder[f"level{level}"] = nn.Sequential(nn.AvgPool3d(2), block(a, b), block(b, b))
            self.add_module(f"sacb{level}", NaiveSACB(b))
        self.refine = nn.Sequential(block(c[0], c[0]), block(c[0], c[0]))
        self.head = nn.Sequential(
            block(2 * c[0], c[0]), block(c[0], c[0]), nn.Conv3d(c[0], 3, 3, padding=1)
        )

    @classmethod
    def like(cls, model: SACBNet, clustering: Clustering | None = None) -> NaiveSACBNet:
        """The same network with a copy of `model`'s weights."""
        naive = cls(model.config, clustering)
        naive.load_state_dict(model.state_dict())
        return naive.to(next(model.parameters()).device)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        self.generator = torch.Generator().manual_seed(self.config.kmeans_seed)
        fixed_levels, moving_levels = self.encode(fixed), self.encode(moving)
        u = None
        for level in (5, 4, 3, 2):
            f, m = fixed_levels[level - 1], moving_levels[level - 1]
            m = m if u is None else warp(m, u)
            f, m = self.sacb(f, level, "fixed"), self.sacb(m, level, "moving")
            d = match(m, f)
            u = d if u is None else compose(u, d)
            u = F.interpolate(2 * u, scale_factor=2, mode="trilinear", align_corners=True)
        f, m = self.refine(fixed_levels[0]), self.refine(warp(moving_levels[0], u))
        return compose(u, self.head(torch.cat([f, m], dim=1)))

    def encode(self, image: Tensor) -> list[Tensor]:
        features = []
        for layer in self.encoder.values():
            features.append(layer(features[-1] if features else image))
        return features

    def sacb(self, x: Tensor, level: int, image: str) -> Tensor:
        def cluster(descriptors: Tensor) -> tuple[Tensor, Tensor]:
            if self.clustering is not None:
                return self.clustering(descriptors, level, image)
            labels, centres, _ = kmeans(
                descriptors, self.config.clusters[level - 2], self.generator
            )
            return labels, centres

        return self.get_submodule(f"sacb{level}")(x, cluster)


class NaiveSACB(nn.Module):
    """x (1, c, i, j, k) -> same shape; descriptors and convolution share the unfolded tensor."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.project = block(c, c)
        self.to_taps, self.to_bias = mlp(c, 128, 27), mlp(c, 64, c)
        self.kernel = nn.Parameter(torch.zeros(c, c, 27))

    def forward(self, x: Tensor, cluster: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
        z = self.project(x)
        patches = unfold(z)  # (1, c, 27, p)
        labels, centres = cluster(patches.detach().mean(2)[0].T)  # (p,), (n, c)
        taps, bias = torch.sigmoid(self.to_taps(centres)), self.to_bias(centres)  # (n, 27), (n, c)
        y = convolve_patches(patches[0], labels, taps, self.kernel, bias)
        return F.leaky_relu(y.view_as(x), 0.1) + x


def block(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(c_in, c_out, 3, padding=1),
        nn.InstanceNorm3d(c_out),
        nn.LeakyReLU(0.1, inplace=True),
    )


def mlp(d_in: int, hidden: int, d_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(d_in, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, d_out),
    )


def unfold(x: Tensor) -> Tensor:
    """The 27 neighbours of each voxel, zero padded: (b, c, i, j, k) -> (b, c, 27, p)."""
    # (b, c, i, j, k, 3, 3, 3)
    windows = F.pad(x, (1,) * 6).unfold(2, 3, 1).unfold(3, 3, 1).unfold(4, 3, 1)
    return windows.permute(0, 1, 5, 6, 7, 2, 3, 4).reshape(*x.shape[:2], 27, -1)


def convolve_patches(
    patches: Tensor, labels: Tensor, taps: Tensor, kernel: Tensor, bias: Tensor
) -> Tensor:
    """patches (c, 27, p), labels (p,), taps (n, 27) -> (c_out, p).

    kernel (c_out, c, 27), bias (n, c_out).
    """
    y = patches.new_zeros(kernel.shape[0], patches.shape[2])
    for n in range(len(taps)):
        # (c, 27, p): for the backward pass every cluster's is kept
        weighted = patches * taps[n][:, None]
        y = y + (kernel.flatten(1) @ weighted.flatten(0, 1) + bias[n][:, None]) * (labels == n)
    return y


def adaptive_conv(z: Tensor, labels: Tensor, taps: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """One image: z (1, c, i, j, k), labels (i, j, k), taps (n, 27) -> (1, c_out, i, j, k).

    bias (n, c_out).
    """
    y = convolve_patches(unfold(z)[0], labels.flatten(), taps, kernel, bias)
    return y.view(1, -1, *z.shape[2:])


@torch.no_grad()
def kmeans(
    x: Tensor,
    clusters: int,
    generator: torch.Generator | None = None,
    *,
    seeds: Tensor | None = None,
    tolerance: float = 1e-10,
) -> tuple[Tensor, Tensor, int]:
    """Lloyd to convergence: x (p, d) -> labels (p,), centres (n, d), rounds.

    A cluster without voxels gets the centre zero.
    """
    if seeds is None:
        seeds = torch.randperm(len(x), generator=generator)[:clusters]
    x = x.contiguous()
    centres = x[seeds.to(x.device)]
    names = torch.arange(clusters, device=x.device)[:, None]
    rounds, shift = 0, torch.inf
    while shift > tolerance:
        rounds += 1
        # (p, n)
        distance = x.square().sum(1, keepdim=True) - 2 * x @ centres.T + centres.square().sum(1)
        labels = distance.argmin(1)
        members = (labels == names).to(x.dtype)  # (n, p)
        means = (members @ x) / members.sum(1, keepdim=True).clamp(min=1)
        shift = float((means - centres).square().sum())
        centres = means
    return labels, centres, rounds


def match(moving: Tensor, fixed: Tensor) -> Tensor:
    """Expected offset of each voxel's match: (1, c, i, j, k) twice -> (1, 3, i, j, k)."""
    keys = unfold(moving).permute(0, 3, 1, 2)  # (1, p, c, 27)
    query = fixed.flatten(2).transpose(1, 2)[:, :, None]  # (1, p, 1, c)
    attention = torch.matmul(query, keys).softmax(-1)  # (1, p, 1, 27)
    # (27, 3)
    offsets = torch.tensor(list(product((-1.0, 0.0, 1.0), repeat=3)), device=fixed.device)
    expected = torch.matmul(attention, offsets)[:, :, 0]  # (1, p, 3)
    return expected.transpose(1, 2).reshape(1, 3, *fixed.shape[2:])


@lru_cache(maxsize=8)  # the original keeps these, one per level
def identity(shape: tuple[int, ...], device: torch.device) -> Tensor:
    axes = [torch.arange(n, device=device, dtype=torch.float32) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def warp(image: Tensor, displacement_vox: Tensor) -> Tensor:
    """moved(p) = image(p + u(p)), zeros outside."""
    size = image.shape[2:]
    where = identity(tuple(size), image.device) + displacement_vox
    scaled = torch.stack([2 * where[:, a] / (size[a] - 1) - 1 for a in (2, 1, 0)], dim=-1)
    return F.grid_sample(image, scaled, mode="bilinear", align_corners=True)


def compose(outer_vox: Tensor, inner_vox: Tensor) -> Tensor:
    return warp(outer_vox, inner_vox) + inner_vox


def ncc_loss(moved: Tensor, fixed: Tensor, window: int = 9) -> Tensor:
    """Negated mean squared local correlation by five window³ convolutions."""
    ones = torch.ones(1, 1, window, window, window, device=fixed.device)
    n = window**3
    maps = (moved, fixed, moved * moved, fixed * fixed, moved * fixed)
    m, f, mm, ff, mf = (F.conv3d(x, ones, padding=window // 2) for x in maps)
    mean_m, mean_f = m / n, f / n
    cross = mf - mean_f * m - mean_m * f + mean_m * mean_f * n
    var_m = mm - 2 * mean_m * m + mean_m * mean_m * n
    var_f = ff - 2 * mean_f * f + mean_f * mean_f * n
    return -(cross * cross / (var_m * var_f + 1e-5)).mean()


def gradient_loss(displacement_vox: Tensor) -> Tensor:
    """Mean square forward difference, averaged over the axes."""
    return sum(displacement_vox.diff(dim=axis).square().mean() for axis in (2, 3, 4)) / 3
