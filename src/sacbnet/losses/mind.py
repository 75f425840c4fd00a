"""MIND-SSC: a loss that compares self-similarity, for images of different contrast."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from sacbnet.errors import InputError

from .common import at_least_single, full_precision, same_images, shares

# smallest and largest noise estimate of a voxel, as multiples of the mean over the image
CLAMP = 1e-3, 1e3
Pair = tuple[tuple[int, int, int], tuple[int, int, int]]


def mind_loss(
    moved: Tensor, fixed: Tensor, radius: int = 2, dilation: int = 2, mask: Tensor | None = None
) -> Tensor:
    """Compare the MIND-SSC descriptors of two images.

    Of the six neighbours of a voxel, `dilation` voxels away along the axes, the twelve pairs that
    do not face each other are compared. D is the mean squared difference of the two patches around
    a pair. The descriptor is exp(-(D - min D) / V): twelve numbers, of which the largest is 1. V is
    the mean of D - min D over the pairs; it is kept between 1/1000 of and 1000 times its mean over
    the image. Beyond its faces the image has the values of its edge.

    Gain, offset and inversion of contrast change nothing. The loss is computed in at least float32.
    About thirty maps of the image's size exist during the computation, and one, the gradient,
    after.

    Parameters
    ----------
    moved, fixed : Tensor, shape (b, 1, i, j, k)
        The images.
    radius : int, default 2
        Radius of the patches, in voxels: sides of 2·radius + 1.
    dilation : int, default 2
        Distance of the neighbours, in voxels.
    mask : Tensor, shape (b, 1, i, j, k), optional
        Weights of the voxels in the mean over a sample; samples count equally. The descriptors
        themselves are those of the whole images. None means equal weights.

    Returns
    -------
    Tensor, scalar
        Mean squared difference of the descriptors, in [0, 1].

    Raises
    ------
    InputError
        For unequal shapes, more than one channel, a negative radius, a dilation below 1, or a mask
        that is empty for some sample.

    References
    ----------
    Heinrich et al., "Towards realtime multimodal fusion for image-guided interventions using
    self-similarities", MICCAI 2013. Minimum and clamp as in the Learn2Reg challenge.
    """
    same_images(moved, fixed)
    if moved.shape[1] != 1:
        raise InputError(
            f"images of {moved.shape[1]} channels were given; 1 was expected: add up the losses of"
            " the channels"
        )
    if radius < 0 or dilation < 1:
        raise InputError(
            f"radius {radius} and dilation {dilation} were given; at least 0 and 1 were expected"
        )
    moved, fixed = at_least_single(moved, fixed)
    with full_precision(moved):
        return _MIND.apply(moved, fixed, radius, dilation, shares(mask, moved))


def mind_descriptors(image: Tensor, radius: int = 2, dilation: int = 2) -> Tensor:
    """Compute the MIND-SSC descriptors of one image, as `mind_loss` compares them.

    Parameters
    ----------
    image : Tensor, shape (i, j, k)
        The image. There is no gradient.
    radius : int, default 2
        Radius of the patches, in voxels.
    dilation : int, default 2
        Distance of the neighbours, in voxels.

    Returns
    -------
    Tensor, shape (12, i, j, k)
        The descriptors, in [0, 1].
    """
    return _Descriptors(image.detach(), radius, dilation).values


class _MIND(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        moved: Tensor,
        fixed: Tensor,
        radius: int,
        dilation: int,
        weight: Tensor | None,
    ) -> Tensor:
        slopes = [
            torch.empty_like(x) if w else None
            for x, w in zip((moved, fixed), ctx.needs_input_grad[:2], strict=True)
        ]
        loss = moved.new_zeros(())
        for n in range(len(moved)):  # one sample at a time, so that one set of descriptors exists
            images = [_Descriptors(x[n, 0], radius, dilation) for x in (moved, fixed)]
            difference = images[0].values - images[1].values
            # the share of a voxel, of which there are twelve numbers
            share: Tensor | float = 1 / (difference.numel() * len(moved))
            if weight is not None:
                share = weight[n] / len(difference)  # (1, i, j, k)
            loss += (difference.square() * share).sum()
            difference *= 2 * share
            for image, slope, sign in zip(images, slopes, (1, -1), strict=True):
                if slope is not None:
                    slope[n, 0] = sign * image.gradient(difference)
        ctx.save_for_backward(*slopes)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        moved, fixed = ctx.saved_tensors
        return (
            None if moved is None else moved * grad,
            None if fixed is None else fixed * grad,
            None,
            None,
            None,
        )


class _Descriptors:
    """The descriptors of one image (i, j, k), `values` (12, i, j, k), and their gradient."""

    def __init__(self, image: Tensor, radius: int, dilation: int) -> None:
        self.radius, self.dilation, self.shape = radius, dilation, tuple(image.shape)
        self.padded = F.pad(image[None, None], (radius + dilation,) * 6, mode="replicate")[0, 0]
        values = image.new_empty((12, *image.shape))
        for into, pair in zip(values, _pairs(dilation), strict=True):
            into.copy_(_box_mean(self._difference(pair).square_(), radius))
        values -= values.amin(0)
        raw = values.mean(0)
        low, high = (raw.mean() * factor for factor in CLAMP)
        self.too_low, self.too_high = raw < low, raw > high
        self.noise = raw.clamp_(low, high)
        # in a flat image each D is 0, and so is the noise: 0 / tiny is 0
        self.values = values.div_(self.noise.clamp(min=_tiny(image))).neg_().exp_()

    def gradient(self, of_values: Tensor) -> Tensor:
        """The gradient by the image (i, j, k) from the gradient by the values (12, i, j, k)."""
        inverse = 1 / self.noise.clamp(min=_tiny(self.noise))
        of_noise = torch.zeros_like(self.noise)
        for g, m in zip(of_values, self.values, strict=True):  # (D - min D) / V is -log m
            of_noise.addcmul_(g * m, m.clamp(min=_tiny(m)).log_(), value=-1)
        of_noise *= inverse
        of_raw = of_noise.masked_fill(self.too_low | self.too_high, 0)
        for factor, clamped in zip(CLAMP, (self.too_low, self.too_high), strict=True):
            # the limits of the clamp move with the image's mean
            of_raw += factor * of_noise[clamped].sum() / of_noise.numel()
        distances = -of_values * self.values
        distances *= inverse
        distances += of_raw / 12
        # in a flat image no direction is better than another
        distances.masked_fill_(self.noise == 0, 0)
        least = self.values.max(0).indices  # argmax takes six times as long
        of_smallest = distances.sum(0)
        out = torch.zeros_like(self.padded)
        for n, (g, pair) in enumerate(zip(distances, _pairs(self.dilation), strict=True)):
            g -= of_smallest * (least == n)
            # the box is its own transpose
            g = _box_mean(F.pad(g, (2 * self.radius,) * 6), self.radius)
            g *= 2 * self._difference(pair)
            for corner, sign in zip(pair, (1, -1), strict=True):
                self._part(out, corner).add_(g, alpha=sign)
        return _fold_edges(out, self.radius + self.dilation)

    def _difference(self, pair: Pair) -> Tensor:
        """Difference of the image shifted to one and to the other neighbour of a pair.

        It has a margin of `radius` voxels at each face.
        """
        return self._part(self.padded, pair[0]) - self._part(self.padded, pair[1])

    def _part(self, padded: Tensor, at: tuple[int, int, int]) -> Tensor:
        for axis in range(3):
            padded = padded.narrow(
                axis, self.dilation + at[axis], self.shape[axis] + 2 * self.radius
            )
        return padded


def _tiny(x: Tensor) -> float:
    return torch.finfo(x.dtype).tiny


def _box_mean(x: Tensor, radius: int) -> Tensor:
    """Mean over the (2·radius + 1)³ boxes that lie inside (i, j, k): sides are 2·radius less.

    The shifted images are added up: for these small boxes three times faster than `box_mean`.
    """
    side = 2 * radius + 1
    for axis in (2, 1, 0) if radius else ():
        n = x.shape[axis] - 2 * radius
        total = x.narrow(axis, 0, n) + x.narrow(axis, 1, n)
        for shift in range(2, side):
            total += x.narrow(axis, shift, n)
        x = total
    return x / side**3


def _pairs(dilation: int) -> list[Pair]:
    """The twelve pairs of neighbours along two different axes."""

    def neighbour(axis: int, sign: int) -> tuple[int, int, int]:
        i, j, k = (sign * dilation * (a == axis) for a in range(3))
        return i, j, k

    return [
        (neighbour(a, s), neighbour(b, t))
        for a, b in ((0, 1), (0, 2), (1, 2))
        for s in (-1, 1)
        for t in (-1, 1)
    ]


def _fold_edges(x: Tensor, margin: int) -> Tensor:
    """Transpose of padding by repeated edges: the values of the margins are added to the faces."""
    for axis in range(3):
        inner = x.narrow(axis, margin, x.shape[axis] - 2 * margin)
        inner.select(axis, 0).add_(x.narrow(axis, 0, margin).sum(axis))
        inner.select(axis, -1).add_(x.narrow(axis, x.shape[axis] - margin, margin).sum(axis))
        x = inner
    return x
