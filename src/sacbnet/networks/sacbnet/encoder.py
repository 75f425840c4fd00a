"""The feature pyramid that both images share.

Source: Cheng et al., SACB-Net, CVPR 2025, section 3.1; widths as in the authors' published network.
"""

from __future__ import annotations

from itertools import groupby

from torch import Tensor, nn

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.ops.conv import conv3d, conv_blocks
from sacbnet.ops.pointwise import pool2

EPS = 1e-5  # of the instance norms, added to the variance; as in the published network
SLOPE = 0.1  # of the leaky ReLUs, for values below 0; as in the published network


class Encoder(nn.Module):
    """Features of one image at levels 1 (full resolution) to 5.

    Parameters
    ----------
    config : SACBNetConfig
        Widths.
    """

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
        """(b, 1, i, j, k) -> five tensors; level l is (b, config.channels(l), i / 2^(l-1), ..)."""
        features = [self.level1(image)]  # (b, 8, i, j, k) for base_channels = 4
        for level in (self.level2, self.level3, self.level4, self.level5):
            features.append(level(features[-1]))  # (b, 16, i/2, ..), .., (b, 64, i/16, ..)
        return features


class Block(nn.Sequential):
    """3×3×3 convolution → instance norm → leaky ReLU: (b, c_in, i, ..) -> (b, c_out, i, ..).

    Parameters
    ----------
    c_in, c_out : int
        Channels.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(
            nn.Conv3d(c_in, c_out, 3, padding=1),
            nn.InstanceNorm3d(c_out, eps=EPS),
            nn.LeakyReLU(SLOPE),
        )

    def parameters_of_conv(self) -> tuple[Tensor, Tensor]:
        """Get the parameters of the convolution.

        Returns
        -------
        weight : Tensor, shape (c_out, c_in, 3, 3, 3)
            Its weight.
        bias : Tensor, shape (c_out,)
            Its bias.
        """
        conv = self[0]
        assert isinstance(conv, nn.Conv3d) and conv.bias is not None
        return conv.weight, conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """(b, c_in, i, j, k) -> (b, c_out, i, j, k)."""
        return conv_blocks(x, [self.parameters_of_conv()], eps=EPS, slope=SLOPE)


class Conv(nn.Conv3d):
    """3×3×3 convolution, zero padded, at least float32: (b, c_in, i, ..) -> (b, c_out, i, ..).

    Parameters
    ----------
    c_in, c_out : int
        Channels.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c_in, i, j, k) -> (b, c_out, i, j, k)."""
        assert self.bias is not None
        return conv3d(x, self.weight, self.bias)


class Pool(nn.Module):
    """Mean of 2×2×2 voxels."""

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, i, j, k) -> (b, c, i/2, j/2, k/2)."""
        return pool2(x)


class Chain(nn.Sequential):
    """Modules in sequence, where neighbouring blocks run in one call.

    One call for several blocks keeps no normalised volume in memory between them.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, i, j, k) -> what the last module returns."""
        for are_blocks, modules in groupby(self, lambda module: isinstance(module, Block)):
            if are_blocks:
                blocks = [module for module in modules if isinstance(module, Block)]
                parameters = [block.parameters_of_conv() for block in blocks]
                x = conv_blocks(x, parameters, eps=EPS, slope=SLOPE)
            else:
                for module in modules:
                    x = module(x)
        return x
