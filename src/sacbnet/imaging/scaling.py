"""How the intensities of one image become [0, 1], where single values must not decide.

An ordinary image follows the rule of `sacbnet.imaging.intensities.unit_range` to the last bit.
Another rule is taken only where that one would hang on padding, on a few voxels far from all
others, on a background that is not the smallest value, or on noise in air.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .intensities import percentile, scaled, unit_range
from .outside import (
    Mask,
    cuts_anatomy,
    faces,
    has_noisy_faces,
    is_padding,
    most_frequent,
    nearness,
    noisy_air,
)

_SAMPLE = 1_000_000  # about as many voxels are looked at
_LEAST_FACE = 0.02  # of the faces' voxels: a value that fills less is no padding
_FULL = 0.5  # of the faces' voxels: a value that fills more is a background
_ROUNDS = 3  # values that may be padding
_NARROW, _NEARLY_ALL = 0.05, 0.9  # of the range; of the faces' voxels: a noisy background
_UNDERSHOOT = 0.1  # of the other voxels: as many may lie below a background
_FEW = 0.01  # of the voxels: as many may be cut off at the low end
_EMPTY = 0.25  # of the range: a gap that no anatomy leaves
_TAILS = (0.1, 0.25, 0.5, 1.0, 2.0)  # per cent of the brightest voxels, tried as the high end
_JUMP = 3.0  # the brightness of one tail over that of the next: outliers
_CLIMB, _ABOVE = 5.0, 1.5  # the same over all tails; times the last tail, the end that is taken
_SMOOTH = 0.5  # correlation of neighbours that anatomy has, and noise has not
_TISSUE = 0.1  # intensity of the darkest tissue where the background lies within its range


@dataclass(frozen=True, eq=False)
class Scaling:
    """The way of an image's intensities to [0, 1].

    Parameters
    ----------
    low, high : float
        The intensities that become 0 and 1; of the negated image, if `negated`.
    negated : bool, default False
        Whether bright and dark change places, because the background is the brightest value.
    tissue : float, default 0
        What `low` becomes in place of 0, where the background lies within the tissue's range.
    outside : bool array, shape (i, j, k), or None, default None
        Voxels without a measurement, which have no say; None: there are none.
    empty : bool array, shape (i, j, k), or None, default None
        Background whatever it holds: padding or noise in air, and a background within the range.
    notes, warnings : tuple of str, default ()
        Sentences on what is not ordinary.
    """

    low: float
    high: float
    negated: bool = False
    tissue: float = 0.0
    outside: Mask | None = field(default=None, repr=False)
    empty: Mask | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def unit(self, data: NDArray[np.floating]) -> NDArray[np.float32]:
        """Scale intensities to [0, 1] and clip them.

        Parameters
        ----------
        data : ndarray, shape (i, j, k)
            The intensities.

        Returns
        -------
        ndarray, shape (i, j, k)
            float32 in [0, 1].
        """
        unit = scaled(-data if self.negated else data, self.low, self.high)
        if self.tissue:
            unit = np.float32(self.tissue) + np.float32(1 - self.tissue) * unit
        for nothing in (self.empty, self.outside):
            if nothing is not None:
                unit[nothing] = 0
        return unit

    def foreground(self, data: NDArray[np.floating], signal: float = 0.02) -> Mask:
        """Find the voxels that stand out from the background.

        Parameters
        ----------
        data : ndarray, shape (i, j, k)
            The intensities.
        signal : float, default 0.02
            The least height above the background, as a share of the range.

        Returns
        -------
        bool array, shape (i, j, k)
            The mask; all True if no voxel stands out.
        """
        values = -data if self.negated else data
        found = values > self.low + (signal - self.tissue) * (self.high - self.low)
        for nothing in (self.empty, self.outside):
            if nothing is not None:
                found &= ~nothing
        return found if found.any() else np.ones(data.shape, dtype=bool)


def scaling_of(
    data: NDArray[np.floating], missing: Mask | None = None, name: str = "the image"
) -> Scaling:
    """Look at an image's intensities, and decide how they become [0, 1].

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The intensities, all finite.
    missing : bool array, shape (i, j, k), or None, default None
        Voxels that hold no measurement (NaN in the file).
    name : str, default "the image"
        The image, for sentences.

    Returns
    -------
    Scaling
        The decision.
    """
    name = Path(name).name
    notes = []
    if missing is not None:
        notes.append(
            f"{_percent(missing)} of {name} is NaN or infinite: it counts as outside the image and"
            " has no say"
        )
    known = data if missing is None else data[~missing]
    sample = np.sort(known.ravel()[:: max(1, known.size // _SAMPLE)])
    rim = faces(data) if missing is None else faces(data)[faces(missing) == 0]
    padding: list[float] = []
    background: float | None = None
    for value, share in _repeated(rim):
        rest = sample[sample != value]
        low, high, _ = _ends(rest, data) if rest.size else (0.0, 0.0, "")
        if not high > low or len(padding) == _ROUNDS:
            break
        if not is_padding(value, data, rest, low, high):
            background = value if share >= _FULL else None
            break
        padding.append(value)
        sample = rest
    found = _found(None if padding else unit_range(known), sample, data, rim, background)
    if padding:
        these = np.isin(data, padding)
        cut = cuts_anatomy(these, replace(found, empty=these).foreground(data, 0.1))
        notes.append(
            f"{_percent(these)} of {name} is padding ({', '.join(f'{v:g}' for v in padding)}) and"
            f" {'has no say' if cut else 'counts as background'}"
        )
        if cut:
            missing = _either(missing, these)
        else:
            found = replace(found, empty=_either(found.empty, these))
    notes += [f"{sentence} ({name})" for sentence in found.notes]
    return _without_noise(replace(found, outside=missing, notes=tuple(notes)), data, name)


def _repeated(values: NDArray[np.floating]) -> Iterator[tuple[float, float]]:
    """The values that fill the faces, the most frequent one first, and their shares."""
    all_of_them = max(values.size, 1)
    while values.size:
        value, share = most_frequent(values)
        if share * values.size < max(_LEAST_FACE * all_of_them, 9):
            return
        yield value, share * values.size / all_of_them
        values = values[values != value]


def _found(
    plain: tuple[float, float] | None,
    sample: NDArray[np.floating],
    data: NDArray[np.floating],
    rim: NDArray[np.floating],
    background: float | None,
) -> Scaling:
    """The scaling of the values that are no padding; `plain` is the ordinary rule's, without it."""
    low, high, few = _ends(sample, data)
    if background is None and _is_bright(rim, low, high):
        few = "the background is the brightest value; dark and bright change places"
        return Scaling(*unit_range(-sample), negated=True, notes=(few,))
    if background is not None:
        rest = sample[sample != background]
        low, high, few = _ends(rest, data)
        near = nearness(rest, high - low)
        below, above = (
            float(np.mean(s)) for s in (rest < background - near, rest > background + near)
        )
        if above <= _UNDERSHOOT and below > above:
            turned = -rest[::-1]
            low, high, few = _ends(turned[turned > -background], -data)
            low = min(low, -background)
            few = few or "the background is the brightest value; dark and bright change places"
            return Scaling(-background, high, negated=True, notes=(few,))
        if below > _UNDERSHOOT:
            return Scaling(
                low,
                high,
                tissue=_TISSUE,
                empty=data == background,
                notes=(few or f"the background, {background:g}, lies within the range",),
            )
        if background > low + near:
            few = few or f"values below the background, {background:g}, count as background"
        low = background
        _, high, jump = _ends(rest[rest > background], data)
        few = few or jump
    if few or plain is None or low > plain[0]:
        return Scaling(low, high, notes=(few,) if few else ())
    return Scaling(*plain)


