"""What VoxelMorph and TransMorph are made of alike."""

from __future__ import annotations

from torch import Tensor, nn

from sacbnet.kernels.cpu import conv as compiled
from sacbnet.kernels.dispatch import fast_storage
from sacbnet.ops.conv import conv3d


class Conv(nn.Conv3d):
    """3×3×3 convolution: (b, c_in, i, j, k) -> (b, c_out, i, j, k).

    For a single pair torch's own takes the CPU two to three times as long, where channels are few and voxels many.
    """

    def __init__(self, c_in: int, c_out: int, bias: bool = True) -> None:
        super().__init__(c_in, c_out, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if storage := fast_storage(x, self.weight):
            bias = self.weight.new_zeros(self.out_channels) if self.bias is None else self.bias
            return compiled.Conv.apply(x, self.weight, bias, storage)
        return super().forward(x)


class Head(nn.Conv3d):
    """3×3×3 convolution that begins with almost no displacement: (b, c, i, j, k) -> (b, 3, i, j, k), float32.

    The weights begin as N(0, 1e-5), as in the published VoxelMorph and TransMorph, the bias as 0.
    """

    def __init__(self, c_in: int) -> None:
        super().__init__(c_in, 3, 3, padding=1)
        assert self.bias is not None
        draw_normal(self.weight, 1e-5)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        return conv3d(x, self.weight, self.bias)


def draw_normal(parameter: Tensor, std: float) -> None:
    """Begin as N(0, std). On the meta device nothing is drawn: there it would import half of torch."""
    if not parameter.is_meta:
        nn.init.normal_(parameter, std=std)
