"""Losses of a displacement alone: roughness, folding, and inconsistency with its inverse."""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sacbnet.errors import InputError
from sacbnet.kernels.cpu import boxes
from sacbnet.spatial.jacobian import tetrahedra
from sacbnet.spatial.warp import compose, identity

from .common import at_least_single, displacement, full_precision

ROWS = 8  # cells along i that are cut into tetrahedra at a time


def gradient_loss(displacement_vox: Tensor) -> Tensor:
    """Compute the mean square gradient of a displacement.

    Forward differences are squared, averaged along each axis, and then over the three axes. An axis
    of one voxel has no differences and counts as 0. The loss is computed in at least float32.

    Parameters
    ----------
    displacement_vox : Tensor, shape (b, 3, i, j, k)
        The displacement, in voxels.

    Returns
    -------
    Tensor, scalar
        In voxels² per voxel².

    References
    ----------
    VoxelMorph's l2 loss. The weight λ of Cheng et al., "SACB-Net", CVPR 2025, belongs to this
    definition.
    """
    (u,) = at_least_single(displacement_vox)
    with full_precision(u):
        return _MeanSquareGradient.apply(u)


def bending_energy_loss(displacement_vox: Tensor) -> Tensor:
    """Compute the mean of the squared second derivatives of a displacement.

    It is u_ii² + u_jj² + u_kk² + 2 (u_ij² + u_ik² + u_jk²), averaged over the components and over
    the voxels that have neighbours on both sides along each axis. Second derivatives use [1, -2,
    1], mixed ones the four diagonal neighbours. An affine costs nothing. An axis of fewer than
    three voxels has no second derivatives and counts as 0. The loss is computed in at least
    float32.

    Parameters
    ----------
    displacement_vox : Tensor, shape (b, 3, i, j, k)
        The displacement, in voxels.

    Returns
    -------
    Tensor, scalar
        In voxels² per voxel⁴.

    Raises
    ------
    InputError
        For another shape.

    References
    ----------
    Rueckert et al., "Nonrigid registration using free-form deformations", IEEE TMI 1999; here the
    mean over the components instead of their sum, as in MONAI's BendingEnergyLoss.
    """
    displacement(displacement_vox)
    (u,) = at_least_single(displacement_vox)
    with full_precision(u):
        return _BendingEnergy.apply(u)


def jacobian_loss(displacement_vox: Tensor, margin: float = 0.0) -> Tensor:
    """Measure how much of the volume a displacement turns over.

    Each cell of the lattice is cut into tetrahedra in two ways. The loss is the mean over the
    cells, and over both ways, of max(0, margin - volume) of the tetrahedra, with volumes relative
    to the undeformed ones. With margin 0 it is 1/100 of the non-diffeomorphic volume in %, and 0
    exactly where the map is one-to-one. A margin up to 1 also keeps a distance from folding. The
    loss is computed in at least float32.

    Parameters
    ----------
    displacement_vox : Tensor, shape (b, 3, i, j, k)
        The displacement, in voxels.
    margin : float, default 0
        Volume below which a tetrahedron costs, relative to its undeformed volume.

    Returns
    -------
    Tensor, scalar
        Part of the volume of the lattice.

    Raises
    ------
    InputError
        For another shape, or an axis of one voxel.

    References
    ----------
    Liu et al., "On finite difference Jacobian computation in deformable image registration", IJCV
    2024. A penalty on negative Jacobians is an idea of Mok and Chung, "Fast symmetric diffeomorphic
    image registration with convolutional neural networks", CVPR 2020; their det J by differences in
    one direction sees one of the ten tetrahedra.
    """
    displacement(displacement_vox)
    if min(displacement_vox.shape[2:]) < 2:
        raise InputError(
            f"the displacement has shape {tuple(displacement_vox.shape)}; at least two voxels along"
            " each axis were expected: a volume one voxel thick has no cells that could fold"
        )
    (u,) = at_least_single(displacement_vox)
    with full_precision(u):
        return _Folding.apply(u, margin)


def inverse_consistency_loss(transform_vox: Tensor, inverse_vox: Tensor) -> Tensor:
    """Compute the mean square distance of points to their places after a round trip.

    It is ``|transform(inverse(p)) - p|²`` of ``(id + transform_vox) ∘ (id + inverse_vox)``,
    averaged over the voxels of a sample that the inverse leaves inside the grid (0 if there are
    none), then over the samples. Beyond the grid the transform is not known; its edge is repeated
    there. For both directions add the loss with the arguments exchanged. The loss is computed in at
    least float32.

    Parameters
    ----------
    transform_vox, inverse_vox : Tensor, shape (b, 3, i, j, k)
        Displacements of the two maps, in voxels.

    Returns
    -------
    Tensor, scalar
        In voxels².

    Raises
    ------
    InputError
        For other or unequal shapes.

    References
    ----------
    Christensen and Johnson, "Consistent image registration", IEEE TMI 2001.
    """
    displacement(transform_vox)
    if transform_vox.shape != inverse_vox.shape:
        raise InputError(
            f"displacements of shapes {tuple(transform_vox.shape)} and {tuple(inverse_vox.shape)}"
            " were given; one shape was expected: bring both onto one grid"
        )
    outer, inner = at_least_single(transform_vox, inverse_vox)
    with full_precision(outer):
        size = inner.shape[2:]
        at = identity(tuple(size), inner.device, inner.dtype) + inner.detach()
        last = at.new_tensor([n - 1 for n in size]).view(1, 3, 1, 1, 1)
        inside = ((at >= 0) & (at <= last)).all(1)
        missed = compose(outer, inner, padding="border").square().sum(1)
        missed = torch.where(inside, missed, 0).flatten(1).sum(1)
        return (missed / inside.flatten(1).sum(1).clamp(min=1)).mean()


