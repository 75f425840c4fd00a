"""TODO-DOC sacbnet.registration.maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacbnet.imaging.image import Image
from sacbnet.imaging.resampling import carry
from sacbnet.networks.sacbnet.seen import SIDES, Seen
from sacbnet.registration.prepare import Pair
from sacbnet.registration.result import CLUSTERS, UNCERTAINTY
from sacbnet.spatial.resample import Interpolation
from sacbnet.spatial.transforms import Affine


def maps(seen: Seen, pair: Pair, fixed: Image, wanted: Mapping[str, bool]) -> dict[str, Image]:
    """Files by name, on the fixed image's grid: label maps where wanted["clusters"], and where wanted["uncertainty"]
    the SD of the offset at the finest level that was matched, in mm: what the coarser ones left open, it resolved."""
    found: dict[str, Image] = {}

    def onto(data: NDArray[Any], how: Interpolation) -> Image:
        return carry(Image(np.ascontiguousarray(data), pair.grid), fixed, Affine(), how)

    if wanted.get("clusters") and not seen.half_way:
        for level, labels in sorted(seen.labels.items()):
            for side, x in zip(SIDES, labels.cpu().numpy(), strict=True):
                data = _blocks(x.astype(np.int16), 2 ** (level - 1) * pair.factor, pair.grid.shape)
                found[CLUSTERS.format(side=side, level=level)] = onto(data, "nearest")
    if wanted.get("uncertainty") and seen.spread:
        finest = min(seen.spread)
        side = 2 ** (finest - 1) * pair.factor  # of the level's voxel, in working voxels
        spread_mm = seen.spread[finest][0, 0].float().sqrt().cpu().numpy() * (side * pair.spacing)
        found[UNCERTAINTY] = onto(_blocks(spread_mm, side, pair.grid.shape), "linear")
    return found


def _blocks(data: NDArray[Any], side: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Each voxel as a block of `side`³, cropped to a shape: a lattice's voxels are the blocks that were pooled."""
    for axis, n in enumerate(shape):
        data = data.repeat(side, axis).take(range(n), axis)
    return data
