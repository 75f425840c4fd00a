"""Series: several volumes on one grid in one file, as the NIfTI of a functional or dynamic scan."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from sacbnet.errors import GridError, InputError, OutputError
from sacbnet.files import Claim, atomic_file
from sacbnet.imaging.image import Image

from .format import ImageFormat
from .formats.nifti import Nifti
from .headers import VECTOR_INTENTS, nifti_image
from .images import ImageSource, load_image, load_reference
from .nibabel_images import open_nibabel, save_nibabel
from .table import reader

_TURNING = {1004: "matrices", 1005: "tensors", 1006: "vectors", 1007: "vectors"}


@dataclass(frozen=True, eq=False)
class Series:
    """Several volumes on one grid.

    Parameters
    ----------
    volumes : tuple of Image
        The volumes, in their order; at least one.
    header : Nifti1Header or None, default None
        The header of the file, which states the time between volumes.
    """

    volumes: tuple[Image, ...]
    header: Nifti1Header | None = field(default=None, repr=False)

    @property
    def single(self) -> bool:
        """Whether it is one 3-D image."""
        return self.header is None


def load_series(source: ImageSource) -> Series:
    """Read an image, or a 4-D NIfTI file with several volumes.

    Parameters
    ----------
    source : ImageSource
        As for `sacbnet.io.images.load_image`. Only paths of NIfTI files can hold several volumes.

    Returns
    -------
    Series
        The volumes. NaN and infinite values of each are filled as in a single image.

    Raises
    ------
    InputError
        If the file cannot be read, or holds vectors or tensors, whose directions would have to turn
        with the anatomy.
    GridError
        If the header gives no usable grid.
    """
    path = Path(source) if isinstance(source, (str, Path)) else None
    if path is None or not path.is_file() or not isinstance(reader(ImageFormat, path), Nifti):
        return Series((load_image(source),))
    stored: Any = open_nibabel(path)
    header, shape = stored.header, tuple(stored.shape)
    intent = int(header["intent_code"])
    turning = intent in _TURNING or (intent in VECTOR_INTENTS)
    if turning or (len(shape) == 5 and shape[4] > 1):
        what = _TURNING.get(intent, f"{shape[-1]} values a voxel")
        raise InputError(
            f"{path} holds {what} (shape {shape}), whose directions would have to turn with the"
            " anatomy; warp scalar maps of it instead, such as FA, or the series it was fitted to"
        )
    if len(shape) != 4 or shape[3] == 1:
        return Series((load_image(path),))
    like = load_reference(path)
    voxels = np.asanyarray(stored.dataobj)
    volumes = []
    for n in range(shape[3]):
        volume = np.ascontiguousarray(voxels[..., n])
        name = f"{path} (volume {n + 1})"
        volumes.append(_volume(replace(like, data=volume, name=name)))
    return Series(tuple(volumes), header)


def _volume(image: Image) -> Image:
    """A volume, which may be constant: dynamic series begin with empty ones."""
    flat = image.data.reshape(-1)
    if np.isfinite(flat[0]) and bool((flat == flat[0]).all()):
        return replace(image, data=image.data.astype(np.float32))
    return load_image(image)


def save_series(
    path: str | Path,
    volumes: list[NDArray[np.float32]],
    like: Image,
    header: Nifti1Header,
    claim: Claim | None = None,
) -> None:
    """Write several volumes into one NIfTI file.

    Parameters
    ----------
    path : str or Path
        The file to write: .nii or .nii.gz.
    volumes : list of ndarray, shape (i, j, k)
        The volumes.
    like : Image
        The grid and the header that describes it.
    header : Nifti1Header
        The header of the series, from which the time between volumes is taken.
    claim : Claim or None, default None
        From the beginning of the work (`files.Claim`): what another process wrote since stays.

    Raises
    ------
    GridError
        If a volume has another shape than the grid.
    OutputError
        If the name is not that of a NIfTI file, or the file cannot be written.
    """
    path = Path(path)
    if not path.name.lower().endswith(Nifti.written):
        raise OutputError(
            f"{path} is no name for {len(volumes)} volumes; .nii or .nii.gz was expected"
        )
    if any(volume.shape != like.grid.shape for volume in volumes):
        raise GridError(f"a volume for {path} has another shape than the grid {like.grid.shape}")
    image = nifti_image(np.stack(volumes, axis=-1).astype(np.float32), like.grid, like.header)
    image.header["pixdim"][4] = header["pixdim"][4]
    image.header["toffset"] = header["toffset"]
    image.header.set_xyzt_units("mm", header.get_xyzt_units()[1])
    with atomic_file(path, claim) as part:
        save_nibabel(image, part)
