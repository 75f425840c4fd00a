"""The feature pyramid shared by both images.

Source: Cheng et al., SACB-Net, CVPR 2025, section 3.1; widths as in the authors' published network.
"""

from __future__ import annotations

from torch import Tensor, nn

from .config import SACBNetConfig


def block(c_in: int, c_out: int) -> nn.Sequential:
    """3×3×3 convolution → instance norm → leaky ReLU: (b, c_in, i, j, k) -> (b, c_out, i, j, k)."""
    return nn.Sequential(
        nn.Conv3d(c_in, c_out, 3, padding=1),
        nn.InstanceNorm3d(c_out, eps=1e-5),
        nn.LeakyReLU(0.1, inplace=True),  # safe: instance norm keeps its input, not its output, for the backward pass
    )


class Encoder(nn.Module):
    """image (b, 1, i, j, k) -> features of levels 1..5, level l (b, config.channels(l), i, j, k / 2^(l-1))."""

    def __init__(self, config: SACBNetConfig) -> None:
        super().__init__()
        c = [config.channels(level) for level in range(1, 6)]
        base = config.base_channels
        self.level1 = nn.Sequential(block(1, base), block(base, c[0]), block(c[0], c[0]))
        self.level2 = nn.Sequential(nn.AvgPool3d(2), block(c[0], c[1]), block(c[1], c[1]))
        self.level3 = nn.Sequential(nn.AvgPool3d(2), block(c[1], c[2]), block(c[2], c[2]))
        self.level4 = nn.Sequential(nn.AvgPool3d(2), block(c[2], c[3]), block(c[3], c[3]))
        self.level5 = nn.Sequential(nn.AvgPool3d(2), block(c[3], c[4]), block(c[4], c[4]))

    def forward(self, image: Tensor) -> list[Tensor]:
        features = [self.level1(image)]
        for level in (self.level2, self.level3, self.level4, self.level5):
            features.append(level(features[-1]))
        return features
