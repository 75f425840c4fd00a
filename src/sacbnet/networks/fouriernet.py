"""Fourier-Net: the whole network on one page.

Source: Jia et al., "Fourier-Net: Fast Image Registration with Band-Limited Deformation", AAAI 2023, in the 3-D form and
the sizes that its authors published.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sacbnet.config.comparison import FourierNetOptions

from .contract import check_pair, pad_to
from .layers import Conv
from .units import UnitHead, in_voxels


class FourierNet(nn.Module):
    """moving, fixed (b, 1, i, j, k), any size -> displacement_vox (b, 3, i, j, k) for `warp(moving, displacement_vox)`.

    A U-Net whose decoder ends at a quarter of the resolution; what it gives there is taken for the low frequencies of
    the displacement, whose others are 0 (`band_limited`). The network's units are half the padded image (`in_voxels`).
    1,050,800 parameters at 8 channels, 4,198,352 at 16. The published code counts 1,113,766 and 4,449,974: it also
    holds the layers of a decoder up to full resolution, which it never calls, and which are left out here. Raises
    InputError for shapes that are no pair of images.
    """

    def __init__(self, options: FourierNetOptions | None = None) -> None:
        super().__init__()
        self.config = options = options or FourierNetOptions()
        c = options.channels
        self.level1 = nn.Sequential(Block(2, c), Block(c, c))
        self.level2 = nn.Sequential(Block(c, 2 * c, stride=2), Block(2 * c, 2 * c))
        self.level3 = nn.Sequential(Block(2 * c, 4 * c, stride=2), Block(4 * c, 4 * c))
        self.level4 = nn.Sequential(Block(4 * c, 8 * c, stride=2), Block(8 * c, 8 * c))
        self.level5 = nn.Sequential(Block(8 * c, 16 * c, stride=2), Block(16 * c, 8 * c))
        self.up4, self.up3 = Up(8 * c), Up(4 * c)
        self.merge4 = nn.Sequential(Block(16 * c, 8 * c), Block(8 * c, 4 * c))
        self.merge3 = nn.Sequential(Block(8 * c, 4 * c), Block(4 * c, 2 * c))
        self.head = UnitHead(2 * c)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        size = check_pair(moving, fixed)
        pair = pad_to(torch.cat([moving, fixed], 1), 16)  # (b, 2, i, j, k)

        # encoder, with c = 8
        f3 = self.level3(self.level2(self.level1(pair)))  # (b, 32, i/4, j/4, k/4)
        f4 = self.level4(f3)  # (b, 64, i/8, j/8, k/8)
        f5 = self.level5(f4)  # (b, 64, i/16, j/16, k/16)

        # decoder
        x = self.merge4(torch.cat([self.up4(f5), f4], 1))  # (b, 32, i/8, j/8, k/8)
        x = self.merge3(torch.cat([self.up3(x), f3], 1))  # (b, 16, i/4, j/4, k/4)
        u = in_voxels(band_limited(self.head(x), 4))  # (b, 3, i, j, k)

        return u[..., : size[0], : size[1], : size[2]]  # voxels: cropping changes no unit


class Block(nn.Sequential):
    """3×3×3 convolution → PReLU: (b, c_in, i, j, k) -> (b, c_out, i / stride, ..)."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        convolution = (
            Conv(c_in, c_out) if stride == 1 else nn.Conv3d(c_in, c_out, 3, stride, padding=1)
        )
        super().__init__(convolution, nn.PReLU())


class Up(nn.Sequential):
    """Transposed convolution 2×2×2 of stride 2 → PReLU: (b, c, i, j, k) -> (b, c, 2i, 2j, 2k)."""

    def __init__(self, c: int) -> None:
        super().__init__(nn.ConvTranspose3d(c, c, 2, stride=2), nn.PReLU())


def band_limited(low: Tensor, factor: int) -> Tensor:
    """The field whose low frequencies are those of `low`, the others 0: (b, c, i, j, k) -> (b, c, factor·i, ..).

    The discrete Fourier transform of `low`, its zero frequency shifted to the centre, zeros put around it, and the real
    part of the inverse transform, as the paper has it. Frequency m of n voxels is thus frequency m of factor·n voxels,
    at 1/factor of its amplitude along each axis: 1/64 for a volume and factor 4. Nothing makes up for it, for the
    network learns it. Axis after axis, which is the same and saves most of the work.
    """
    field = low
    for axis in (2, 3, 4):
        n = low.shape[axis]
        before = (
            factor * n // 2 - n // 2
        )  # from the place of the zero frequency to that in the larger spectrum
        around = [0, 0] * (4 - axis) + [before, factor * n - n - before]
        spectrum = F.pad(torch.fft.fftshift(torch.fft.fft(field, dim=axis), dim=axis), around)
        field = torch.fft.ifft(torch.fft.ifftshift(spectrum, dim=axis), dim=axis)
    return field.real
