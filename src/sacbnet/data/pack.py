"""A pack: the images and labels of a set on one grid in one file, memory-mapped, so that training waits for no disk.

The file is safetensors: `images` (n, i, j, k) uint8 or uint16, intensities in [0, 1] as round(x · (2^bits − 1));
`labels` (n, i, j, k) uint8, uint16 or int32 where there are any; label maps have no images. The rest is text in its
metadata (docs/data.md). Reading needs neither nibabel nor SimpleITK, and opens no other file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sacbnet.config.choices import Alignment
from sacbnet.errors import InputError
from sacbnet.imaging.padding import Box, own_box
from sacbnet.spatial.grid import Grid, Shape

from .cases import Case

FORMAT = "sacbnet-pack"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class PackOptions:
    """How a set is brought to one grid.

    spacing_mm: isotropic; None keeps the images' own, which must then be one. shape: of the box, about the centre of
    the first case; None takes that case's own box. align: "header" trusts the world coordinates of the files;
    "centre" brings the centres of the boxes together, for images that share no world. bits: 8 or 16 an intensity.

    label_maps: the images are label maps, to make images from; they are brought together by their labels' centres of
    mass (`data.label_maps`), and `align` and `bits` mean nothing. noise_maps: so many maps of random shapes are added.
    """

    spacing_mm: float | None = None
    shape: Shape | None = None
    align: Alignment = "header"
    bits: int = 16
    label_maps: bool = False
    noise_maps: int = 0

    def __post_init__(self) -> None:
        if self.shape is not None:
            object.__setattr__(self, "shape", tuple(self.shape))  # JSON has lists
        if self.label_maps and (self.spacing_mm is None or self.shape is None):
            raise InputError(
                "a pack of label maps needs a spacing and a shape, such as 1 mm and 160 × 192 × 160"
            )
        if self.noise_maps < 0 or (self.noise_maps and not self.label_maps):
            raise InputError(
                f"{self.noise_maps} noise maps were asked for; they belong to a pack of label maps"
            )
        if self.spacing_mm is not None and not 0 < self.spacing_mm < np.inf:
            raise InputError(
                f"the spacing of a pack is {self.spacing_mm} mm; a positive number was expected"
            )
        if self.shape is not None and (len(self.shape) != 3 or min(self.shape) < 2):
            raise InputError(
                f"the shape of a pack is {self.shape}; three sizes of at least 2 were expected"
            )
        if self.align not in ("header", "centre"):
            raise InputError(
                f"the alignment of a pack is {self.align!r}; 'header' or 'centre' was expected"
            )
        if self.bits not in (8, 16):
            raise InputError(f"a pack of {self.bits} bits was asked for; 8 or 16 were expected")


class Pack:
    """An open pack. It can be pickled: another process opens the file anew."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: Any = None
        self._inside: dict[int, Box | None] = {}
        self.metadata = _metadata(self.path)
        facts = {name: json.loads(text) for name, text in self.metadata.items() if name in _FACTS}
        self.names: tuple[str, ...] = tuple(facts["names"])
        self.pairs: tuple[tuple[int, int], ...] = tuple((m, f) for m, f in facts["pairs"])
        self.label_values: tuple[int, ...] = tuple(facts["label_values"])
        self.sources: dict[str, list[int]] = facts["sources"]
        self._labelled: list[bool] = facts["labelled"]
        self._highest = np.float32(2 ** int(facts["bits"]) - 1)
        self.affine: NDArray[np.float64] = np.array(facts["affine"])
        self.options = PackOptions(**json.loads(self.metadata["options"]))
        self.pictured = not self.options.label_maps  # whether it holds images
        self.shape: Shape = tuple(
            self._tensors.get_slice("images" if self.pictured else "labels").get_shape()[1:]
        )

    @cached_property
    def grid(self) -> Grid:
        """The grid all cases share; world mm in RAS."""
        return Grid(self.shape, self.affine)

    @property
    def noise(self) -> range:
        """The cases that are maps of random shapes: the last ones."""
        return range(len(self) - self.options.noise_maps, len(self))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        return tuple(float(s) for s in self.grid.spacing)  # type: ignore[return-value]

    def __len__(self) -> int:
        return len(self.names)

    def __reduce__(self) -> tuple[Any, ...]:
        return Pack, (self.path,)

    @property
    def _tensors(self) -> Any:
        if self._file is None:
            self._file = safe_open(self.path, framework="numpy")
        return self._file

    def _read(self, tensor: str, case: int) -> NDArray[Any]:
        if not -len(self) <= case < len(self):
            raise IndexError(f"case {case} of a pack of {len(self)}")
        return np.asarray(self._tensors.get_slice(tensor)[case % len(self)])

    def image(self, case: int) -> Tensor:
        """(1, 1, i, j, k) float32 in [0, 1]. In a pack of label maps: each label's place among them all, as a grey."""
        if not self.pictured:
            values = np.searchsorted((0, *self.label_values), self._read("labels", case)).astype(
                np.float32
            )
            return torch.from_numpy(values / max(len(self.label_values), 1))[None, None]
        values = self._read("images", case).astype(np.float32)
        values /= self._highest
        return torch.from_numpy(values)[None, None]

    def inside(self, case: int) -> Tensor | None:
        """(1, 1, i, j, k) float32, 0 where the image is only padding that repeats its edges; None where nothing is."""
        if not self.pictured:
            return None
        if case not in self._inside:
            self._inside[case] = own_box(self._read("images", case))
        box = self._inside[case]
        if box is None:
            return None
        mask = torch.zeros(self.shape)
        mask[box] = 1
        return mask[None, None]

    def labels(self, case: int) -> Tensor | None:
        """(1, 1, i, j, k) uint8 where the pack stores them so (no value above 255), else int32; None without labels."""
        if not self._labelled[case]:
            return None
        values = self._read("labels", case)
        return torch.from_numpy(values if values.dtype == np.uint8 else values.astype(np.int32))[
            None, None
        ]

    def changed_sources(self) -> tuple[str, ...]:
        """Files and folders that the pack was made of and that have changed since; those that are gone do not count.

        They are read only where sizes agree and times do not: a copy, or a disk mounted anew, is no change.
        """
        there = {name: Path(name) for name in self.sources if Path(name).exists()}
        return tuple(name for name, path in there.items() if _changed(path, self.sources[name]))


