"""The memory that a registration takes on a CPU, told before the work starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

from sacbnet.environment import memory_left
from sacbnet.errors import MemoryShortageError
from sacbnet.spatial.grid import Grid

from .inputs import Inputs
from .prepare import Pair
from .working_grid import working_spacing

# Bytes beyond what the process holds when the images have been read, as measured by peak_memory_mb
# on images of 96³ to 224³ voxels (docs/reference/reliability.md). The largest of the three stages
# counts: refinement, network, and composing, inverting and resampling.
_ALWAYS = 150e6
_WORKING_VOXEL = 165.0
_NETWORK_VOXEL = 165.0
_IMAGE_VOXEL = 28.0
_SURE = 0.95  # of the estimate: less than that is never enough


def needed(pair: Pair, *, fixed: Grid, moving: Grid, network: bool, refined: bool) -> float:
    """Estimate the memory that a registration takes beyond its images.

    Parameters
    ----------
    pair : Pair
        Both images as the engine takes them.
    fixed, moving : Grid
        Grids of the two images.
    network, refined : bool
        Whether a network runs, and whether refinement does.

    Returns
    -------
    float
        Bytes.
    """
    working = prod(pair.grid.shape)
    return _ALWAYS + max(
        _WORKING_VOXEL * working * refined,
        _NETWORK_VOXEL * working / pair.factor**3 * network,
        _IMAGE_VOXEL * (prod(fixed.shape) + prod(moving.shape)),
    )


def check_memory(pair: Pair, *, fixed: Grid, moving: Grid, network: bool, refined: bool) -> None:
    """Refuse a pair, before the work starts, if the memory cannot be enough for it.

    Parameters
    ----------
    pair : Pair
        Both images as the engine takes them.
    fixed, moving : Grid
        Grids of the two images.
    network, refined : bool
        Whether a network runs, and whether refinement does.

    Raises
    ------
    MemoryShortageError
        If less memory is left than the registration takes.
    """
    need = needed(pair, fixed=fixed, moving=moving, network=network, refined=refined)
    left = memory_left()
    if _SURE * need > left:
        raise MemoryShortageError(
            f"the memory is not enough: {left / 2**30:.2g} GiB are left, and about"
            f" {need / 2**30:.2g} GiB are needed, for {prod(pair.grid.shape) / 1e6:.3g} million"
            f" voxels of {pair.spacing:.3g} mm; use a coarser --spacing or a larger machine"
        )


@contextmanager
def shortage_told(inputs: Inputs, spacing: float | None) -> Iterator[None]:
    """Say how much memory a registration takes, if the memory runs out in spite of the check.

    Parameters
    ----------
    inputs : Inputs
        The images.
    spacing : float or None
        The working spacing that the user asks for, mm.

    Yields
    ------
    None

    Raises
    ------
    MemoryShortageError
        For a MemoryError, and for a RuntimeError of torch about memory. Other errors pass
        unchanged.
    """
    try:
        yield
    except MemoryShortageError:
        raise
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
            raise
        grid = inputs.fixed.grid
        voxels = grid.voxel_volume * prod(grid.shape) / working_spacing(grid, spacing) ** 3
        images = _IMAGE_VOXEL * (prod(grid.shape) + prod(inputs.moving.grid.shape))
        need = _ALWAYS + max(_WORKING_VOXEL * voxels, images)
        raise MemoryShortageError(
            f"the memory is not enough: about {need / 2**30:.2g} GiB are needed beyond the images,"
            f" for up to {voxels / 1e6:.3g} million voxels; use a coarser --spacing or a larger"
            " machine"
        ) from error
