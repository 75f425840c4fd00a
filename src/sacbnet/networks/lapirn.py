"""LapIRN: the whole network on one page.

Source: Mok and Chung, "Large Deformation Diffeomorphic Image Registration with Laplacian Pyramid Networks", MICCAI
2020, in the sizes that its authors published.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sacbnet.config.comparison import LapIRNOptions
from sacbnet.spatial.exponential import exponential
from sacbnet.spatial.warp import warp

from .contract import check_pair, pad_to
from .layers import Conv
from .units import UnitHead, in_voxels

SLOPE = 0.2  # of the leaky ReLUs
LARGEST = 0.4  # step of a level, in units of half the image


class LapIRN(nn.Module):
    """moving, fixed (b, 1, i, j, k), any size -> displacement_vox (b, 3, i, j, k) for `warp(moving, displacement_vox)`.

    Three like networks, at a quarter, half and all of the resolution; each adds a step to the field of the one before,
    seeing the moving image warped by it. Fields are in units of half the padded image (`in_voxels`), the same at every
    level. `diffeomorphic`: the sum of the steps is a velocity. 923,748 parameters: 306,404 + 308,672 + 308,672, as
    published.

    Trained level by level: with `levels` 1 or 2 there are only the coarser ones, under the same names, and their field
    is brought up to full resolution; weights of these start a network of more levels. Then all levels learn: published
    LapIRN keeps the lower ones as they are for the first 2,000 steps of a level, this one does not, and the loss is the
    recipe's, at full resolution. Raises InputError for shapes that are no pair of images.
    """

    def __init__(self, options: LapIRNOptions | None = None) -> None:
        super().__init__()
        self.config = options = options or LapIRNOptions()
        names = ("coarse", "middle", "fine")[: options.levels]
        self.levels = nn.ModuleDict(
            {name: Level(2 if name == "coarse" else 5, options.channels) for name in names}
        )

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        size = check_pair(moving, fixed)
        full = pad_to(torch.cat([moving, fixed], 1), 8)  # (b, 2, i, j, k)
        half = pool(full)  # (b, 2, i/2, j/2, k/2)
        quarter = pool(half)  # (b, 2, i/4, j/4, k/4)

        # the coarsest level sees the images alone; c = 28
        field, features = self.levels["coarse"](
            quarter
        )  # (b, 3, i/4, j/4, k/4), (b, c, i/4, j/4, k/4)
        u = self.displacement(field)  # (b, 3, i/4, j/4, k/4), voxels of its own level

        # the others see the moving image warped, the fixed one and the field, (b, 5, i/2, ..), then (b, 5, i, ..)
        for name, images in (("middle", half), ("fine", full))[: self.config.levels - 1]:
            u, field = 2 * double(u), double(field)  # a unit is the same everywhere, a voxel is not
            warped = warp(images[:, :1], u, padding="border")
            step, features = self.levels[name](
                torch.cat([warped, images[:, 1:], field], 1), features
            )
            field = field + step
            u = self.displacement(field)

        for _ in range(3 - self.config.levels):
            u = 2 * double(u)
        return u[..., : size[0], : size[1], : size[2]]  # voxels: cropping changes no unit

    def displacement(self, field: Tensor) -> Tensor:
        """Of a level's field, in units: (b, 3, i, j, k), in voxels of the level."""
        return (
            exponential(in_voxels(field), steps=7)
            if self.config.diffeomorphic
            else in_voxels(field)
        )


class Level(nn.Module):
    """images (b, c_in, i, j, k), features below (b, c, i/2, ..) or None -> step (b, 3, i, ..), features (b, c, i, ..).

    The step is below 0.4 units; no convolution has a bias.
    """

    def __init__(self, c_in: int, c: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            Conv(c_in, c, bias=False), nn.LeakyReLU(SLOPE), Conv(c, c, bias=False)
        )
        self.down = nn.Conv3d(c, c, 3, stride=2, padding=1, bias=False)
        self.blocks = nn.Sequential(*(Block(c) for _ in range(5)))
        self.up = nn.ConvTranspose3d(c, c, 2, stride=2, bias=False)
        self.merge = nn.Sequential(Conv(2 * c, c, bias=False), nn.LeakyReLU(SLOPE))
        self.head = UnitHead(c)

    def forward(self, images: Tensor, below: Tensor | None = None) -> tuple[Tensor, Tensor]:
        fine = self.encoder(images)  # (b, c, i, j, k)
        coarse = self.down(fine)  # (b, c, i/2, j/2, k/2)
        features = self.up(
            self.blocks(coarse if below is None else coarse + below)
        )  # (b, c, i, j, k)
        merged = self.merge(torch.cat([features, fine], 1))
        return LARGEST * F.softsign(self.head(merged)), features


class Block(nn.Module):
    """Residual block, activated before its convolutions and after the sum: (b, c, i, j, k) -> same."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.first, self.second = (Conv(c, c, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.first(F.leaky_relu(x, SLOPE))
        return F.leaky_relu(x + self.second(F.leaky_relu(inner, SLOPE)), SLOPE)


def pool(image: Tensor) -> Tensor:
    """Mean of the 3×3×3 voxels around every other one, the edge not padded: (b, 2, i, ..) -> (b, 2, i/2, ..)."""
    return F.avg_pool3d(image, 3, stride=2, padding=1, count_include_pad=False)


def double(field: Tensor) -> Tensor:
    """To a lattice twice as fine, trilinear, values as they are: (b, 3, i, j, k) -> (b, 3, 2i, 2j, 2k).

    Each voxel is cut into eight (`align_corners=False`), as published, though `pool` lays its voxels on the even ones.
    """
    return F.interpolate(field, scale_factor=2, mode="trilinear", align_corners=False)
