"""Optional maps of a result: the regions that the network found."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacbnet.imaging.image import Image
from sacbnet.imaging.resampling import carry
from sacbnet.networks.sacbnet.seen import SIDES, Seen
from sacbnet.spatial.transforms import Affine

from .prepare import Pair
from .result import CLUSTERS


def maps(seen: Seen, pair: Pair, fixed: Image) -> dict[str, Image]:
    """Put what a network saw of a pair onto the fixed image's grid.

    Parameters
    ----------
    seen : Seen
        What the network saw.
    pair : Pair
        Both images as the engine took them.
    fixed : Image
        The fixed image.

    Returns
    -------
    dict[str, Image]
        Label maps by file name; only those that the network gives.
    """
    found: dict[str, Image] = {}

    if not seen.half_way:
        for level, labels in sorted(seen.labels.items()):
            for side, x in zip(SIDES, labels.cpu().numpy(), strict=True):
                data = _blocks(x.astype(np.int16), 2 ** (level - 1) * pair.factor, pair.grid.shape)
                image = Image(np.ascontiguousarray(data), pair.grid)
                found[CLUSTERS.format(side=side, level=level)] = carry(
                    image, fixed, Affine(), "nearest"
                )
    return found


def _blocks(data: NDArray[Any], side: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Repeat each voxel as a block of `side`³ and crop: the reverse of a level's pooling."""
    for axis, n in enumerate(shape):
        data = data.repeat(side, axis).take(range(n), axis)
    return data
