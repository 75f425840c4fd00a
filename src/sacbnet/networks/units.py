"""Displacements in units of half the image's extent: for LKU-Net, LapIRN and Fourier-Net."""

from __future__ import annotations

from torch import Tensor, nn

from sacbnet.ops.conv import conv3d


class UnitHead(nn.Conv3d):
    """3×3×3 convolution without bias, at least float32, also under autocast.

    Parameters
    ----------
    c : int
        Channels of the features.
    """

    def __init__(self, c: int) -> None:
        super().__init__(c, 3, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, i, j, k) -> (b, 3, i, j, k)."""
        return conv3d(x, self.weight, self.weight.new_zeros(3))


def in_voxels(units: Tensor) -> Tensor:
    """Convert a displacement from units to voxels of its own lattice.

    One unit is n/2 voxels along an axis of n voxels. The factor is n/2, not (n - 1)/2: so one unit
    is the same shift, in mm, on the lattices of 2n, n and n/2 voxels of one image.

    Parameters
    ----------
    units : Tensor, shape (b, 3, i, j, k)
        Displacement, where 1 is half the image's extent.

    Returns
    -------
    Tensor, shape (b, 3, i, j, k)
        The same displacement in voxels.
    """
    half = units.new_tensor(units.shape[2:]) / 2
    return units * half.reshape(1, 3, 1, 1, 1)