class _MeanSquareGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        if boxes.takes(u):
            found, slope = boxes.square_gradient(u, ctx.needs_input_grad[0])
            ctx.save_for_backward(slope)
            return found
        loss = u.new_zeros(())
        slope = torch.zeros_like(u) if ctx.needs_input_grad[0] else None
        for axis in (2, 3, 4):
            n = u.shape[axis] - 1
            if n == 0:
                continue
            difference = u.diff(dim=axis)
            scale = 1 / (3 * difference.numel())
            loss += scale * torch.linalg.vector_norm(difference).square()
            if slope is not None:
                slope.narrow(axis, 1, n).add_(difference, alpha=2 * scale)
                slope.narrow(axis, 0, n).sub_(difference, alpha=2 * scale)
        ctx.save_for_backward(slope)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        return slope * grad


class _BendingEnergy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        loss = u.new_zeros(())
        slope = torch.zeros_like(u) if ctx.needs_input_grad[0] else None
        for a, b in combinations_with_replacement(
            [axis for axis in (2, 3, 4) if u.shape[axis] > 2], 2
        ):
            taps = _second_derivative(a, b)
            second = sum(weight * _shifted(u, at) for at, weight in taps.items())
            assert isinstance(second, Tensor)
            scale = (1 if a == b else 2) / second.numel()
            loss += scale * torch.linalg.vector_norm(second).square()
            if slope is not None:
                for at, weight in taps.items():
                    _shifted(slope, at).add_(second, alpha=2 * scale * weight)
        ctx.save_for_backward(slope)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        return slope * grad


def _second_derivative(a: int, b: int) -> dict[tuple[int, int, int], float]:
    """The stencil for axes 2 to 4 of a volume: neighbour (-1, 0, 1 along i, j, k) -> weight."""

    def step(m: int, n: int) -> tuple[int, int, int]:
        i, j, k = (m * (a == axis) + n * (b == axis) for axis in (2, 3, 4))
        return i, j, k

    if a == b:
        return {step(-1, 0): 1.0, step(0, 0): -2.0, step(1, 0): 1.0}
    return {step(m, n): m * n / 4 for m in (-1, 1) for n in (-1, 1)}


def _shifted(x: Tensor, at: tuple[int, int, int]) -> Tensor:
    """The neighbours `at` of the inner voxels; axes of fewer than 3 voxels are inner as a whole."""
    for axis, shift in zip((2, 3, 4), at, strict=True):
        if x.shape[axis] > 2:
            x = x.narrow(axis, 1 + shift, x.shape[axis] - 2)
    return x


class _Folding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, margin: float) -> Tensor:
        places = [
            (n, slice(low, low + ROWS + 1))
            for n in range(len(u))
            for low in range(0, u.shape[2] - 1, ROWS)
        ]
        lacking = torch.stack([_lacking(u[n, :, rows], margin) for n, rows in places])
        cells = len(u) * prod(n - 1 for n in u.shape[2:])
        slope = None
        if ctx.needs_input_grad[0]:
            slope = torch.zeros_like(u)
            # most slabs of a sensible displacement do not fold and need no gradient; one transfer
            # asks for all of them, because each transfer makes the host wait for a GPU
            for (n, rows), some in zip(places, (lacking > 0).tolist(), strict=True):
                if some:
                    slope[n, :, rows] += _lacking_slope(u[n, :, rows], margin) / cells
        ctx.save_for_backward(slope)
        return (lacking.sum() / cells).to(u.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return slope * grad, None


def _lacking(u: Tensor, margin: float) -> Tensor:
    """Σ of max(0, margin - volume) over the tetrahedra, mean of both cuts; u (3, i, j, k)."""
    parts = [
        (margin - volume).clamp_(min=0).sum(dtype=torch.float64) * share / 2
        for volume, share in tetrahedra(u)
    ]
    return torch.stack(parts).sum()


def _lacking_slope(u: Tensor, margin: float) -> Tensor:
    with torch.enable_grad():
        u = u.detach().requires_grad_()
        (slope,) = torch.autograd.grad(_lacking(u, margin), u)
    return slope
