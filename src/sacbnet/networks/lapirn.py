"""LapIRN: the whole network on one page.

Source: Mok and Chung, "Large Deformation Diffeomorphic Image Registration with Laplacian Pyramid
Networks", MICCAI 2020, in the sizes that its authors published.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sacbnet.config.comparison import LapIRNOptions
from sacbnet.spatial.exponential import exponential
from sacbnet.spatial.warp import warp

from .contract import check_pair, pad_to
from .layers import Conv
from .units import UnitHead, in_voxels

SLOPE = 0.2  # of the leaky ReLUs
LARGEST = 0.4  # step of a level, in units of half the image


class LapIRN(nn.Module):
    """LapIRN; called as `contract` says.

    Three networks of the same form, at a quarter, half and full resolution. Each one sees the
    moving image warped by the field so far, and adds a step to that field. Fields are in units of
    half the padded image (`in_voxels`), the same at every level. With the option ``diffeomorphic``
    the sum of the steps is a velocity. 923,748 parameters (306,404 + 308,672 + 308,672), as
    published.

    The network is trained level by level. With ``levels`` 1 or 2 it has the coarser networks only,
    under the same names, and their field is upsampled to full resolution. The weights of such a
    network start a network of more levels. Two things differ from the published training: there,
    the lower levels stay fixed for the first 2,000 steps of a level, and here all levels learn; and
    here the loss is the recipe's, at full resolution.

    Parameters
    ----------
    options : LapIRNOptions, optional
        Default: the published network.
    """

    def __init__(self, options: LapIRNOptions | None = None) -> None:
        super().__init__()
        self.config = options = options or LapIRNOptions()
        names = ("coarse", "middle", "fine")[: options.levels]
        self.levels = nn.ModuleDict(
            {name: Level(2 if name == "coarse" else 5, options.channels) for name in names}
        )

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """moving, fixed (b, 1, i, j, k) -> displacement_vox (b, 3, i, j, k)."""
        i, j, k = check_pair(moving, fixed)
        full = pad_to(torch.cat([moving, fixed], 1), 8)  # (b, 2, i, j, k)
        half = pool(full)  # (b, 2, i/2, j/2, k/2)
        quarter = pool(half)  # (b, 2, i/4, j/4, k/4)

        # the coarsest level sees the images alone
        field, features = self.levels["coarse"](quarter)  # (b, 3, i/4, ..), (b, 28, i/4, ..)
        u = self._displacement(field)  # (b, 3, i/4, j/4, k/4), voxels of its own level

        # the others see the moved image, the fixed image and the field so far
        for name, images in (("middle", half), ("fine", full))[: self.config.levels - 1]:
            u, field = 2 * double(u), double(field)  # a voxel changes with the level, a unit not
            moved = warp(images[:, :1], u, padding="border")
            seen = torch.cat([moved, images[:, 1:], field], 1)  # (b, 5, i/2, ..), (b, 5, i, ..)
            step, features = self.levels[name](seen, features)
            field = field + step
            u = self._displacement(field)  # (b, 3, i/2, ..), then (b, 3, i, j, k)

        for _ in range(3 - self.config.levels):
            u = 2 * double(u)
        return u[..., :i, :j, :k]  # without the padding

    def _displacement(self, field: Tensor) -> Tensor:
        """A level's field in units -> its displacement in voxels; both (b, 3, i, j, k)."""
        field = in_voxels(field)
        return exponential(field, steps=7) if self.config.diffeomorphic else field


class Level(nn.Module):
    """The network of one level, which finds a step of less than 0.4 units; without biases.

    Parameters
    ----------
    c_in : int
        Channels of the images: 2 at the coarsest level, 5 at the others.
    c : int
        Channels of all convolutions.
    """

    def __init__(self, c_in: int, c: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            Conv(c_in, c, bias=False), nn.LeakyReLU(SLOPE), Conv(c, c, bias=False)
        )
        self.down = nn.Conv3d(c, c, 3, stride=2, padding=1, bias=False)
        self.blocks = nn.Sequential(*(_Block(c) for _ in range(5)))
        self.up = nn.ConvTranspose3d(c, c, 2, stride=2, bias=False)
        self.merge = nn.Sequential(Conv(2 * c, c, bias=False), nn.LeakyReLU(SLOPE))
        self.head = UnitHead(c)

    def forward(self, images: Tensor, below: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """images (b, c_in, i, ..), features below (b, c, i/2, ..) -> step (b, 3, ..), features."""
        fine = self.encoder(images)  # (b, c, i, j, k)
        coarse = self.down(fine)  # (b, c, i/2, j/2, k/2)
        if below is not None:
            coarse = coarse + below
        features = self.up(self.blocks(coarse))  # (b, c, i, j, k)
        merged = self.merge(torch.cat([features, fine], 1))  # (b, c, i, j, k)
        return LARGEST * F.softsign(self.head(merged)), features


class _Block(nn.Module):
    """Residual block, activated before its convolutions and after the sum: (b, c, ..) -> same."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.first, self.second = (Conv(c, c, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.first(F.leaky_relu(x, SLOPE))
        return F.leaky_relu(x + self.second(F.leaky_relu(inner, SLOPE)), SLOPE)


def pool(image: Tensor) -> Tensor:
    """Halve the resolution: means of 3×3×3 voxels around every second voxel.

    Voxels beyond the edge are left out of a mean.

    Parameters
    ----------
    image : Tensor, shape (b, c, i, j, k)
        Images with even sides.

    Returns
    -------
    Tensor, shape (b, c, i/2, j/2, k/2)
        The means.
    """
    return F.avg_pool3d(image, 3, stride=2, padding=1, count_include_pad=False)


def double(field: Tensor) -> Tensor:
    """Interpolate a field to a lattice twice as fine, trilinear; the values keep their unit.

    Each voxel is cut into eight (``align_corners=False``), as published, although `pool` centres
    its voxels on the even ones.

    Parameters
    ----------
    field : Tensor, shape (b, 3, i, j, k)
        The field.

    Returns
    -------
    Tensor, shape (b, 3, 2i, 2j, 2k)
        The interpolated field.
    """
    return F.interpolate(field, scale_factor=2, mode="trilinear", align_corners=False)