def stamp(path: Path) -> list[int]:
    """Number of files, their sizes together, and their newest time (ns): told without reading them.

    A folder is that of a DICOM series: what lies deeper, and what is hidden, is none of it.
    """
    files = [p.stat() for p in _files(path)]
    return [
        len(files),
        sum(s.st_size for s in files),
        max((s.st_mtime_ns for s in files), default=0),
    ]


def digest(path: Path) -> int:
    """48 bits (JSON's numbers hold them) of BLAKE2 over the contents of a file, or of a folder's files by name."""
    whole = hashlib.blake2b(digest_size=6)
    for file in _files(path):
        with file.open("rb") as opened:
            whole.update(hashlib.file_digest(opened, "blake2b").digest())
    return int.from_bytes(whole.digest(), "big")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))


def _changed(path: Path, recorded: list[int]) -> bool:
    """recorded: number, sizes, time, digest; older packs have no digest, and of a file no number."""
    now = stamp(path)
    if len(recorded) < 4:
        return now[-len(recorded) :] != recorded
    return now[:2] != recorded[:2] or (now[2] != recorded[2] and digest(path) != recorded[3])


def is_pack(path: str | Path) -> bool:
    """Say whether a file is a pack, by its content.

    Parameters
    ----------
    path : str or Path
        Any path.

    Returns
    -------
    bool
        True if the file can be read and is a pack of any version.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        return False


def open_pack(path: str | Path) -> Pack:
    """Open a pack. Raises InputError for a file that is missing, damaged, no pack, or of a newer version."""
    try:
        return Pack(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} cannot be read as a pack ({error}); make it again by sacbnet data pack"
        ) from error


def build_pack(
    cases: Sequence[Case],
    path: str | Path,
    options: PackOptions | None = None,
    progress: Callable[[str, float], None] | None = None,
    pairs: Sequence[tuple[int, int]] = (),
) -> Pack:
    """Read the cases one by one, bring them to one grid and to [0, 1], write the pack, and open it.

    progress: called with the name of each case and the fraction done. pairs: (moving, fixed) to be kept in the pack,
    as indices of the cases. Raises InputError or GridError for a case that cannot be used, OutputError where the file
    cannot be written; then nothing is left under `path`.
    """
    from .packing import write_pack  # which needs the readers of images

    write_pack(
        cases,
        Path(path),
        options or PackOptions(),
        progress or (lambda name, fraction: None),
        pairs,
    )
    return open_pack(path)


_FACTS = ("names", "pairs", "label_values", "sources", "labelled", "bits", "affine")


def _metadata(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise InputError(
            f"{path} does not exist or is no file; a pack was expected: make one by sacbnet data pack"
        )
    with safe_open(path, framework="numpy") as file:
        metadata: dict[str, str] = file.metadata() or {}
    if metadata.get("format") != FORMAT:
        raise InputError(f"{path} is no pack of sacbnet; make one by sacbnet data pack")
    if int(metadata["format_version"]) > FORMAT_VERSION:
        raise InputError(
            f"{path} is a pack of version {metadata['format_version']}; at most {FORMAT_VERSION} can be read: update"
            " sacbnet or make the pack again"
        )
    return metadata
