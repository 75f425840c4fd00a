"""The demo on the small pair: what it writes and what it reports."""

from __future__ import annotations

import numpy as np
import pytest

from sacbnet.data.phantom import STRUCTURES, PhantomPair
from sacbnet.demo import run as demo
from sacbnet.io.images import load_image
from sacbnet.registration.result import FILES


@pytest.fixture
def small_demo(pair, monkeypatch) -> PhantomPair:
    """make_pair gives the small pair, its rigid part taken out."""
    small = PhantomPair(
        pair.fixed,
        pair.fixed_labels,
        pair.moving,
        pair.moving_labels,
        dict(STRUCTURES),
        pair.true_map,
        pair.landmarks,
    )
    monkeypatch.setattr(demo, "make_pair", lambda seed: small)
    return small


def test_scores_of_the_headers_and_of_the_transform(pair, registered, small_demo) -> None:
    score = demo.score(small_demo, registered.transform)
    assert set(score.dice) == set(STRUCTURES.values())
    before, after = score.mean_dice
    assert before == pytest.approx(registered.report.dice.start.nearest, abs=1e-6)
    assert after == pytest.approx(registered.report.dice.final.nearest, abs=1e-6)
    assert score.error_mm[0] > 3 and score.error_mm[1] < 0.8
    assert score.error_p95_mm[0] > score.error_mm[0] and score.error_p95_mm[1] > score.error_mm[1]


def test_the_truth_scores_best(small_demo) -> None:
    score = demo.score(small_demo, small_demo.true_map)
    assert score.error_mm[1] == pytest.approx(0, abs=1e-6) and score.mean_dice[1] > 0.75


def test_run_demo_writes_the_pair_and_the_result(small_demo, tmp_path) -> None:
    result, score = demo.run_demo(tmp_path, affine="rigid", refine=1)
    assert {p.name for p in tmp_path.iterdir()} == {*FILES, "input"}
    names = {"fixed.nii.gz", "moving.nii.gz", "fixed_labels.nii.gz", "moving_labels.nii.gz"}
    assert {p.name for p in (tmp_path / "input").iterdir()} == names
    written = load_image(tmp_path / "input" / "moving.nii.gz")
    assert np.array_equal(written.data, small_demo.moving.data) and written.grid.matches(
        small_demo.moving.grid
    )
    assert result.report.dice is not None and score.mean_dice[1] > score.mean_dice[0] + 0.1
