"""The intensities of a synthetic image: contrast, texture, bias field, resolution, noise."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sacbnet.config.synthesis import SynthesisOptions

from .deform import spline_field

_BIAS_KNOTS = 3  # intervals between knots of the bias field, along the longest side
_EMPTY = 0.75  # probability that the background is black
_BLACK = 0.5  # probability that a black background stays black, as after brain extraction
_LEAST_BLUR = 0.1  # voxels; a smaller standard deviation changes nothing
_SAMPLE = 100_000  # about as many voxels give the percentile


def class_numbers(values: tuple[int, ...], classes: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    """Number the classes of label values.

    Parameters
    ----------
    values : tuple of int
        Label values.
    classes : tuple of tuple of int
        Groups of values that look alike.

    Returns
    -------
    tuple of int
        For each value the number of its class. A value in no group is a class of its own.
    """
    of = {value: n for n, members in enumerate(classes) for value in members}
    return tuple(of.get(value, len(classes) + n) for n, value in enumerate(values))


def random_table(numbers: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    """Draw an intensity for each class.

    Parameters
    ----------
    numbers : tuple of int
        For each label number its class (`class_numbers`); the first number is background.
    rng : numpy.random.Generator
        The source of random numbers.

    Returns
    -------
    Tensor, shape (len(numbers),)
        Intensities in [0, 1].
    """
    table = rng.random(max(numbers, default=0) + 1, dtype=np.float32)[list(numbers)]
    background = rng.random(2)
    table[0] = 0 if background[0] < _EMPTY else background[1]
    return torch.from_numpy(table)


def view_table(numbers: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    """Draw equally spaced intensities in random order, so that any two classes differ.

    Parameters
    ----------
    numbers : tuple of int
        For each label number its class (`class_numbers`); the first number is background.
    rng : numpy.random.Generator
        The source of random numbers.

    Returns
    -------
    Tensor, shape (len(numbers),)
        Intensities in [0, 1]; the background is 0.
    """
    order = sorted(set(numbers[1:]))
    levels = dict(zip(order, (1 + rng.permutation(len(order))) / max(len(order), 1), strict=True))
    return torch.tensor([0.0, *(levels[n] for n in numbers[1:])], dtype=torch.float32)


def painted(seen: Tensor, table: Tensor) -> Tensor:
    """Give each voxel the mean intensity of several places in it.

    Parameters
    ----------
    seen : Tensor, shape (s, i, j, k)
        Label numbers at s places in each voxel, uint8.
    table : Tensor, shape (n,)
        Intensity of each label number.

    Returns
    -------
    Tensor, shape (1, 1, i, j, k)
        Intensities.
    """
    return (sum(looked_up(table, numbers) for numbers in seen) / len(seen))[None, None]  # type: ignore[index]


def looked_up(table: Tensor, numbers: Tensor) -> Tensor:
    """Compute ``table[numbers]``, faster than indexing does.

    Parameters
    ----------
    table : Tensor, shape (n,)
        Any values.
    numbers : Tensor, shape (i, j, k)
        uint8.

    Returns
    -------
    Tensor, shape (i, j, k)
        The values, on the device of the numbers.
    """
    return table.to(numbers.device).index_select(0, numbers.flatten().int()).reshape(numbers.shape)


def photographed(o: SynthesisOptions, clean: Tensor, rng: np.random.Generator) -> Tensor:
    """Turn clean intensities into an image as from a scanner.

    No draw depends on another draw, so that an option does not change the others.

    Parameters
    ----------
    o : SynthesisOptions
        The ranges of texture, bias field, blur, slice thickness, noise and gamma.
    clean : Tensor, shape (1, 1, i, j, k)
        Intensities in [0, 1].
    rng : numpy.random.Generator
        The source of random numbers.

    Returns
    -------
    Tensor, shape (1, 1, i, j, k)
        Intensities in [0, 1], scaled by `unit`.
    """
    strength = rng.random(6)
    # torch draws the noise: numpy's normal numbers would take a third of the time of a whole pair
    generator = torch.Generator(clean.device).manual_seed(int(rng.integers(2**63)))
    shape, here = tuple(clean.shape[2:]), clean > 0
    out = clean
    grain = torch.randn(clean.shape, generator=generator, device=clean.device)
    out = out + o.texture * float(strength[0]) * grain * here
    if o.bias:
        field = spline_field(shape, max(shape) / _BIAS_KNOTS, 1, rng).to(out)
        out = out * torch.exp(o.bias * float(strength[1]) * field)
    out = gaussian(out, o.blur * float(strength[2]))
    if strength[3] < o.thick_share:
        out = _thick(out, int(rng.integers(3)), float(rng.uniform(1, o.thick)))
    grain = torch.randn(clean.shape, generator=generator, device=clean.device)
    out = out + o.noise * float(strength[4]) * grain
    out = out.clamp(min=0)
    if strength[5] < _BLACK:
        out = out * here
    return unit(out) ** float(np.exp(o.gamma * rng.standard_normal()))


def gaussian(x: Tensor, sd: float) -> Tensor:
    """Smooth by a Gaussian that is cut at three standard deviations; the edge is repeated.

    Parameters
    ----------
    x : Tensor, shape (1, 1, i, j, k)
        An image.
    sd : float
        Standard deviation in voxels.

    Returns
    -------
    Tensor, shape (1, 1, i, j, k)
        The smooth image; `x` itself if `sd` is below 0.1.
    """
    reach = int(np.ceil(3 * sd))
    if sd < _LEAST_BLUR:
        return x
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sd) ** 2)
    weights = weights / weights.sum()
    for axis in (2, 3, 4):
        pad = [0, 0] * (4 - axis) + [reach, reach] + [0, 0] * (axis - 2)
        padded, n = F.pad(x, pad, mode="replicate"), x.shape[axis]
        x = sum(float(w) * padded.narrow(axis, m, n) for m, w in enumerate(weights))  # type: ignore[assignment]
    return x


def _thick(x: Tensor, axis: int, factor: float) -> Tensor:
    """The image as if acquired in slices `factor` times as thick along an axis, interpolated."""
    shape = list(x.shape[2:])
    coarse = list(shape)
    coarse[axis] = max(2, round(shape[axis] / factor))
    return F.interpolate(
        F.interpolate(x, coarse, mode="area"), shape, mode="trilinear", align_corners=False
    )


def unit(x: Tensor) -> Tensor:
    """Scale a synthetic image to [0, 1] by the rule of `sacbnet.imaging.intensities.to_unit`.

    The percentile comes from a smaller sample, since this runs on the GPU for every training pair;
    the difference is below 1e-3.

    Parameters
    ----------
    x : Tensor, shape (1, 1, i, j, k)
        Intensities of any range.

    Returns
    -------
    Tensor, shape (1, 1, i, j, k)
        Intensities in [0, 1]; all 0 for a constant image.
    """
    low = x.min()
    some = x.flatten()[:: max(1, x.numel() // _SAMPLE)]
    above = some[some > low]
    if not above.numel():
        return torch.zeros_like(x)
    high = above.kthvalue(max(1, round(0.999 * above.numel()))).values
    return ((x - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
