"""TransMorph: the whole network on one page; `swin` is its transformer.

Source: Chen et al., "TransMorph: Transformer for unsupervised medical image registration", Medical
Image Analysis 2022.
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
    """TransMorph; called as `contract` says.

    In training mode, stochastic depth draws from torch's global random state.

    Parameters
    ----------
    options : TransMorphOptions, optional
        Default: the published network of normal size.
    """

    def __init__(self, options: TransMorphOptions | None = None) -> None:
        super().__init__()
        self.config = options = options or TransMorphOptions()
        c, last = options.embedding, options.last
        self.transformer = Swin(2, options)
        self.level1, self.level2 = _Block(2, last), _Block(2, c // 2)
        self.up5 = Up(8 * c, 4 * c, 4 * c)
        self.up4 = Up(4 * c, 2 * c, 2 * c)
        self.up3 = Up(2 * c, c, c)
        self.up2 = Up(c, c // 2, c // 2)
        self.up1 = Up(c // 2, last, last)
        self.head = Head(last)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """moving, fixed (b, 1, i, j, k) -> displacement_vox (b, 3, i, j, k)."""
        i, j, k = check_pair(moving, fixed)
        pair = pad_to(torch.cat([moving, fixed], 1), 32)  # (b, 2, i, j, k)

        # encoder; channels for an embedding of 96
        x3, x4, x5, x6 = self.transformer(pair)  # (b, 96, i/4, ..), .., (b, 768, i/32, ..)

        # decoder; the two finest maps skip the transformer, and are made when they are needed
        x = self.up5(x6, x5)  # (b, 384, i/16, j/16, k/16)
        x = self.up4(x, x4)  # (b, 192, i/8, j/8, k/8)
        x = self.up3(x, x3)  # (b, 96, i/4, j/4, k/4)
        half = F.avg_pool3d(pair, 3, stride=2, padding=1)  # (b, 2, i/2, j/2, k/2)
        x = self.up2(x, self.level2(half))  # (b, 48, i/2, j/2, k/2)
        x = self.up1(x, self.level1(pair))  # (b, 16, i, j, k)
        u = self.head(x)  # (b, 3, i, j, k)

        return u[..., :i, :j, :k]  # without the padding


class _Block(nn.Sequential):
    """3×3×3 convolution → instance norm → leaky ReLU: (b, c_in, i, ..) -> (b, c_out, i, ..)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(
            Conv(c_in, c_out, bias=False), nn.InstanceNorm3d(c_out), nn.LeakyReLU(0.01)
        )


class Up(nn.Module):
    """Upsample features ×2, join those of the skip connection, and apply two convolution blocks.

    Parameters
    ----------
    c_in : int
        Channels of the coarse features.
    c_skip : int
        Channels of the skip connection.
    c_out : int
        Channels of the result.
    """

    def __init__(self, c_in: int, c_skip: int, c_out: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(_Block(c_in + c_skip, c_out), _Block(c_out, c_out))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(b, c_in, i/2, j/2, k/2), (b, c_skip, i, j, k) -> (b, c_out, i, j, k)."""
        x = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
        return self.blocks(torch.cat([x, skip], 1))
