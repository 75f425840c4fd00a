"""A pack: the images and labels of a set on one grid in one file, so that training reads quickly.

The file is memory-mapped. It is a safetensors file: `images`, shape (n, i, j, k), uint8 or uint16,
holds intensities x in [0, 1] as round(x · (2^bits − 1)); `labels`, shape (n, i, j, k), is uint8,
uint16 or int32 and may be absent. A pack of label maps has no images. All other facts are text in
the metadata; the reference of the data lists them. Reading needs neither nibabel nor SimpleITK, and
opens no other file.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sacbnet.config.choices import ALIGNMENTS, Alignment
from sacbnet.config.validation import choices
from sacbnet.errors import InputError
from sacbnet.imaging.padding import Box, own_box
from sacbnet.spatial.grid import Grid, Shape

from .stamps import changed

FORMAT = "sacbnet-pack"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class PackOptions:
    """How a set is brought to one grid.

    Parameters
    ----------
    spacing_mm : float, optional
        Isotropic spacing in mm. None keeps the spacing of the images, which must then be the same
        for all.
    shape : tuple of int, optional
        (i, j, k) of the box, about the centre of the first case. None takes the box of that case.
    align : {"header", "centre"}, default "header"
        "header" trusts the world coordinates of the files. "centre" brings the centres of the boxes
        together, for images that share no world.
    bits : {8, 16}, default 16
        Bits of an intensity.
    label_maps : bool, default False
        The images are label maps, from which images are synthesised. They are brought together by
        the centres of mass of their labels (`sacbnet.data.anatomy`); `align` and `bits` then have
        no effect. Needs `spacing_mm` and `shape`.
    noise_maps : int, default 0
        Number of maps of random shapes that are added to the label maps.

    Raises
    ------
    InputError
        If a value is outside its range, or if two options contradict each other.
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
        if self.align not in ALIGNMENTS:
            raise InputError(
                f"the alignment of a pack is {self.align!r}; {choices(ALIGNMENTS)} was expected"
            )
        if self.bits not in (8, 16):
            raise InputError(f"a pack of {self.bits} bits was asked for; 8 or 16 were expected")


