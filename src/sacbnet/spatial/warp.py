"""Resampling of tensors: the one place that calls `grid_sample`, and on the CPU the compiled kernel instead.

Tensors are (batch, channel, i, j, k). Coordinates and displacements have three channels in the order (i, j, k), in
voxels of the sampled tensor, voxel centres at whole numbers (`align_corners=True`).
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
    """Coordinates of each voxel: (1, 3, i, j, k)."""
    axes = [torch.arange(n, device=device, dtype=dtype) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def sample(
    image: Tensor, coordinates: Tensor, mode: Mode = "linear", padding: Padding = "zeros"
) -> Tensor:
    """Values of `image` (b, c, i, j, k) at voxel `coordinates` (b, 3, i', j', k') -> (b, c, i', j', k').

    padding "zeros" fades to 0 within one voxel of the edge (what the published network does); "border" repeats the
    edge. Always computed in at least float32: half precision cannot address a 200-voxel axis.
    """
    if mode == "linear" and compiled.takes(image, coordinates):
        return compiled.warp(image, coordinates, absolute=True, border=padding == "border")
    size = image.shape[2:]
    wide = torch.promote_types(torch.promote_types(image.dtype, coordinates.dtype), torch.float32)
    if not image.dtype == coordinates.dtype == wide:
        return sample(image.to(wide), coordinates.to(wide), mode, padding).to(image.dtype)
    if (
        padding == "zeros" and 1 in size
    ):  # such an axis has no extent to fade over: give it a zero on either side
        beside = [int(n == 1) for n in size]
        image = F.pad(image, [n for n in reversed(beside) for _ in range(2)])
        coordinates = coordinates + coordinates.new_tensor(beside).reshape(1, 3, 1, 1, 1)
        size = image.shape[2:]
    # grid_sample wants (x, y, z) = (k, j, i) in [-1, 1]; an axis of one voxel has no extent to normalise by
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
        # torch's 3-D grid_sample runs in parallel over the batch only: cut the output along i into a batch
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
    """moved(p) = image(p + u(p)). image (b, c, i, j, k), displacement_vox (b, 3, i, j, k) -> (b, c, i, j, k)."""
    if mode == "linear" and compiled.takes(image, displacement_vox):
        return compiled.warp(image, displacement_vox, border=padding == "border")
    wide = torch.promote_types(displacement_vox.dtype, torch.float32)
    here = identity(tuple(displacement_vox.shape[2:]), displacement_vox.device, wide)
    return sample(image, here + displacement_vox, mode, padding)


def compose(outer_vox: Tensor, inner_vox: Tensor, padding: Padding = "zeros") -> Tensor:
    """Displacement of (id + outer) ∘ (id + inner): outer(p + inner(p)) + inner(p). All (b, 3, i, j, k), voxels."""
    if outer_vox.dtype == inner_vox.dtype == torch.float32 and compiled.takes(outer_vox, inner_vox):
        return compiled.warp(outer_vox, inner_vox, border=padding == "border", add=True)
    return warp(outer_vox, inner_vox, padding=padding) + inner_vox


def up(displacement_vox: Tensor) -> Tensor:
    """To a lattice twice as fine, in its voxels: (b, 3, i, j, k) -> (b, 3, 2i, 2j, 2k), trilinear.

    The corners of the two lattices coincide (`align_corners=True`), as the published network has it.
    """
    if native.usable(displacement_vox) and displacement_vox.dtype == torch.float32:
        return compiled.up(displacement_vox)
    return F.interpolate(2 * displacement_vox, scale_factor=2, mode="trilinear", align_corners=True)
