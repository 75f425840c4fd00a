"""Optional maps of a result: the regions of the network, and the spread of its matching."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacbnet.imaging.image import Image
from sacbnet.imaging.resampling import carry
from sacbnet.networks.sacbnet.seen import SIDES, Seen
from sacbnet.spatial.resample import Interpolation
from sacbnet.spatial.transforms import Affine

from .prepare import Pair
from .result import CLUSTERS, UNCERTAINTY


def maps(
    seen: Seen, pair: Pair, fixed: Image, *, clusters: bool, uncertainty: bool
) -> dict[str, Image]:
    """Put what a network saw of a pair onto the fixed image's grid.

    Parameters
    ----------
    seen : Seen
        What the network saw.
    pair : Pair
        Both images as the engine took them.
    fixed : Image
        The fixed image.
    clusters : bool
        Whether the regions are wanted, as label maps.
    uncertainty : bool
        Whether the spread is wanted: the SD of the offset at the finest level that was matched, in
        mm. The finest level resolved what the coarser ones left open.

    Returns
    -------
    dict[str, Image]
        Images by file name; only those that the network gives.
    """
    found: dict[str, Image] = {}

    def onto(data: NDArray[Any], how: Interpolation) -> Image:
        return carry(Image(np.ascontiguousarray(data), pair.grid), fixed, Affine(), how)

    if clusters and not seen.half_way:
        for level, labels in sorted(seen.labels.items()):
            for side, x in zip(SIDES, labels.cpu().numpy(), strict=True):
                data = _blocks(x.astype(np.int16), 2 ** (level - 1) * pair.factor, pair.grid.shape)
                found[CLUSTERS.format(side=side, level=level)] = onto(data, "nearest")
    if uncertainty and seen.spread:
        finest = min(seen.spread)
        side = 2 ** (finest - 1) * pair.factor  # working voxels of one voxel of the level
        spread_mm = seen.spread[finest][0, 0].float().sqrt().cpu().numpy() * (side * pair.spacing)
        found[UNCERTAINTY] = onto(_blocks(spread_mm, side, pair.grid.shape), "linear")
    return found


def _blocks(data: NDArray[Any], side: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Repeat each voxel as a block of `side`³ and crop: the reverse of a level's pooling."""
    for axis, n in enumerate(shape):
        data = data.repeat(side, axis).take(range(n), axis)
    return data
