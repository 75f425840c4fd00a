"""Scores of one transform of one pair, whose numbers are known beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sacbnet.data.cases import Case
from sacbnet.data.subjects import Subject
from sacbnet.evaluation.scoring import Found, outcomes, score
from sacbnet.imaging.image import Image
from sacbnet.io.images import save_image
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField

SHAPE = (20, 20, 20)


def subject(name: str, boxes: dict[int, tuple[slice, ...]], spacing: tuple[float, ...]) -> Subject:
    """Label -> its box in mm, on a grid that begins at the origin."""
    grid = Grid(SHAPE, np.diag([*spacing, 1.0]))
    at = np.moveaxis(grid.world(np.moveaxis(np.indices(SHAPE), 0, -1)), -1, 0)
    labels = np.zeros(SHAPE, np.uint8)
    for label, box in boxes.items():
        inside = [(x >= side.start) & (x < side.stop) for x, side in zip(at, box, strict=True)]
        labels[np.logical_and.reduce(inside)] = label
    image = Image(labels.astype(np.float32), grid, name)
    return Subject(Case(name, Path(name)), image, Image(labels, grid, name), None)


def box(*low: int) -> tuple[slice, ...]:
    return tuple(slice(n, n + 8) for n in low)


def test_distances_are_measured_at_the_spacing_of_the_fixed_image():
    """The same box, two voxels of the fixed image farther along k: 6 mm, whatever the other's."""
    fixed = subject("fixed", {1: box(4, 4, 9)}, (1, 1, 3))
    moving = subject("moving", {1: box(4, 4, 15)}, (1, 1, 1.5))
    row, (of_label,) = score(fixed=fixed, moving=moving, point_map=Affine(), labels=(1,))
    assert of_label["hd95_mm"] == row["hd95_mm"] == pytest.approx(6)
    assert row["hd95_left_out"] == 0


def test_a_label_that_vanishes_scores_0_and_is_left_out_of_the_distances():
    fixed = subject("fixed", {1: box(4, 4, 4), 2: box(12, 12, 12)}, (1, 1, 1))
    moving = subject("moving", {1: box(4, 4, 4)}, (1, 1, 1))
    row, rows = score(fixed=fixed, moving=moving, point_map=Affine(), labels=(1, 2))
    assert [r["dice_nearest"] for r in rows] == [1, 0] and row["dice_nearest"] == 0.5
    assert np.isnan(rows[1]["hd95_mm"]) and row["hd95_mm"] == 0 and row["hd95_left_out"] == 1
    away = Affine.translation([500, 0, 0])
    row, rows = score(fixed=fixed, moving=moving, point_map=away, labels=(1, 2))
    assert [r["dice_onehot"] for r in rows] == [0, 0] and row["hd95_left_out"] == 2


def test_labels_that_neither_image_has_are_counted_as_absent(tmp_path):
    cases = []
    for name in ("a", "b"):
        made = subject(name, {1: box(4, 4, 4)}, (1, 1, 1))
        paths = tmp_path / f"{name}.nii.gz", tmp_path / f"{name}_labels.nii.gz"
        save_image(paths[0], made.image.data, made.image)
        save_image(paths[1], made.labels.data, made.labels, labels=True)
        cases.append(Case(name, *paths))

    def still(*, fixed, moving):
        return Found(DisplacementField.zeros(fixed.image.grid), 1.0, 1.0)

    ((_, (rows, _)),) = outcomes(cases, [(0, 1)], (1, 2, 7), still, centre=False)
    assert [row["labels_absent"] for row in rows] == [2]
    assert rows[0]["dice_nearest"] == 1
