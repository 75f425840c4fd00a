"""Write a pack: cases are read, brought to the common grid and written one at a time.

The set as a whole is never in memory.
"""

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
from sacbnet.errors import InputError
from sacbnet.files import atomic_file
from sacbnet.spatial.grid import Grid

from .anatomy import MeanAnatomy, noise_map
from .cases import Case
from .common_grid import common_grid, on_common_grid
from .pack import FORMAT, FORMAT_VERSION, Pack, PackOptions, open_pack
from .stamps import digest, stamp

# image and labels on the common grid
_Placed = tuple[NDArray[np.float32] | None, NDArray[np.int32] | None]
_NOWHERE = Path("/nowhere")  # the folder of maps that are in no file
_MOST_LABELS = 4096  # different label values; the header keeps room for them


def write_pack(
    cases: Sequence[Case],
    path: Path,
    options: PackOptions,
    progress: Callable[[str, float], None],
    pairs: Sequence[tuple[int, int]],
) -> None:
    """Write the file of a pack; `sacbnet.data.packing.build_pack` is the function to call.

    The images are written one by one. The labels follow the images, since their type is known only
    at the end.

    Parameters
    ----------
    cases : sequence of Case
        The cases of the pack.
    path : Path
        The file to write.
    options : PackOptions
        How the set is brought to one grid.
    progress : callable
        Called with the name of each case and the fraction that is done.
    pairs : sequence of (int, int)
        Pairs (moving, fixed) that the pack keeps.

    Raises
    ------
    InputError, GridError
        If a case cannot be used, or if there is none.
    OutputError
        If the file cannot be written.
    """
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
                whole = np.rint(image * np.float32(2**options.bits - 1))
                file.write(whole.astype(f"<u{options.bits // 8}").tobytes())
            contents.saw(case, labels)
            spool.write((np.zeros(grid.shape, "<i4") if labels is None else labels).tobytes())
        if contents.label_type:
            _copy(spool, file, contents.label_type, prod(grid.shape))
        file.seek(0)
        file.write(contents.header())


def _placer(cases: Sequence[Case], options: PackOptions) -> tuple[Grid, Callable[[Case], _Placed]]:
    """The common grid, and the function that brings a case onto it."""
    if not options.label_maps:
        grid = common_grid(cases[0], options)
        return grid, lambda case: on_common_grid(case, grid, options)
    assert options.spacing_mm is not None and options.shape is not None
    real = [case for case in cases if case.image.parent != _NOWHERE]
    mean, shape = MeanAnatomy(real, options.spacing_mm, options.shape), options.shape

    def place(case: Case) -> _Placed:
        if case.image.parent == _NOWHERE:
            return None, noise_map(shape, (int(case.image.name),))
        return None, mean.place(case)

    return mean.grid, place


def _copy(spool: BinaryIO, file: BinaryIO, label_type: str, voxels: int) -> None:
    """Append the labels to the images: int32 in the spool, their final type in the file."""
    spool.seek(0)
    while chunk := spool.read(4 * voxels):
        file.write(np.frombuffer(chunk, "<i4").astype(label_type).tobytes())


@dataclass
class _Contents:
    """What the header of the file says (safetensors): its length in 8 bytes, and padded JSON."""

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
        # taken before the files are read: a change in between will be found
        self.sources = {str(p.absolute()): [*stamp(p), digest(p)] for p in paths}
        growth = 12 * _MOST_LABELS + 8 * len(self.cases) + 512
        self.room = (len(self._json()) + growth) // 64 * 64 + 64

    def saw(self, case: Case, labels: NDArray[np.int32] | None) -> None:
        self.labelled.append(labels is not None)
        self.values.update([] if labels is None else np.unique(labels[labels > 0]).tolist())
        if len(self.values) > _MOST_LABELS:
            raise InputError(
                f"{case.name} brings the label values to more than {_MOST_LABELS}; a label map was"
                " expected"
            )

    @property
    def label_type(self) -> str:
        """The smallest type that holds the labels; "" if no case has any."""
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


def build_pack(
    cases: Sequence[Case],
    path: str | Path,
    options: PackOptions | None = None,
    progress: Callable[[str, float], None] | None = None,
    pairs: Sequence[tuple[int, int]] = (),
) -> Pack:
    """Read cases one by one, bring them to one grid and to [0, 1], write a pack, and open it.

    Parameters
    ----------
    cases : sequence of Case
        The cases of the pack.
    path : str or Path
        The file to write. On any error nothing is left there.
    options : PackOptions, optional
        How the set is brought to one grid; default: the options' own defaults.
    progress : callable, optional
        Called with the name of each case and the fraction that is done.
    pairs : sequence of (int, int), default ()
        Pairs (moving, fixed) that the pack keeps, as indices of the cases.

    Returns
    -------
    Pack
        The open pack.

    Raises
    ------
    InputError, GridError
        If a case cannot be used.
    OutputError
        If the file cannot be written.
    """

    write_pack(
        cases,
        Path(path),
        options or PackOptions(),
        progress or (lambda name, fraction: None),
        pairs,
    )
    return open_pack(path)
