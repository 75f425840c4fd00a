"""VoxelMorph: the whole network on one page.

Source: Balakrishnan et al., "VoxelMorph: A Learning Framework for Deformable Medical Image
Registration", IEEE TMI 2019. Sizes and strides are those of the comparison of Chen et al.,
"TransMorph", Medical Image Analysis 2022.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sacbnet.config.comparison import VoxelMorphOptions

from .contract import check_pair, pad_to
from .layers import Conv, Head
from .sacbnet.block import SACB


class VoxelMorph(nn.Module):
    """VoxelMorph; called as `contract` says.

    With the option ``sacb``, a SACB follows each convolution of the encoder. A SACB takes and gives
    features of any width.

    Parameters
    ----------
    options : VoxelMorphOptions, optional
        Default: VXM-2.
    """

    def __init__(self, options: VoxelMorphOptions | None = None) -> None:
        super().__init__()
        self.config = options = options or VoxelMorphOptions()
        levels = len(options.encoder)
        widths = (2, *options.encoder)  # of the images and of each encoder level
        self.encoder = nn.ModuleList(
            nn.Sequential(
                *_block(c_in, c, stride=2), *([SACB(c, options.sacb)] if options.sacb else [])
            )
            for c_in, c in pairwise(widths)
        )
        # channels that join the output of each decoder convolution: the skip connections
        skips = [*widths[-2::-1], *[0] * (len(options.decoder) - levels)]
        inputs = [widths[-1], *(c + skip for c, skip in zip(options.decoder, skips, strict=True))]
        blocks = [
            nn.Sequential(*_block(c_in, c))
            for c_in, c in zip(inputs, options.decoder, strict=False)
        ]
        self.decoder = nn.ModuleList(blocks[:levels])
        self.full = nn.Sequential(*blocks[levels:])
        self.head = Head(inputs[-1])

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """moving, fixed (b, 1, i, j, k) -> displacement_vox (b, 3, i, j, k)."""
        i, j, k = check_pair(moving, fixed)
        multiple = 2 ** len(self.encoder)
        pair = pad_to(torch.cat([moving, fixed], 1), multiple, least=2 * multiple)

        # encoder; channels for the default sizes
        maps = [pair]  # (b, 2, i, j, k)
        for down in self.encoder:
            maps.append(down(maps[-1]))  # (b, 16, i/2, ..), (b, 32, i/4, ..), .., (b, 32, i/16, ..)

        # decoder
        x = maps.pop()
        for convolve in self.decoder:
            x = F.interpolate(convolve(x), scale_factor=2)  # (b, 32, i/8, ..), .., (b, 32, i, j, k)
            x = torch.cat([x, maps.pop()], 1)  # the last of the maps are the images
        u = self.head(self.full(x))  # (b, 3, i, j, k)

        return u[..., :i, :j, :k]  # without the padding


def _block(c_in: int, c_out: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    """3×3×3 convolution → leaky ReLU: (b, c_in, i, j, k) -> (b, c_out, i/stride, ..)."""
    convolution = Conv(c_in, c_out) if stride == 1 else nn.Conv3d(c_in, c_out, 3, stride, padding=1)
    return convolution, nn.LeakyReLU(0.2)
