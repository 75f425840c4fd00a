"""How well a registration went: likeness and overlap at the start, after the affine, and at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sacbnet.imaging.image import Image
from sacbnet.imaging.resampling import carry, on_grid
from sacbnet.metrics.overlap import dice_of_present, present_labels
from sacbnet.metrics.similarity import local_correlation, mutual_information
from sacbnet.spatial.resample import Interpolation
from sacbnet.spatial.transforms import Affine, DisplacementField, PointMap

from .inputs import Inputs
from .prepare import Pair


def measure(
    inputs: Inputs, pair: Pair, affine: Affine, transform: DisplacementField
) -> dict[str, Any]:
    """Likeness, and Dice where both label maps were given, at the start (headers alone), after the affine, at the end.

    Likeness is taken on the working grid, inside the fixed mask where there is one.
    """
    steps: dict[str, PointMap] = {"start": Affine(), "affine": affine, "final": transform}
    if still := bool((affine.matrix == np.eye(4)).all()):
        del steps["affine"]  # is the start

    def at_each(found: dict[str, Any]) -> dict[str, Any]:
        return {
            "start": found["start"],
            "affine": found["start" if still else "affine"],
            "final": found["final"],
        }

    report: dict[str, Any] = {
        "similarity": at_each({name: _similarity(pair, step) for name, step in steps.items()})
    }
    fixed, moving = inputs.fixed_labels, inputs.moving_labels
    if fixed is not None and moving is not None:
        labels = present_labels(moving.data, fixed.data)
        report["dice"] = at_each(
            {name: _overlap(moving, fixed, step, labels) for name, step in steps.items()}
        )
    return report


def _similarity(pair: Pair, point_map: PointMap) -> dict[str, float]:
    f, m = pair.fixed, pair.moving
    moved = on_grid(m.data, m.grid, pair.grid, point_map)
    fixed = torch.from_numpy(f.data)[None, None]
    mask = None if f.mask is None else torch.from_numpy(f.mask)[None, None]
    inside = slice(None) if f.mask is None else f.mask
    return {
        "local_correlation": local_correlation(moved, fixed, mask),
        "mutual_information": mutual_information(moved[0, 0].numpy()[inside], f.data[inside]),
    }


def _overlap(
    moving: Image, fixed: Image, point_map: PointMap, labels: tuple[int, ...]
) -> dict[str, Any]:
    """Mean Dice over the labels that either map has before any warp, warped by nearest and by one-hot linear."""
    out: dict[str, Any] = {}
    ways: tuple[Interpolation, ...] = ("nearest", "onehot")
    for name in ways:
        found = dice_of_present(carry(moving, fixed, point_map, name).data, fixed.data, labels)
        out[name] = float(np.mean(list(found.values()))) if found else float("nan")
        out[name + "_per_label"] = {str(label): round(value, 6) for label, value in found.items()}
    return out
