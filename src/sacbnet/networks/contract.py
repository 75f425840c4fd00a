"""The contract that every network of this package satisfies, and two helpers to satisfy it.

1. **Constructor.** ``Class(options)``, where ``options`` is a `NetworkOptions`, a frozen dataclass.
   The constructor draws the first weights from torch's random state and reads no file. It also
   works under ``torch.device("meta")``, where tensors have shapes but no values.
2. **config.** The attribute ``config`` holds these options. A weights file stores them, so the file
   alone is enough to build the network again.
3. **Call.** ``network(moving=..., fixed=...)`` takes two images of equal shape (b, 1, i, j, k) and
   of any size, with intensities in [0, 1]. It returns ``displacement_vox`` (b, 3, i, j, k), at
   least float32: the displacement on the fixed grid, in voxels, axes in the order (i, j, k). It is
   meant for ``warp(moving, displacement_vox)``.
4. **Any size.** The network stores no image shape and no sampling grid. One set of weights serves
   every size, batch and device. A network whose pyramid needs multiples of some number pads the
   images by `pad_to` and crops the displacement. Cropping does not change the unit voxel.
5. **Determinism.** In evaluation mode the same inputs give the same output. The network neither
   reads nor changes global random state. A sample of a batch gives what it gives alone.
6. **InputError** for two tensors that are not a pair of images (`check_pair`).

A package outside this one adds a network by an entry point (`sacbnet.config.registry`). It is then
trained, evaluated and used for registration by its name, like the networks in this folder.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch.nn.functional as F
from torch import Tensor

from sacbnet.errors import InputError


class Network(Protocol):
    """The contract as a type; every network is also a ``torch.nn.Module``.

    Attributes
    ----------
    config : NetworkOptions
        The options that the network was built from.

    Examples
    --------
    >>> import torch
    >>> from sacbnet.networks.fouriernet import FourierNet
    >>> network: Network = FourierNet()
    >>> moving, fixed = torch.rand(2, 1, 1, 20, 18, 16)
    >>> network(moving=moving, fixed=fixed).shape
    torch.Size([1, 3, 20, 18, 16])
    """

    config: Any

    def __call__(self, *, moving: Tensor, fixed: Tensor) -> Tensor:
        """moving, fixed (b, 1, i, j, k) -> displacement_vox (b, 3, i, j, k)."""


def check_pair(moving: Tensor, fixed: Tensor) -> tuple[int, int, int]:
    """Check that two tensors are a pair of images.

    Parameters
    ----------
    moving, fixed : Tensor, shape (b, 1, i, j, k)
        The images.

    Returns
    -------
    tuple of int
        The size (i, j, k).

    Raises
    ------
    InputError
        Where the shapes differ, are not of this form, or hold a 0.
    """
    if moving.shape != fixed.shape or moving.ndim != 5 or moving.shape[1] != 1 or 0 in moving.shape:
        raise InputError(
            f"moving has shape {tuple(moving.shape)} and fixed {tuple(fixed.shape)}; two equal"
            " shapes (b, 1, i, j, k) were expected: resample the moving image to the fixed grid"
            " first"
        )
    i, j, k = moving.shape[2:]
    return i, j, k


def pad_to(image: Tensor, multiple: int, least: int = 1) -> Tensor:
    """Pad with zeros at the high ends until each side is a multiple.

    Parameters
    ----------
    image : Tensor, shape (b, c, i, j, k)
        Images or features.
    multiple : int
        Each side becomes the next multiple of this number.
    least : int, default 1
        Voxels that the longest side needs. If no side has as many, all three sides become the
        multiple that follows: an instance norm needs more than one voxel at the coarsest level.

    Returns
    -------
    Tensor, shape (b, c, i', j', k')
        The padded image. Voxel (0, 0, 0) stays where it is.
    """
    size = [multiple * -(-n // multiple) for n in image.shape[2:]]
    if max(size) < least:
        size = [multiple * -(-least // multiple)] * 3
    i, j, k = (to - n for to, n in zip(size, image.shape[2:], strict=True))
    return F.pad(image, (0, k, 0, j, 0, i))
