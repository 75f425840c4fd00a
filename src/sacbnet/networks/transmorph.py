"""TransMorph: the whole network on one page; its transformer is `swin`.

Source: Chen et al., "TransMorph: Transformer for unsupervised medical image registration", Medical Image Analysis 2022.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sacbnet.config.comparison import TransMorphOptions

from .contract import check_pair, pad_to
from .layers import Conv, Head
from .swin import Swin


class TransMorph(nn.Module):
    """moving, fixed (b, 1, i, j, k), any size -> displacement_vox (b, 3, i, j, k) for `warp(moving, displacement_vox)`.

    In training, stochastic depth draws from torch's global random state. Raises InputError for shapes that are no pair
    of images.
    """

    def __init__(self, options: TransMorphOptions | None = None) -> None:
        super().__init__()
        self.config = options = options or TransMorphOptions()
        c, last = options.embedding, options.last
        self.transformer = Swin(2, options)
        self.level1, self.level2 = Block(2, last), Block(2, c // 2)
        self.up5 = Up(8 * c, 4 * c, 4 * c)
        self.up4 = Up(4 * c, 2 * c, 2 * c)
        self.up3 = Up(2 * c, c, c)
        self.up2 = Up(c, c // 2, c // 2)
        self.up1 = Up(c // 2, last, last)
        self.head = Head(last)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        size = check_pair(moving, fixed)
        images = pad_to(torch.cat([moving, fixed], 1), 32)  # (b, 2, i, j, k)
        x3, x4, x5, x6 = self.transformer(images)  # (b, 96, i/4, ..), .., (b, 768, i/32, ..)

        x = self.up5(x6, x5)  # (b, 384, i/16, j/16, k/16)
        x = self.up4(x, x4)  # (b, 192, i/8, j/8, k/8)
        x = self.up3(x, x3)  # (b, 96, i/4, j/4, k/4)
        x = self.up2(
            x, self.level2(F.avg_pool3d(images, 3, stride=2, padding=1))
        )  # (b, 48, i/2, j/2, k/2)
        x = self.up1(x, self.level1(images))  # (b, 16, i, j, k)
        u = self.head(x)  # (b, 3, i, j, k)

        return u[..., : size[0], : size[1], : size[2]]  # voxels: cropping changes no unit


class Block(nn.Sequential):
    """3×3×3 convolution → instance norm → leaky ReLU: (b, c_in, i, j, k) -> (b, c_out, i, j, k)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(
            Conv(c_in, c_out, bias=False), nn.InstanceNorm3d(c_out), nn.LeakyReLU(0.01)
        )


class Up(nn.Module):
    """Features made twice as fine, and what skips the transformer's deeper stages, through two blocks.

    (b, c_in, i/2, j/2, k/2), (b, c_skip, i, j, k) -> (b, c_out, i, j, k).
    """

    def __init__(self, c_in: int, c_skip: int, c_out: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(c_in + c_skip, c_out), Block(c_out, c_out))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
        return self.blocks(torch.cat([x, skip], 1))
