"""DICOM: a folder with one series, any file of a series, or one file with many frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sacbnet.errors import InputError
from sacbnet.imaging.image import Image
from sacbnet.io.bounds import check_promise, count_of
from sacbnet.io.format import ImageFormat
from sacbnet.io.headers import named_grid
from sacbnet.io.voxels import check_shape

if TYPE_CHECKING:  # pydicom is imported when a file is read
    from sacbnet.io.dicom_headers import Header


class Dicom(ImageFormat):
    """One volume of one DICOM series.

    Slices are put in the order of their positions, and each has its own slope and intercept. What
    the files do not state gives a warning, or is refused. Gaps between the slices are filled by
    interpolation, with a warning; a tilted gantry shears the grid.
    """

    suffixes = ()  # its files often have none

    @override
    def recognises(self, path: Path) -> bool:
        """Accept every folder, names that end with .dcm, and files with DICOM's mark."""
        return path.is_dir() or path.name.lower().endswith(".dcm") or _is_marked(path)

    @override
    def read(self, path: Path) -> Image:
        """Read all files of the series, in the order of their positions."""
        return _read(path)

    @override
    def read_grid(self, path: Path) -> Image:
        """Read the headers only; several volumes may share the grid."""
        return _read(path, grid_only=True)


def headers_of(path: Path) -> list[Header]:
    """Read the headers of a series.

    Parameters
    ----------
    path : Path
        A folder with one series, or a file of a series.

    Returns
    -------
    list of Header
        One for each file of the series.

    Raises
    ------
    InputError
        If there is no series, or there are several, or a file is damaged.
    """
    return _folder(path) if path.is_dir() else _series_of(path)


def _read(path: Path, grid_only: bool = False) -> Image:
    from sacbnet.io.dicom_frames import frames_of
    from sacbnet.io.dicom_grid import stack
    from sacbnet.io.dicom_voxels import values_of

    name = str(path)
    headers = headers_of(path)
    found = stack(frames_of(headers), name, grid_only)
    shape = check_shape(found.shape, name)
    grid = named_grid(shape, found.affine, name)
    if grid_only:
        return Image(np.zeros(shape, np.uint8), grid, name, None, found.warnings)
    check_promise(headers[0].file, 0, 12 * count_of(shape))
    values = values_of(found.frames, name)
    if found.places is not None:
        values = _interpolated(values, found.places)
    return Image(values.transpose(2, 1, 0), grid, name, None, found.warnings)


def _interpolated(values: NDArray[np.generic], places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Slices between stored slices, linear in their distance."""
    lower = np.minimum(places.astype(int), len(values) - 2)
    out = np.empty((len(places), *values.shape[1:]), np.float32)
    for n, (low, weight) in enumerate(zip(lower, places - lower, strict=True)):
        weight = round(float(weight), 6)
        out[n] = (1 - weight) * values[low].astype(float) + weight * values[low + 1].astype(float)
    return out


def _is_marked(path: Path) -> bool:
    """Whether a file carries DICOM's mark after its preamble."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _folder(folder: Path) -> list[Header]:
    """The headers of the one series in a folder."""
    named = _by_series(folder)
    if not named:
        raise InputError(
            f"the folder {folder} holds no DICOM series; pass an image file or the folder of one"
            " series"
        )
    if len(named) > 1:
        listed = "; ".join(
            f"{uid}: {len(headers)} files, e.g. {headers[0].file.name}"
            for uid, headers in named.items()
        )
        raise InputError(
            f"the folder {folder} holds {len(named)} DICOM series ({listed}); pass one file of the"
            " series that you mean"
        )
    return next(iter(named.values()))


def _by_series(folder: Path) -> dict[str, list[Header]]:
    from sacbnet.io.dicom_headers import read_header

    named: dict[str, list[Header]] = {}
    for file in sorted(folder.iterdir()):
        header = read_header(file) if file.is_file() else None
        if header is not None:
            named.setdefault(header.series, []).append(header)
    return named


def _series_of(path: Path) -> list[Header]:
    """The headers of the series that a file belongs to; of the file alone if it has many frames."""
    from sacbnet.io.dicom_headers import read_header

    header = read_header(path)
    if header is None:
        raise InputError(f"{path} is not a DICOM image, or it is damaged")
    if header.is_whole or not header.series:
        return [header]
    return _by_series(path.parent)[header.series]
