"""From the frames of a DICOM series to one volume: their order, their grid, and what is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sacbnet.errors import InputError

from .dicom_frames import Frame
from .headers import LPS

_TILT = 1e-3  # sine of the angle between the slices' normal and their step, beyond rounding
_SAME = 0.01  # of a pixel: two slices so near to each other are at one place
_ASIDE = 0.1  # of a pixel: slices that lie further from the line of the others are refused
_UNEVEN, _UNEVEN_MM = 0.01, 2e-3  # differences of the gaps that are rounding
_UNEVEN_TOLD = 0.1  # of a slice: up to here slices count as even, with a warning
_MOST_MORE = 4  # times as many slices may be interpolated as there are


@dataclass(frozen=True, eq=False)
class Stack:
    """The slices of one volume.

    Parameters
    ----------
    frames : tuple of Frame
        The stored slices, in the order of their positions along the normal.
    affine : ndarray, shape (4, 4)
        Voxel (column, row, slice) to world mm (RAS).
    places : ndarray or None
        The slices of the evenly spaced volume in units of stored slices; None if the stored slices
        are evenly spaced.
    warnings : tuple of str
        Sentences about what the files do not state.
    """

    frames: tuple[Frame, ...]
    affine: NDArray[np.float64]
    places: NDArray[np.float64] | None
    warnings: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(i, j, k) of the volume."""
        first = self.frames[0]
        count = len(self.frames if self.places is None else self.places)
        return first.columns, first.rows, count


def stack(frames: Sequence[Frame], name: str, grid_only: bool = False) -> Stack:
    """Put the frames of a series in order.

    Parameters
    ----------
    frames : sequence of Frame
        At least one frame.
    name : str
        The series, for messages.
    grid_only : bool, default False
        Whether the voxels do not matter: volumes that share one grid are then taken as one.

    Returns
    -------
    Stack
        One volume.

    Raises
    ------
    InputError
        If the frames do not form one volume: several sizes, orientations or volumes, slices that
        are shifted against each other, or no position and no distance.
    """
    _check_alike(frames, name)
    warnings = _warnings(frames, name)
    across, down = _axes(frames, name)
    normal = np.asarray(np.cross(across, down), dtype=np.float64)
    positions, more = _positions(frames, normal, name)
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    frames, positions, heights = [frames[n] for n in order], positions[order], heights[order]
    pixel = min(frames[0].spacing)
    same = np.diff(heights) < _SAME * pixel
    if same.any():
        if not grid_only:
            raise InputError(_several(frames, name))
        kept = np.concatenate([[True], ~same])
        frames = [frame for frame, keep in zip(frames, kept, strict=True) if keep]
        positions, heights = positions[kept], heights[kept]
    places, told = _places(frames, heights, name)
    more += told
    step = normal * (frames[0].step or 1.0)
    if len(frames) > 1:
        step = (positions[-1] - positions[0]) / (heights[-1] - heights[0])
        aside = positions - positions[0] - np.outer(heights - heights[0], step)
        if np.linalg.norm(aside, axis=1).max() > _ASIDE * pixel:
            raise InputError(
                f"{name} holds slices that are shifted against each other (by up to"
                f" {np.linalg.norm(aside, axis=1).max():.3g} mm); parallel slices behind each other"
                " were expected"
            )
        if np.linalg.norm(step - normal) > _TILT:
            more += (
                f"{name} has a tilted gantry: its grid is sheared, which ITK, ANTs and 3D Slicer"
                " would not see",
            )
        count = len(frames if places is None else places)
        step = step * (heights[-1] - heights[0]) / (count - 1)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = across * frames[0].spacing[1], down * frames[0].spacing[0]
    affine[:3, 2], affine[:3, 3] = step, positions[0]
    return Stack(tuple(frames), LPS @ affine, places, warnings + more)


def _check_alike(frames: Sequence[Frame], name: str) -> None:
    sizes = Counter((f.columns, f.rows) for f in frames)
    if len(sizes) > 1:
        told = ", ".join(f"{n} of {i} × {j}" for (i, j), n in sizes.most_common(4))
        raise InputError(
            f"{name} holds slices of several sizes ({told} pixels; a scout?); pass the files of one"
            " volume"
        )
    spacings = np.array([f.spacing for f in frames])
    if (np.abs(spacings - spacings[0]) > 1e-3 * spacings[0]).any():
        raise InputError(
            f"{name} holds slices of several pixel spacings (from {spacings.min():.4g} to"
            f" {spacings.max():.4g} mm); pass the files of one volume"
        )
    for what, stated in (("position", "position"), ("orientation", "orientation")):
        lacking = sum(getattr(f, stated) is None for f in frames)
        if 0 < lacking < len(frames):
            raise InputError(
                f"{name} does not give the {what} of {lacking} of its {len(frames)} slices; pass"
                " the files of one volume"
            )


def _warnings(frames: Sequence[Frame], name: str) -> tuple[str, ...]:
    first, out = frames[0], []
    if first.stated_as != "PixelSpacing":
        rows, columns = first.spacing
        out.append(
            f"{name} states no PixelSpacing; {columns:.4g} × {rows:.4g} mm are taken from its"
            f" {first.stated_as}, which may be measured at the detector: check the size"
        )
    if first.orientation is None:
        out.append(
            f"{name} does not state its orientation, so left and right cannot be told; rows are"
            " taken along left, columns along posterior"
        )
    return tuple(out)


