"""Layers that several comparison networks share."""

from __future__ import annotations

from torch import Tensor, nn

from sacbnet.kernels.cpu import conv as compiled
from sacbnet.kernels.dispatch import fast_storage
from sacbnet.ops.conv import conv3d


class Conv(nn.Conv3d):
    """3×3×3 convolution, zero padded: (b, c_in, i, j, k) -> (b, c_out, i, j, k).

    On the CPU a single pair takes the compiled kernel. Where channels are few and voxels many,
    torch's own convolution takes two to three times as long.

    Parameters
    ----------
    c_in, c_out : int
        Channels.
    bias : bool, default True
        Whether the convolution has a bias.
    """

    def __init__(self, c_in: int, c_out: int, bias: bool = True) -> None:
        super().__init__(c_in, c_out, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c_in, i, j, k) -> (b, c_out, i, j, k)."""
        if storage := fast_storage(x, self.weight):
            bias = self.weight.new_zeros(self.out_channels) if self.bias is None else self.bias
            return compiled.Conv.apply(x, self.weight, bias, storage)
        return super().forward(x)


class Head(nn.Conv3d):
    """3×3×3 convolution that starts at almost no displacement, always at least float32.

    The weights start as N(0, 1e-5), as in the published VoxelMorph and TransMorph; the bias as 0.

    Parameters
    ----------
    c_in : int
        Channels of the features.
    """

    def __init__(self, c_in: int) -> None:
        super().__init__(c_in, 3, 3, padding=1)
        assert self.bias is not None
        draw_normal(self.weight, 1e-5)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c_in, i, j, k) -> (b, 3, i, j, k)."""
        assert self.bias is not None
        return conv3d(x, self.weight, self.bias)


class ConvPReLU(nn.Sequential):
    """3×3×3 convolution → PReLU: (b, c_in, i, j, k) -> (b, c_out, i / stride, ..).

    Parameters
    ----------
    c_in, c_out : int
        Channels.
    stride : {1, 2}, default 1
        2 halves the resolution.
    """

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        convolution = (
            Conv(c_in, c_out) if stride == 1 else nn.Conv3d(c_in, c_out, 3, stride, padding=1)
        )
        super().__init__(convolution, nn.PReLU())


class UpPReLU(nn.Sequential):
    """Transposed convolution 2×2×2, stride 2 → PReLU: (b, c, i, j, k) -> (b, c, 2i, 2j, 2k).

    Parameters
    ----------
    c : int
        Channels.
    """

    def __init__(self, c: int) -> None:
        super().__init__(nn.ConvTranspose3d(c, c, 2, stride=2), nn.PReLU())


def draw_normal(parameter: Tensor, std: float) -> None:
    """Start a parameter as N(0, std), in place.

    On the meta device nothing is drawn: drawing there would import half of torch.

    Parameters
    ----------
    parameter : Tensor
        Any shape.
    std : float
        Standard deviation.
    """
    if not parameter.is_meta:
        nn.init.normal_(parameter, std=std)
