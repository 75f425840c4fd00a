"""The feature pyramid shared by both images.

Source: Cheng et al., SACB-Net, CVPR 2025, section 3.1; widths as in the authors' published network.
"""

from __future__ import annotations

from itertools import groupby

from torch import Tensor, nn

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.ops.conv import EPS, SLOPE, conv3d, conv_blocks
from sacbnet.ops.pointwise import pool2


class Block(nn.Sequential):
    """3×3×3 convolution → instance norm → leaky ReLU: (b, c_in, i, j, k) -> (b, c_out, i, j, k)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(
            nn.Conv3d(c_in, c_out, 3, padding=1),
            nn.InstanceNorm3d(c_out, eps=EPS),
            nn.LeakyReLU(SLOPE),
        )

    def parameters_of_conv(self) -> tuple[Tensor, Tensor]:
        """Weight (c_out, c_in, 3, 3, 3) and bias (c_out,)."""
        conv = self[0]
        assert isinstance(conv, nn.Conv3d) and conv.bias is not None
        return conv.weight, conv.bias

    def forward(self, x: Tensor) -> Tensor:
        return conv_blocks(x, [self.parameters_of_conv()])


class Conv(nn.Conv3d):
    """3×3×3 convolution: (b, c_in, i, j, k) -> (b, c_out, i, j, k)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        return conv3d(x, self.weight, self.bias)


class Pool(nn.Module):
    """Mean of 2×2×2 voxels: (b, c, i, j, k) -> (b, c, i/2, j/2, k/2)."""

    def forward(self, x: Tensor) -> Tensor:
        return pool2(x)


class Chain(nn.Sequential):
    """Modules one after the other, neighbouring blocks in one go: between them nothing is normalised in memory."""

    def forward(self, x: Tensor) -> Tensor:
        for together, modules in groupby(self, lambda module: isinstance(module, Block)):
            if together:
                x = conv_blocks(
                    x,
                    [
                        module.parameters_of_conv()
                        for module in modules
                        if isinstance(module, Block)
                    ],
                )
            else:
                for module in modules:
                    x = module(x)
        return x


class Encoder(nn.Module):
    """image (b, 1, i, j, k) -> features of levels 1..5, level l (b, config.channels(l), i, j, k / 2^(l-1))."""

    def __init__(self, config: SACBNetConfig) -> None:
        super().__init__()
        c = [config.channels(level) for level in range(1, 6)]
        base = config.base_channels
        self.level1 = Chain(Block(1, base), Block(base, c[0]), Block(c[0], c[0]))
        self.level2 = Chain(Pool(), Block(c[0], c[1]), Block(c[1], c[1]))
        self.level3 = Chain(Pool(), Block(c[1], c[2]), Block(c[2], c[2]))
        self.level4 = Chain(Pool(), Block(c[2], c[3]), Block(c[3], c[3]))
        self.level5 = Chain(Pool(), Block(c[3], c[4]), Block(c[4], c[4]))

    def forward(self, image: Tensor) -> list[Tensor]:
        features = [self.level1(image)]
        for level in (self.level2, self.level3, self.level4, self.level5):
            features.append(level(features[-1]))
        return features