def _axes(frames: Sequence[Frame], name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Directions of a row and of a column (LPS), perpendicular unit vectors."""
    given = np.array([f.orientation or (1, 0, 0, 0, 1, 0) for f in frames])
    if np.abs(given - given[0]).max() > 1e-3:
        raise InputError(
            f"{name} holds slices of several orientations (a scout?); parallel slices were expected"
        )
    across, down = given[0, :3], given[0, 3:]
    lengths = np.linalg.norm(across), np.linalg.norm(down)
    if max(abs(length - 1) for length in lengths) > 1e-2 or abs(across @ down) > 1e-2:
        raise InputError(
            f"{name} has the orientation {given[0].round(4).tolist()}; two perpendicular unit"
            " vectors were expected"
        )
    across = across / lengths[0]
    down = down - (down @ across) * across
    return across, down / np.linalg.norm(down)


def _positions(
    frames: Sequence[Frame], normal: NDArray[np.float64], name: str
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Centres of the first pixels, mm (LPS); and a warning if the files do not state them."""
    if frames[0].position is not None:
        return np.array([f.position for f in frames], dtype=float), ()
    numbers, step = [f.number for f in frames], abs(frames[0].step or 0.0)
    if len(frames) > 1 and (len(set(numbers)) < len(frames) or step == 0):
        raise InputError(
            f"{name} gives neither the positions of its slices nor their distance and order;"
            " convert it to NIfTI with the right voxel size"
        )
    ranks = np.argsort(np.argsort(numbers))
    return ranks[:, None] * normal * (step or 1.0), (
        f"{name} does not give the position of its slices; they are taken in the order of their"
        f" numbers, {step:.4g} mm apart, the first voxel at 0",
    )


def _places(
    frames: Sequence[Frame], heights: NDArray[np.float64], name: str
) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    """Where evenly spaced slices lie among the stored ones, with a warning.

    None if those are evenly spaced.
    """
    if len(frames) < 3:
        return None, ()
    gaps = np.diff(heights)
    even = gaps.max() - gaps.min() <= max(_UNEVEN * float(np.median(gaps)), _UNEVEN_MM)
    if _interleaved(frames, even):
        raise InputError(_several(frames, name, "between each other"))
    if even:
        return None, ()
    regular = np.linspace(heights[0], heights[-1], len(frames))
    off, step = float(np.abs(heights - regular).max()), float(regular[1] - regular[0])
    if off <= _UNEVEN_TOLD * step:
        return None, (
            f"{name} states positions that are not quite even (off by up to {off:.3g} mm); its"
            f" slices are taken as {step:.4g} mm apart",
        )
    if any(kind == "ReferencedSegmentNumber" for kind, _ in frames[0].kinds):
        raise InputError(
            f"{name} is a segmentation that leaves slices out; convert it to NIfTI, e.g. with"
            " segimage2itkimage of dcmqi"
        )
    count = round((heights[-1] - heights[0]) / float(gaps.min())) + 1
    if count > _MOST_MORE * len(frames):
        raise InputError(
            f"{name} holds {len(frames)} slices from {gaps.min():.4g} to {gaps.max():.4g} mm apart;"
            " too many are missing for one volume: export the series again"
        )
    even_heights = np.linspace(heights[0], heights[-1], count)
    places = np.asarray(np.interp(even_heights, heights, np.arange(len(frames))))
    return places, (_told(heights, places, name),)


def _told(heights: NDArray[np.float64], places: NDArray[np.float64], name: str) -> str:
    gaps = np.diff(heights)
    between = int((np.abs(places - places.round()) > 1e-3).sum())
    return (
        f"{name} has slices missing or unevenly spaced (from {gaps.min():.4g} to {gaps.max():.4g}"
        f" mm apart); {between} of {len(places)} slices,"
        f" {(heights[-1] - heights[0]) / (len(places) - 1):.4g} mm apart, were interpolated between"
        " their neighbours"
    )


def _interleaved(frames: Sequence[Frame], even: bool) -> bool:
    """Whether slices of several kinds lie between each other, as those of several volumes do.

    Evenly spaced slices may differ in many attributes, so only kinds of equal numbers count there.
    """
    for name in dict.fromkeys(name for f in frames for name, _ in f.kinds):
        values = [dict(f.kinds).get(name) for f in frames]
        counts = Counter(values)
        runs = 1 + sum(a != b for a, b in pairwise(values))
        if len(counts) < 2 or runs == len(counts) or min(counts.values()) < 2:
            continue
        if not even or ("Acquisition" not in name and len(set(counts.values())) == 1):
            return True
    return False


def _several(frames: Sequence[Frame], name: str, where: str = "at one position") -> str:
    found: dict[str, set[str]] = {}
    for frame in frames:
        for kind, value in frame.kinds:
            found.setdefault(kind, set()).add(value)
    differing = [kind for kind, values in found.items() if len(values) > 1]
    told = f" that differ in {', '.join(differing[:3])}" if differing else ""
    return (
        f"{name} holds several slices {where} (several volumes{told}?); one volume was"
        " expected: split it, e.g. with dcm2niix"
    )
