"""How the intensities of one image become [0, 1], where single values must not decide.

An ordinary image follows the rule of `sacbnet.imaging.intensities.unit_range` to the last bit.
Another rule is taken only where that one would hang on padding, on a few voxels far from all
others, on a background that is not the smallest value, or on noise in air.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .background import Filling, filling_of
from .ends import ends
from .intensities import scaled, unit_range
from .outside import Mask, cuts_anatomy, has_noisy_faces, nearness, noisy_air

_FULL = 0.5  # of the faces' voxels: a value that fills more is a background
_NARROW, _NEARLY_ALL = 0.05, 0.9  # of the range; of the faces' voxels: a noisy background
_UNDERSHOOT = 0.1  # of the other voxels: as many may lie below a background
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
    filling = filling_of(data, missing)
    padding = filling.padding
    known = data if missing is None else data[~missing]
    found = _found(None if padding else unit_range(known), filling, data)
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


def _found(
    plain: tuple[float, float] | None, filling: Filling, data: NDArray[np.floating]
) -> Scaling:
    """The scaling of the values that are no padding; `plain` is the ordinary rule's, without it."""
    sample = filling.sample
    background = filling.value if filling.share >= _FULL and filling.varied else None
    low, high, few = ends(sample, data)
    if background is None and _is_bright(filling.rim, low, high):
        few = "the background is the brightest value; dark and bright change places"
        return Scaling(*unit_range(-sample), negated=True, notes=(few,))
    if background is not None:
        rest = sample[sample != background]
        low, high, few = ends(rest, data)
        near = nearness(rest, high - low)
        below, above = (
            float(np.mean(s)) for s in (rest < background - near, rest > background + near)
        )
        if above <= _UNDERSHOOT and below > above:
            turned = -rest[::-1]
            low, high, few = ends(turned[turned > -background], -data)
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
        _, high, jump = ends(rest[rest > background], data)
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
