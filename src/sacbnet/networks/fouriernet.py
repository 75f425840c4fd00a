"""Fourier-Net: the whole network on one page.

Source: Jia et al., "Fourier-Net: Fast Image Registration with Band-Limited Deformation", AAAI 2023,
in the 3-D form and the sizes that its authors published.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sacbnet.config.comparison import FourierNetOptions

from .contract import check_pair, pad_to
from .layers import ConvPReLU as Block
from .layers import UpPReLU as Up
from .units import UnitHead, in_voxels


class FourierNet(nn.Module):
    """Fourier-Net; called as `contract` says.

    A U-Net whose decoder ends at a quarter of the resolution. Its output there is taken as the low
    frequencies of the displacement, and all other frequencies are 0 (`band_limited`). The unit of
    the output is half the padded image (`in_voxels`).

    1,050,800 parameters at 8 channels, 4,198,352 at 16. The published code counts 1,113,766 and
    4,449,974, because it also holds the layers of a decoder up to full resolution. It never calls
    these layers, and they are left out here.

    Parameters
    ----------
    options : FourierNetOptions, optional
        Default: the published 3-D network.
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
        """moving, fixed (b, 1, i, j, k) -> displacement_vox (b, 3, i, j, k)."""
        i, j, k = check_pair(moving, fixed)
        pair = pad_to(torch.cat([moving, fixed], 1), 16)  # (b, 2, i, j, k)

        # encoder; channels for c = 8
        f3 = self.level3(self.level2(self.level1(pair)))  # (b, 32, i/4, j/4, k/4)
        f4 = self.level4(f3)  # (b, 64, i/8, j/8, k/8)
        f5 = self.level5(f4)  # (b, 64, i/16, j/16, k/16)

        # decoder
        x = self.merge4(torch.cat([self.up4(f5), f4], 1))  # (b, 32, i/8, j/8, k/8)
        x = self.merge3(torch.cat([self.up3(x), f3], 1))  # (b, 16, i/4, j/4, k/4)
        u = in_voxels(band_limited(self.head(x), 4))  # (b, 3, i, j, k)

        return u[..., :i, :j, :k]  # without the padding


def band_limited(low: Tensor, factor: int) -> Tensor:
    """Make a fine field from its low frequencies; all other frequencies are 0.

    As in the paper: take the discrete Fourier transform of ``low``, shift its zero frequency to the
    centre, put zeros around it, and take the real part of the inverse transform. Frequency m of n
    voxels thus becomes frequency m of factor·n voxels. Its amplitude becomes 1/factor along each
    axis (1/64 for a volume and factor 4). No scaling corrects this, because the network learns it.
    The axes are transformed one after the other. The result is the same, for a small part of the
    work.

    Parameters
    ----------
    low : Tensor, shape (b, c, i, j, k)
        The field on the coarse lattice.
    factor : int
        How many times finer the result is.

    Returns
    -------
    Tensor, shape (b, c, factor·i, factor·j, factor·k)
        The band-limited field.
    """
    field = low
    for axis in (2, 3, 4):
        n = low.shape[axis]
        # from the place of the zero frequency to its place in the larger spectrum
        before = factor * n // 2 - n // 2
        around = [0, 0] * (4 - axis) + [before, factor * n - n - before]
        spectrum = F.pad(torch.fft.fftshift(torch.fft.fft(field, dim=axis), dim=axis), around)
        field = torch.fft.ifft(torch.fft.ifftshift(spectrum, dim=axis), dim=axis)
    return field.real