class Pack:
    """An open pack. It can be pickled: another process opens the file anew.

    Parameters
    ----------
    path : str or Path
        The file; `open_pack` gives better messages for a damaged file.

    Attributes
    ----------
    names : tuple of str
        Names of the cases.
    pairs : tuple of (int, int)
        Pairs (moving, fixed) that the dataset names.
    label_values : tuple of int
        All label values of the set, ascending, without 0.
    shape : tuple of int
        (i, j, k) of every case.
    affine : ndarray, shape (4, 4)
        Voxel to world mm (RAS), the same for every case.
    options : PackOptions
        How the pack was made.
    pictured : bool
        Whether the pack holds images; a pack of label maps does not.
    sources : dict of str to list of int
        The files of which the pack was made, with stamp and digest (`sacbnet.data.stamps`).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: Any = None
        self._inside: dict[int, Box | None] = {}
        self.metadata = _metadata(self.path)
        facts = {name: json.loads(text) for name, text in self.metadata.items() if name in _FACTS}
        if facts["bits"] not in (8, 16):
            raise ValueError(f"it has {facts['bits']!r} bits an intensity, 8 or 16 were expected")
        self.names: tuple[str, ...] = tuple(facts["names"])
        self.pairs: tuple[tuple[int, int], ...] = tuple((m, f) for m, f in facts["pairs"])
        self.label_values: tuple[int, ...] = tuple(facts["label_values"])
        self.sources: dict[str, list[int]] = facts["sources"]
        self._labelled: list[bool] = facts["labelled"]
        self._highest = np.float32(2 ** int(facts["bits"]) - 1)
        self.affine: NDArray[np.float64] = np.array(facts["affine"])
        self.options = PackOptions(**json.loads(self.metadata["options"]))
        self.pictured = not self.options.label_maps
        self.shape: Shape = tuple(
            self._tensors.get_slice("images" if self.pictured else "labels").get_shape()[1:]
        )
        self._check()

    def _check(self) -> None:
        """Compare what the metadata state with each other and with the tensors."""
        cases = range(len(self))
        for tensor in self._tensors.keys():  # noqa: SIM118
            shape = tuple(self._tensors.get_slice(tensor).get_shape())
            if tensor in ("images", "labels") and shape != (len(self), *self.shape):
                raise ValueError(f"{tensor} has the shape {shape}, it states {len(self)} cases")
        numbers = [n for pair in self.pairs for n in pair]
        if not all(type(n) is int and n in cases for n in numbers):
            raise ValueError("it names pairs of cases that it does not hold")
        if not all(isinstance(name, str) for name in self.names) or len(self.shape) != 3:
            raise ValueError("its cases have no names, or are not 3-D")
        if len(self._labelled) != len(self) or (
            any(self._labelled) and "labels" not in self._tensors.keys()  # noqa: SIM118
        ):
            raise ValueError("it does not hold the labels that it states")
        if not all(type(v) is int and abs(v) < 2**31 for v in self.label_values):
            raise ValueError("its label values are no whole numbers")
        if self.options.noise_maps > len(self) or not isinstance(self.sources, dict):
            raise ValueError("it states more maps than it holds, or no sources")
        Grid(self.shape, self.affine)

    @cached_property
    def grid(self) -> Grid:
        """The grid that all cases share, in mm (RAS)."""
        return Grid(self.shape, self.affine)

    @property
    def noise(self) -> range:
        """The cases that are maps of random shapes: the last ones."""
        return range(len(self) - self.options.noise_maps, len(self))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """The spacing along (i, j, k), in mm."""
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
        """Read an image.

        Parameters
        ----------
        case : int
            Index of the case.

        Returns
        -------
        Tensor, shape (1, 1, i, j, k)
            float32 in [0, 1]. In a pack of label maps, each label is a grey value: its place among
            all label values.
        """
        if not self.pictured:
            values = np.searchsorted((0, *self.label_values), self._read("labels", case)).astype(
                np.float32
            )
            return torch.from_numpy(values / max(len(self.label_values), 1))[None, None]
        values = self._read("images", case).astype(np.float32)
        values /= self._highest
        return torch.from_numpy(values)[None, None]

    def inside(self, case: int) -> Tensor | None:
        """Find the voxels of an image that are not padding which repeats its edges.

        Parameters
        ----------
        case : int
            Index of the case.

        Returns
        -------
        Tensor, shape (1, 1, i, j, k), or None
            float32: 0 in the padding, else 1. None if nothing is padded.
        """
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
        """Read a label map.

        Parameters
        ----------
        case : int
            Index of the case.

        Returns
        -------
        Tensor, shape (1, 1, i, j, k), or None
            uint8 if no value of the set is above 255, else int32. None if the case has no labels.
        """
        if not self._labelled[case]:
            return None
        values = self._read("labels", case)
        return torch.from_numpy(values if values.dtype == np.uint8 else values.astype(np.int32))[
            None, None
        ]

    def changed_sources(self) -> tuple[str, ...]:
        """Find the files that have changed since the pack was made of them.

        Returns
        -------
        tuple of str
            Files and folders. Those that no longer exist do not count.
        """
        there = {name: Path(name) for name in self.sources if os.path.exists(name)}
        return tuple(name for name, path in there.items() if changed(path, self.sources[name]))


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
    """Open a pack.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    Pack
        The open pack.

    Raises
    ------
    InputError
        If the file is missing, damaged, no pack, or a pack of a newer version.
    """
    try:
        return Pack(path)
    except InputError:
        raise
    except Exception as error:  # damaged metadata can make many kinds of errors
        raise InputError(
            f"{path} cannot be read as a pack ({error}); make it again by sacbnet data pack"
        ) from error


_FACTS = ("names", "pairs", "label_values", "sources", "labelled", "bits", "affine")


def _metadata(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise InputError(
            f"{path} does not exist or is no file; a pack was expected: make one by sacbnet data"
            " pack"
        )
    with safe_open(path, framework="numpy") as file:
        metadata: dict[str, str] = file.metadata() or {}
    if metadata.get("format") != FORMAT:
        raise InputError(f"{path} is no pack of sacbnet; make one by sacbnet data pack")
    if int(metadata["format_version"]) > FORMAT_VERSION:
        raise InputError(
            f"{path} is a pack of version {metadata['format_version']}; at most {FORMAT_VERSION}"
            " can be read: update sacbnet or make the pack again"
        )
    return metadata