def _is_bright(rim: NDArray[np.floating], low: float, high: float) -> bool:
    """Whether nearly all of the faces' voxels lie together in the bright half of the range."""
    if not rim.size:
        return False
    middle = float(np.median(rim))
    together = np.mean(np.abs(rim - middle) < _NARROW * (high - low))
    return middle > (low + high) / 2 and bool(together > _NEARLY_ALL)


def _ends(sample: NDArray[np.floating], data: NDArray[np.floating]) -> tuple[float, float, str]:
    """The ends of the range of sorted values that are no padding, and what was cut off."""
    if not sample.size:
        return 0.0, 1.0, ""
    low, high, cut = float(sample[0]), float(sample[-1]), []
    above = sample[sample > low]
    if above.size:
        high = percentile(above)
    first = sample[: max(2, int(_FEW * sample.size))].astype(np.float64)
    gaps = np.diff(first)
    if gaps.size and gaps.max() > _EMPTY * (high - first[gaps.argmax() + 1]):
        low = float(first[gaps.argmax() + 1])
        cut.append(f"values down to {sample[0]:g} lie far below all others, from {low:g} on")
        above = sample[sample > low]
        high = percentile(above) if above.size else high
    end = _bright_end(above, low, high, data)
    if end < high:
        cut.append(f"few values, up to {sample[-1]:g}, are far brighter than all others")
    return low, end, "; ".join(cut)


