"""The table of label metrics against the functions that it names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sacbnet.data.cases import Case
from sacbnet.data.subjects import Subject
from sacbnet.evaluation.scoring import score
from sacbnet.metrics.overlap import dice
from sacbnet.metrics.registry import LABEL_METRICS, LabelMetric
from sacbnet.metrics.surface import hausdorff95


def test_each_name_is_its_number():
    moved, fixed = np.random.default_rng(0).integers(0, 4, (2, 6, 7, 8))
    moved[moved == 3] = 0  # a label that has vanished
    fixed[fixed == 3] = 0
    spacing = (2.0, 1.0, 0.5)
    found = {
        name: metric.function(moved, fixed, (1, 2, 3), spacing)
        for name, metric in LABEL_METRICS.items()
    }
    overlap = dice(moved, fixed).per_label
    for name in ("dice_nearest", "dice_onehot"):
        assert found[name] == {1: overlap[1], 2: overlap[2], 3: 0.0}
    distance = hausdorff95(moved, fixed, (1, 2), spacing)
    assert {n: found["hd95_mm"][n] for n in (1, 2)} == distance and np.isnan(found["hd95_mm"][3])
    assert {name: m.warped for name, m in LABEL_METRICS.items()} == {
        "dice_nearest": "nearest",
        "dice_onehot": "onehot",
        "hd95_mm": "nearest",
    }


def test_one_more_number_is_scored_and_averaged(monkeypatch, pair):
    """A metric that joins the table appears in the rows of `evaluation.scoring.score`."""

    def volume(moved, fixed, labels, spacing):
        return {n: float((fixed == n).sum() * np.prod(spacing)) for n in labels}

    monkeypatch.setitem(LABEL_METRICS, "volume", LabelMetric("volume", "nearest", volume))
    fixed = Subject(Case("a", Path("a.nii")), pair.fixed, pair.fixed_labels, None)
    row, rows = score(fixed=fixed, moving=fixed, point_map=lambda points: points, labels=(4, 5))
    sizes = [int((pair.fixed_labels.data == n).sum()) for n in (4, 5)]
    voxel = float(np.prod(pair.fixed.grid.spacing))
    assert [r["volume"] for r in rows] == pytest.approx([n * voxel for n in sizes])
    assert row["volume"] == pytest.approx(np.mean(sizes) * voxel) and row["dice_nearest"] == 1.0
