"""LKU-Net: the whole network on one page.

Source: Jia et al., "U-Net vs Transformer: Is U-Net Outdated in Medical Image Registration?", MLMI
2022, in the 3-D form and the sizes that its authors published.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sacbnet.config.comparison import LKUNetOptions
from sacbnet.spatial.exponential import exponential

from .contract import check_pair, pad_to
from .layers import Conv
from .layers import ConvPReLU as Block
from .layers import UpPReLU as Up
from .units import UnitHead, in_voxels


class LKUNet(nn.Module):
    """LKU-Net; called as `contract` says.

    A U-Net whose encoder has large kernels beside small ones. Its output lies between -1 and 1, in
    units of half the padded image (`in_voxels`). With the option ``diffeomorphic`` the output is a
    velocity.

    2,086,342 parameters at 8 channels. The published code counts 2,087,638 (522,950 at 4 channels,
    8,342,294 at 16), because it also holds a second head that is not used, of 162 parameters for
    each channel. That head is left out here.

    Parameters
    ----------
    options : LKUNetOptions, optional
        Default: the published 3-D network.
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
        """moving, fixed (b, 1, i, j, k) -> displacement_vox (b, 3, i, j, k)."""
        i, j, k = check_pair(moving, fixed)
        pair = pad_to(torch.cat([moving, fixed], 1), 16)  # (b, 2, i, j, k)

        # encoder; channels for c = 8
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

        return u[..., :i, :j, :k]  # without the padding


class LargeKernel(nn.Module):
    """Convolutions 5×5×5, 3×3×3 and 1×1×1 in parallel; their sum plus x → PReLU.

    Parameters
    ----------
    c : int
        Channels, in and out.
    """

    def __init__(self, c: int) -> None:
        super().__init__()
        self.five = nn.Conv3d(c, c, 5, padding=2)
        self.three = Conv(c, c)
        self.one = nn.Conv3d(c, c, 1)
        self.activate = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, i, j, k) -> (b, c, i, j, k)."""
        return self.activate(self.five(x) + self.three(x) + self.one(x) + x)
