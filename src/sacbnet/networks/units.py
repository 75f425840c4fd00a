"""Displacements in units of half the image's extent, as some published networks give them."""

from __future__ import annotations

from torch import Tensor, nn

from sacbnet.ops.conv import conv3d


class UnitHead(nn.Conv3d):
    """3×3×3 convolution without bias: (b, c, i, j, k) -> (b, 3, i, j, k), at least float32, under autocast, too."""

    def __init__(self, c: int) -> None:
        super().__init__(c, 3, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return conv3d(x, self.weight, self.weight.new_zeros(3))


def in_voxels(units: Tensor) -> Tensor:
    """From units to voxels of the field's own lattice, both (b, 3, i, j, k): along an axis of n voxels ×n/2.

    n/2, not (n - 1)/2: so one unit is the same shift, in mm, on lattices of 2n, n and n/2 voxels of one image.
    """
    half = units.new_tensor(units.shape[2:]) / 2
    return units * half.reshape(1, 3, 1, 1, 1)