def _bright_end(
    above: NDArray[np.floating], low: float, high: float, data: NDArray[np.floating]
) -> float:
    """The high end, where the few brightest voxels are far from all others: metal, hot voxels."""
    if above.size < 1000:
        return high
    tails = [float(above[int((1 - t / 100) * (above.size - 1))]) - low for t in _TAILS]
    jumps = [n for n in range(1, len(tails)) if tails[n - 1] > _JUMP * tails[n] > 0]
    end = high
    if jumps:
        end = low + tails[jumps[-1]]
    elif tails[0] > _CLIMB * tails[-1] > 0:
        end = low + _ABOVE * tails[-1]
    # what is left must be anatomy: in a dark image, the few bright voxels are the anatomy
    return end if end < high and _is_smooth(data, low, end) else high


def _is_smooth(data: NDArray[np.floating], low: float, high: float) -> bool:
    """Whether neighbours are alike in the range, as in anatomy, and unlike noise."""
    some = np.clip(data[:: max(1, len(data) // 16)], low, high)
    some = some - some.mean()
    power = float((some**2).mean())
    alike = [float((a * b).mean()) for a, b in _neighbours(some)]
    return power > 0 and max(alike) > _SMOOTH * power


def _neighbours(
    data: NDArray[np.floating],
) -> list[tuple[NDArray[np.floating], NDArray[np.floating]]]:
    return [(data[:, 1:], data[:, :-1]), (data[:, :, 1:], data[:, :, :-1])]


def _without_noise(found: Scaling, data: NDArray[np.floating], name: str) -> Scaling:
    """The scaling with noise in air as empty, if the faces show noise as bright as tissue."""
    values = -data if found.negated else data
    if not has_noisy_faces(values, found.low, found.high):
        return found
    air = noisy_air(found.unit(data))
    if air is None:
        sentence = (
            f"{name} shows noise as bright as tissue up to its faces, and no anatomy stands out"
            " from it: give a mask of the anatomy, or an image without that noise"
        )
        return replace(found, warnings=(sentence,))
    sentence = (
        f"{_percent(air)} of {name} is noise in air, as bright as tissue, and counts as background;"
        " if that is wrong, give a mask of the anatomy"
    )
    low, high = unit_range(values[~air])
    if found.tissue:  # its range is that of the tissue already
        low, high = found.low, found.high
    return replace(found, low=low, high=high, empty=_either(found.empty, air), warnings=(sentence,))


def _either(one: Mask | None, other: Mask) -> Mask:
    return other if one is None else one | other


def _percent(mask: Mask) -> str:
    return f"{100 * mask.mean():.1f} %"
