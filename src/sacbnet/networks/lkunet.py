"""LKU-Net: the whole network on one page.

Source: Jia et al., "U-Net vs Transformer: Is U-Net Outdated in Medical Image Registration?", MLMI 2022, in the 3-D form
and the sizes that its authors published.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sacbnet.config.comparison import LKUNetOptions
from sacbnet.spatial.exponential import exponential

from .contract import check_pair, pad_to
from .fouriernet import Up
from .layers import Conv
from .units import UnitHead, in_voxels


class LKUNet(nn.Module):
    """moving, fixed (b, 1, i, j, k), any size -> displacement_vox (b, 3, i, j, k) for `warp(moving, displacement_vox)`.

    A U-Net whose encoder has large kernels, in parallel with small ones. Its output, between -1 and 1, is in units of
    half the padded image (`in_voxels`); `diffeomorphic`: it is a velocity. 2,086,342 parameters at 8 channels. The
    published code counts 2,087,638 (522,950 at 4 channels, 8,342,294 at 16): it also holds a second, unused head, of
    162 parameters for each channel, which is left out here. Raises InputError for shapes that are no pair of images.
    """

    def __init__(self, options: LKUNetOptions | None = None) -> None:
        super().__init__()
        self.config = options = options or LKUNetOptions()
        c = options.channels
        self.level1 = nn.Sequential(Block(2, c), Block(c, c))
        self.level2 = nn.Sequential(Block(c, 2 * c, stride=2), LargeKernel(2 * c))
        self.level3 = nn.Sequential(Block(2 * c, 4 * c, stride=2), LargeKernel(4 * c))
        self.level4 = nn.Sequential(Block(4 * c, 8 * c, stride=2), LargeKernel(8 * c))
        self.level5 = nn.Sequential(Block(8 * c, 8 * c, stride=2), LargeKernel(8 * c))
        self.up4, self.up3, self.up2, self.up1 = Up(8 * c), Up(4 * c), Up(2 * c), Up(2 * c)
        self.merge4 = nn.Sequential(Block(16 * c, 8 * c), Block(8 * c, 4 * c))
        self.merge3 = nn.Sequential(Block(8 * c, 4 * c), Block(4 * c, 2 * c))
        self.merge2 = nn.Sequential(Block(4 * c, 4 * c), Block(4 * c, 2 * c))
        self.merge1 = nn.Sequential(Block(3 * c, 2 * c), Block(2 * c, 2 * c))
        self.head = UnitHead(2 * c)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        size = check_pair(moving, fixed)
        pair = pad_to(torch.cat([moving, fixed], 1), 16)  # (b, 2, i, j, k)

        # encoder, with c = 8
        f1 = self.level1(pair)  # (b, 8, i, j, k)
        f2 = self.level2(f1)  # (b, 16, i/2, j/2, k/2)
        f3 = self.level3(f2)  # (b, 32, i/4, j/4, k/4)
        f4 = self.level4(f3)  # (b, 64, i/8, j/8, k/8)
        f5 = self.level5(f4)  # (b, 64, i/16, j/16, k/16)

        # decoder
        x = self.merge4(torch.cat([self.up4(f5), f4], 1))  # (b, 32, i/8, j/8, k/8)
        x = self.merge3(torch.cat([self.up3(x), f3], 1))  # (b, 16, i/4, j/4, k/4)
        x = self.merge2(torch.cat([self.up2(x), f2], 1))  # (b, 16, i/2, j/2, k/2)
        x = self.merge1(torch.cat([self.up1(x), f1], 1))  # (b, 16, i, j, k)
        u = in_voxels(F.softsign(self.head(x)))  # (b, 3, i, j, k), below half the padded size
        if self.config.diffeomorphic:
            u = exponential(u, steps=7)

        return u[..., : size[0], : size[1], : size[2]]  # voxels: cropping changes no unit


class Block(nn.Sequential):
    """3×3×3 convolution → PReLU: (b, c_in, i, j, k) -> (b, c_out, i / stride, ..)."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        convolve = (
            Conv(c_in, c_out) if stride == 1 else nn.Conv3d(c_in, c_out, 3, stride, padding=1)
        )
        super().__init__(convolve, nn.PReLU())


class LargeKernel(nn.Module):
    """Convolutions 5×5×5, 3×3×3 and 1×1×1 side by side, their sum and x → PReLU: (b, c, i, j, k) -> same."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.five, self.three, self.one = (
            nn.Conv3d(c, c, 5, padding=2),
            Conv(c, c),
            nn.Conv3d(c, c, 1),
        )
        self.activate = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(self.five(x) + self.three(x) + self.one(x) + x)
