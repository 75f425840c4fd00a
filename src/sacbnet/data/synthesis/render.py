"""From the labels that an image sees to its intensities: contrast, texture, bias, resolution, noise."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sacbnet.config.synthesis import SynthesisOptions

from .deform import spline_field

_BIAS_KNOTS = 3  # of the bias field, between knots: a part of the longest side
_EMPTY = 0.75  # probability that what has no label is black


def class_numbers(values: tuple[int, ...], classes: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    """For each label value the number of its class, from 0: one for each of `classes`, one for each other value."""
    of = {value: n for n, members in enumerate(classes) for value in members}
    return tuple(of.get(value, len(classes) + n) for n, value in enumerate(values))


def random_table(numbers: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    """An intensity in [0, 1] for each label number, the first of which is nothing; one for each class."""
    table = rng.random(max(numbers, default=0) + 1, dtype=np.float32)[list(numbers)]
    background = rng.random(2)
    table[0] = 0 if background[0] < _EMPTY else background[1]
    return torch.from_numpy(table)


def view_table(numbers: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    """Like `random_table`, but equally spaced intensities in random order, so that any two classes differ; black is
    what has no label."""
    order = sorted(set(numbers[1:]))
    levels = dict(zip(order, (1 + rng.permutation(len(order))) / max(len(order), 1), strict=True))
    return torch.tensor([0.0, *(levels[n] for n in numbers[1:])], dtype=torch.float32)


def painted(seen: Tensor, table: Tensor) -> Tensor:
    """Numbers seen at several places in each voxel, (s, i, j, k) -> their mean intensity (1, 1, i, j, k)."""
    return (sum(looked_up(table, numbers) for numbers in seen) / len(seen))[None, None]  # type: ignore[index]


def looked_up(table: Tensor, numbers: Tensor) -> Tensor:
    """table[numbers], for numbers (i, j, k) uint8."""
    return table.to(numbers.device).index_select(0, numbers.flatten().int()).reshape(numbers.shape)


def photographed(o: SynthesisOptions, clean: Tensor, rng: np.random.Generator) -> Tensor:
    """What a scanner makes of the clean intensities (1, 1, i, j, k): in [0, 1], scaled as `preprocess.to_unit` does.

    Nothing that is drawn depends on what is drawn before it; black background stays black, as after brain extraction,
    every other time.
    """
    strength = rng.random(6)
    # one block of numbers by torch: numpy's normal numbers would take a third of the time of a whole pair
    generator = torch.Generator(clean.device).manual_seed(int(rng.integers(2**63)))
    shape, here = tuple(clean.shape[2:]), clean > 0
    out = clean
    grain = torch.randn(clean.shape, generator=generator, device=clean.device)
    out = out + o.texture * float(strength[0]) * grain * here
    if o.bias:
        out = out * torch.exp(
            o.bias
            * float(strength[1])
            * spline_field(shape, max(shape) / _BIAS_KNOTS, 1, rng).to(out)
        )
    out = gaussian(out, o.blur * float(strength[2]))
    if strength[3] < o.thick_share:
        out = _thick(out, int(rng.integers(3)), float(rng.uniform(1, o.thick)))
    grain = torch.randn(clean.shape, generator=generator, device=clean.device)
    out = out + o.noise * float(strength[4]) * grain
    out = out.clamp(min=0)
    if strength[5] < 0.5:
        out = out * here
    return unit(out) ** float(np.exp(o.gamma * rng.standard_normal()))


def gaussian(x: Tensor, sd: float) -> Tensor:
    """Gaussian of SD `sd` voxels, the edge repeated; three SD wide."""
    reach = int(np.ceil(3 * sd))
    if sd < 0.1:
        return x
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sd) ** 2)
    weights = weights / weights.sum()
    for axis in (2, 3, 4):
        pad = [0, 0] * (4 - axis) + [reach, reach] + [0, 0] * (axis - 2)
        padded, n = F.pad(x, pad, mode="replicate"), x.shape[axis]
        x = sum(float(w) * padded.narrow(axis, m, n) for m, w in enumerate(weights))  # type: ignore[assignment]
    return x


def _thick(x: Tensor, axis: int, factor: float) -> Tensor:
    """As if acquired in slices `factor` times as thick along one axis, and interpolated."""
    shape = list(x.shape[2:])
    coarse = list(shape)
    coarse[axis] = max(2, round(shape[axis] / factor))
    return F.interpolate(
        F.interpolate(x, coarse, mode="area"), shape, mode="trilinear", align_corners=False
    )


def unit(x: Tensor) -> Tensor:
    """Smallest value to 0, the 99.9th percentile of what lies above it to 1 (`preprocess.to_unit`, on a sample)."""
    low = x.min()
    some = x.flatten()[:: max(1, x.numel() // 100_000)]
    above = some[some > low]
    if not above.numel():
        return torch.zeros_like(x)
    high = above.kthvalue(max(1, round(0.999 * above.numel()))).values
    return ((x - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
