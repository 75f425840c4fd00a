"""Resampling of tensors by displacements, by the compiled kernels on the CPU where possible.

This is the only module that calls ``grid_sample``. Tensors have the shape (b, c, i, j, k).
Coordinates and displacements have three channels in the order (i, j, k). Their unit is the voxel of
the sampled tensor, and voxel centres have whole numbers (``align_corners=True``).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sacbnet.kernels.cpu import native
from sacbnet.kernels.cpu import warp as compiled

Mode = Literal["linear", "nearest"]
Padding = Literal["zeros", "border"]


def identity(
    shape: tuple[int, ...], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Tensor:
    """Coordinates of all voxels.

    Parameters
    ----------
    shape : tuple of 3 int
        Number of voxels along (i, j, k).
    device : torch.device or str, default "cpu"
        Device of the result.
    dtype : torch.dtype, default torch.float32
        Type of the result.

    Returns
    -------
    Tensor, shape (1, 3, i, j, k)
        The voxel coordinates of each voxel.
    """
    axes = [torch.arange(n, device=device, dtype=dtype) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def sample(
    image: Tensor, coordinates: Tensor, mode: Mode = "linear", padding: Padding = "zeros"
) -> Tensor:
    """Values of an image at given coordinates.

    The computation uses at least float32, because half precision cannot address an axis of 200
    voxels.

    Parameters
    ----------
    image : Tensor, shape (b, c, i, j, k)
        The sampled image.
    coordinates : Tensor, shape (b, 3, i', j', k')
        Places to sample, in voxels of the image, axes in the order (i, j, k).
    mode : {"linear", "nearest"}, default "linear"
        Interpolation between voxels. `sacbnet.spatial.trilinear.interpolate` defines "linear".
    padding : {"zeros", "border"}, default "zeros"
        Values outside the image. "zeros" fades to 0 within one voxel of the edge, as in the
        published network. "border" repeats the edge.

    Returns
    -------
    Tensor, shape (b, c, i', j', k')
        The values, in the type of the image.
    """
    if mode == "linear" and compiled.takes(image, coordinates):
        return compiled.warp(image, coordinates, absolute=True, border=padding == "border")
    size = image.shape[2:]
    wide = torch.promote_types(torch.promote_types(image.dtype, coordinates.dtype), torch.float32)
    if not image.dtype == coordinates.dtype == wide:
        return sample(image.to(wide), coordinates.to(wide), mode, padding).to(image.dtype)
    # an axis of one voxel has no extent to fade over: it gets a zero on either side
    if padding == "zeros" and 1 in size:
        beside = [int(n == 1) for n in size]
        image = F.pad(image, [n for n in reversed(beside) for _ in range(2)])
        coordinates = coordinates + coordinates.new_tensor(beside).reshape(1, 3, 1, 1, 1)
        size = image.shape[2:]
    # grid_sample takes (x, y, z) = (k, j, i) in [-1, 1]; an axis of one voxel is not normalised
    scaled = [
        coordinates[:, a] * (2 / max(size[a] - 1, 1)) - (1 if size[a] > 1 else 0) for a in (2, 1, 0)
    ]
    grid = torch.stack(scaled, dim=-1)
    b, i = grid.shape[0], grid.shape[1]
    threads = torch.get_num_threads()
    if (
        image.device.type == "cpu"
        and b == 1
        and threads > 1
        and i >= 2 * threads
        and not image.requires_grad
    ):
        # torch's 3-D grid_sample runs in parallel over the batch only: the output is cut along i
        # into a batch
        rows = i // threads
        cut = rows * threads
        split = grid[:, :cut].reshape(threads, rows, *grid.shape[2:])
        parts = _grid_sample(image.expand(threads, *image.shape[1:]), split, mode, padding)
        out = parts.transpose(0, 1).reshape(1, image.shape[1], cut, *grid.shape[2:4])
        if cut < i:
            out = torch.cat([out, _grid_sample(image, grid[:, cut:], mode, padding)], dim=2)
        return out
    return _grid_sample(image, grid, mode, padding)


def _grid_sample(image: Tensor, grid: Tensor, mode: Mode, padding: Padding) -> Tensor:
    how = "bilinear" if mode == "linear" else "nearest"
    return F.grid_sample(image, grid, mode=how, padding_mode=padding, align_corners=True)


def warp(
    image: Tensor, displacement_vox: Tensor, mode: Mode = "linear", padding: Padding = "zeros"
) -> Tensor:
    """Resample an image through a displacement field.

    Computes ``out(p) = image(p + u(p))`` at every voxel ``p``.

    Parameters
    ----------
    image : Tensor, shape (b, c, i, j, k)
        The moving image.
    displacement_vox : Tensor, shape (b, 3, i', j', k')
        Displacement ``u`` on the grid of the result, in voxels, axes in the order (i, j, k).
    mode : {"linear", "nearest"}, default "linear"
        Interpolation between voxels.
    padding : {"zeros", "border"}, default "zeros"
        Values outside the image: fading to 0 within one voxel of the edge, or repeating the edge.

    Returns
    -------
    Tensor, shape (b, c, i', j', k')
        The resampled image.
    """
    if mode == "linear" and compiled.takes(image, displacement_vox):
        return compiled.warp(image, displacement_vox, border=padding == "border")
    wide = torch.promote_types(displacement_vox.dtype, torch.float32)
    here = identity(tuple(displacement_vox.shape[2:]), displacement_vox.device, wide)
    return sample(image, here + displacement_vox, mode, padding)


def compose(outer_vox: Tensor, inner_vox: Tensor, padding: Padding = "zeros") -> Tensor:
    """Displacement of two transforms, one after the other.

    The transform ``p + inner(p)`` is applied first, then ``p + outer(p)``. The result is
    ``outer(p + inner(p)) + inner(p)``.

    Parameters
    ----------
    outer_vox : Tensor, shape (b, 3, i, j, k)
        Displacement of the second transform, in voxels.
    inner_vox : Tensor, shape (b, 3, i, j, k)
        Displacement of the first transform, in voxels.
    padding : {"zeros", "border"}, default "zeros"
        The outer displacement outside its grid: fading to 0, or repeating the edge.

    Returns
    -------
    Tensor, shape (b, 3, i, j, k)
        Displacement of the composition, in voxels.
    """
    if outer_vox.dtype == inner_vox.dtype == torch.float32 and compiled.takes(outer_vox, inner_vox):
        return compiled.warp(outer_vox, inner_vox, border=padding == "border", add=True)
    return warp(outer_vox, inner_vox, padding=padding) + inner_vox


def up(displacement_vox: Tensor) -> Tensor:
    """Displacement on a lattice twice as fine, by trilinear interpolation.

    The corners of the two lattices coincide (``align_corners=True``), as in the published network.

    Parameters
    ----------
    displacement_vox : Tensor, shape (b, 3, i, j, k)
        Displacement in voxels of the coarse lattice.

    Returns
    -------
    Tensor, shape (b, 3, 2i, 2j, 2k)
        Displacement in voxels of the fine lattice.
    """
    if native.usable(displacement_vox) and displacement_vox.dtype == torch.float32:
        return compiled.up(displacement_vox)
    return F.interpolate(2 * displacement_vox, scale_factor=2, mode="trilinear", align_corners=True)
