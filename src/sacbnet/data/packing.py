"""Making a pack: one case at a time is read, brought to the common grid, and written; the set is never in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sacbnet.environment import VERSION
from sacbnet.errors import GridError, InputError
from sacbnet.files import atomic_file
from sacbnet.imaging.canonical import canonical
from sacbnet.imaging.image import Image
from sacbnet.imaging.resampling import antialias
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import resample
from sacbnet.spatial.transforms import Affine

from .anatomy import MeanAnatomy, noise_map
from .cases import Case
from .pack import FORMAT, FORMAT_VERSION, PackOptions, digest, stamp
from .read import check_labels, load_case

Placed = tuple[
    NDArray[np.float32] | None, NDArray[np.int32] | None
]  # image and labels on the common grid
_NOWHERE = Path("/nowhere")  # the folder of maps that are in no file
SAME_VOXEL = 0.01  # voxels: what lies within that of a lattice lies on it
MOST_LABELS = 4096  # different label values, room for which is kept in the header
_NUDGE = 1e-4  # voxels


def write_pack(
    cases: Sequence[Case],
    path: Path,
    options: PackOptions,
    progress: Callable[[str, float], None],
    pairs: Sequence[tuple[int, int]],
) -> None:
    """See `pack.build_pack`. The images are written as they come; the labels, whose type is known last, behind them."""
    cases = (
        *cases,
        *(Case(f"noise-{n + 1:03d}", _NOWHERE / str(n)) for n in range(options.noise_maps)),
    )
    if not cases:
        raise InputError("there are no cases to pack; choose at least one")
    grid, place = _placer(cases, options)
    with (
        atomic_file(path) as part,
        part.open("wb") as file,
        part.with_name("labels").open("w+b") as spool,
    ):
        contents = _Contents(cases, grid, options, pairs)
        file.write(bytes(contents.room))
        for n, case in enumerate(cases):
            progress(case.name, n / len(cases))
            image, labels = place(case)
            if image is not None:
                file.write(
                    np.rint(image * np.float32(2**options.bits - 1))
                    .astype(f"<u{options.bits // 8}")
                    .tobytes()
                )
            contents.saw(case, labels)
            spool.write((np.zeros(grid.shape, "<i4") if labels is None else labels).tobytes())
        if contents.label_type:
            _copy(spool, file, contents.label_type, prod(grid.shape))
        file.seek(0)
        file.write(contents.header())


def _placer(cases: Sequence[Case], options: PackOptions) -> tuple[Grid, Callable[[Case], Placed]]:
    """The common grid, and what brings a case onto it."""
    if not options.label_maps:
        grid = common_grid(cases[0], options)
        return grid, lambda case: on_common_grid(case, grid, options)
    assert options.spacing_mm is not None and options.shape is not None
    real = [case for case in cases if case.image.parent != _NOWHERE]
    mean, shape = MeanAnatomy(real, options.spacing_mm, options.shape), options.shape

    def place(case: Case) -> Placed:
        if case.image.parent == _NOWHERE:
            return None, noise_map(shape, (int(case.image.name),))
        return None, mean.place(case)

    return mean.grid, place


def _copy(spool: BinaryIO, file: BinaryIO, label_type: str, voxels: int) -> None:
    """int32 labels from the spool, in their final type, behind the images."""
    spool.seek(0)
    while chunk := spool.read(4 * voxels):
        file.write(np.frombuffer(chunk, "<i4").astype(label_type).tobytes())


# -- the common grid --------------------------------------------------------------------------------------------------
def common_grid(case: Case, options: PackOptions) -> Grid:
    """The grid of a pack: that of its first case, axes towards R, A, S, at the spacing and in the box asked for.

    A box of another shape keeps the lattice: it is cut or extended alike on both sides, at odd differences one voxel
    more at the upper one.
    """
    grid = canonical(load_case(case)[0]).grid.orthogonal()
    if (
        options.spacing_mm is not None
        and np.abs(grid.spacing - options.spacing_mm).max() > 1e-3 * options.spacing_mm
    ):
        grid = grid.with_spacing(options.spacing_mm)
    if options.shape is not None:
        low = (np.array(grid.shape) - options.shape) // 2
        grid = grid.cropped(low, low + options.shape)
    return grid


def on_common_grid(
    case: Case, grid: Grid, options: PackOptions
) -> tuple[NDArray[np.float32], NDArray[np.int32] | None]:
    """Image in [0, 1] and labels (values below 0, which are padding, become 0; None without) of a case on the grid.

    Raises GridError for labels on another grid than their image, for a spacing that differs although none was asked
    for, and for an image that lies outside the grid.
    """
    image, labels = load_case(case)
    if labels is not None:
        check_labels(image, labels)
    image, labels = canonical(image), None if labels is None else canonical(labels)
    if options.spacing_mm is None and np.abs(image.grid.spacing / grid.spacing - 1).max() > 1e-3:
        raise GridError(
            f"{image.name} has the spacing {image.grid.spacing.round(4).tolist()} mm, the first case"
            f" {grid.spacing.round(4).tolist()} mm; say which one the pack shall have (--spacing)"
        )
    placed, onto = _placed(image.unit(), image.grid, grid, options), None
    if labels is not None:
        onto = _placed(_whole(labels), image.grid, grid, options)
    if placed.max() == placed.min():
        raise GridError(
            f"nothing of {image.name} lies in the common box about {grid.centre.round(1).tolist()} mm (its own is about"
            f" {image.grid.centre.round(1).tolist()} mm); leave it out, or bring the centres together (--align centre)"
        )
    return placed, onto


def _whole(labels: Image) -> NDArray[np.int32]:
    if labels.data.max() > np.iinfo(np.int32).max:
        raise InputError(
            f"{labels.name} holds the label value {labels.data.max()}; values below 2^31 were expected"
        )
    return np.maximum(labels.data, 0).astype(np.int32)


def _placed(data: NDArray[Any], source: Grid, grid: Grid, options: PackOptions) -> NDArray[Any]:
    """Data on the common grid: taken over where the lattices agree, else resampled (integers by nearest)."""
    shift = source.centre - grid.centre if options.align == "centre" else np.zeros(3)
    offset = lattice_offset(source, grid, shift, options.align == "centre")
    if offset is not None:
        return _boxed(data, offset, grid.shape)
    if data.dtype == np.float32:
        smooth = antialias(data, source, float(grid.spacing.mean()))
        return resample(smooth, source, grid, Affine.translation(shift))
    # a lattice of half the density lies midway between voxels: rounding may not choose now one side, now the other
    nudge = source.affine[:3, :3] @ np.full(3, _NUDGE)
    return resample(data, source, grid, Affine.translation(shift + nudge), "nearest")


def lattice_offset(
    source: Grid, grid: Grid, shift: NDArray[np.float64], free: bool
) -> NDArray[np.intp] | None:
    """The voxel of `source` that is voxel 0 of `grid`, where both have one lattice; else None.

    free: the shift may be rounded to the lattice, for it only says where the image roughly belongs.
    """
    ends = np.array([[0, 0, 0], *np.diag(grid.shape)])
    found = source.voxels(grid.world(ends) + shift)
    offset = np.floor(found[0] + 0.5 - _NUDGE)
    moved = found - ends - (found[0] if free else offset)
    return offset.astype(np.intp) if np.abs(moved).max() <= SAME_VOXEL else None


def _boxed(
    data: NDArray[Any], offset: NDArray[np.intp], shape: tuple[int, int, int]
) -> NDArray[Any]:
    """out[p] = data[p + offset], 0 outside."""
    out = np.zeros(shape, data.dtype)
    low, high = np.maximum(offset, 0), np.minimum(offset + shape, data.shape)
    if (low < high).all():
        here = tuple(slice(a, b) for a, b in zip(low - offset, high - offset, strict=True))
        out[here] = data[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return out


# -- the file ---------------------------------------------------------------------------------------------------------
@dataclass
class _Contents:
    """What the header of the file says: 8 bytes of its length, and JSON padded with spaces (safetensors)."""

    cases: Sequence[Case]
    grid: Grid
    options: PackOptions
    pairs: Sequence[tuple[int, int]]
    values: set[int] = field(default_factory=set)
    labelled: list[bool] = field(default_factory=list)
    sources: dict[str, list[int]] = field(init=False)
    room: int = field(init=False)

    def __post_init__(self) -> None:
        paths = [
            p
            for case in self.cases
            for p in (case.image, case.labels)
            if p is not None and p.exists()
        ]
        # seen before they are read: what changes meanwhile is found to have changed
        self.sources = {str(p.absolute()): [*stamp(p), digest(p)] for p in paths}
        growth = 12 * MOST_LABELS + 8 * len(self.cases) + 512
        self.room = (len(self._json()) + growth) // 64 * 64 + 64

    def saw(self, case: Case, labels: NDArray[np.int32] | None) -> None:
        self.labelled.append(labels is not None)
        self.values.update([] if labels is None else np.unique(labels[labels > 0]).tolist())
        if len(self.values) > MOST_LABELS:
            raise InputError(
                f"{case.name} brings the label values to more than {MOST_LABELS}; a label map was expected"
            )

    @property
    def label_type(self) -> str:
        """The smallest type that holds the labels; "" where no case has any."""
        if not any(self.labelled):
            return ""
        high = max(self.values, default=0)
        return "<u1" if high <= 255 else "<u2" if high <= 65535 else "<i4"

    @property
    def _image_bytes(self) -> int:
        return (
            0
            if self.options.label_maps
            else len(self.cases) * prod(self.grid.shape) * self.options.bits // 8
        )

    def _json(self) -> bytes:
        shape, end = [len(self.cases), *self.grid.shape], self._image_bytes
        tensors: dict[str, Any] = (
            {"images": (f"U{self.options.bits}", shape, [0, end])} if end else {}
        )
        if self.label_type:
            name = {"<u1": "U8", "<u2": "U16", "<i4": "I32"}[self.label_type]
            tensors["labels"] = (name, shape, [end, end + prod(shape) * int(self.label_type[-1])])
        blocks = {
            n: {"dtype": d, "shape": s, "data_offsets": o} for n, (d, s, o) in tensors.items()
        }
        facts = {
            "names": [case.name for case in self.cases],
            "affine": self.grid.affine.tolist(),
            "spacing_mm": self.grid.spacing.tolist(),
            "bits": self.options.bits,
            "label_values": sorted(self.values),
            "labelled": self.labelled,
            "pairs": [list(pair) for pair in self.pairs],
            "options": asdict(self.options),
            "sources": self.sources,
        }
        text = {name: json.dumps(value) for name, value in facts.items()}
        text |= {
            "format": FORMAT,
            "format_version": str(FORMAT_VERSION),
            "sacbnet_version": VERSION,
        }
        return json.dumps({"__metadata__": text, **blocks}).encode()

    def header(self) -> bytes:
        return (self.room - 8).to_bytes(8, "little") + self._json().ljust(self.room - 8)
