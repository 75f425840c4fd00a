"""A registration that starts from a transform: what it does, and mistakes that are noticed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import sacbnet
from sacbnet.errors import InputError
from sacbnet.io.convention import Between
from sacbnet.io.tools import save_transform
from sacbnet.registration.account import Account
from sacbnet.registration.given import read_initial
from sacbnet.registration.initial import doubts_of, start_from
from sacbnet.registration.inputs import Inputs
from sacbnet.registration.prepare import prepare
from sacbnet.registration.report import RunReport
from sacbnet.registration.units import Units
from sacbnet.spatial.composition import linear_fit
from sacbnet.spatial.transforms import Affine, DisplacementField, chain

PLAIN = {"weights": "none", "refine": 0}


def apart(transform, pair) -> float:
    """Mean distance from the truth over the head, mm."""
    return float(
        np.linalg.norm(transform(pair.in_head) - pair.true_map(pair.in_head), axis=1).mean()
    )


@pytest.fixture(scope="module")
def truth(pair) -> Affine:
    """The affine nearest to the known warp."""
    return linear_fit(pair.true_map, pair.in_head)


@pytest.fixture(scope="module")
def prepared(pair):
    return prepare(Inputs(pair.fixed, pair.moving).canonical(), spacing=None)


def test_an_affine_takes_the_place_of_the_search(pair, truth) -> None:
    done = sacbnet.register(fixed=pair.fixed, moving=pair.moving, initial=truth, **PLAIN)
    assert np.allclose(done.affine.matrix, truth.matrix)
    assert np.abs(done.transform(pair.in_head) - truth(pair.in_head)).max() < 1e-3
    assert done.report.options.affine == "none"
    assert any("starts from the initial transform; no alignment" in n for n in done.report.notes)
    (fact,) = done.report.initial
    assert fact.name == "transform" and fact.sha256 == ""
    assert RunReport.from_text(done.report.to_text()).initial == (fact,)


def test_a_search_corrects_it_if_asked(pair, truth) -> None:
    """From a start that is 4 mm off, the affine that was asked for comes back to the truth."""
    off = truth @ Affine.translation([3.0, -2.0, 1.5])
    assert apart(off, pair) > 3.5
    done = sacbnet.register(
        fixed=pair.fixed, moving=pair.moving, initial=off, affine="affine", **PLAIN
    )
    assert apart(done.transform, pair) < apart(truth, pair) + 0.5
    assert any("the alignment (affine) corrects it" in note for note in done.report.notes)


@pytest.mark.parametrize("name", ["a.mat", "a.lta", "a.aff12.1D", "a.h5", "b.mat"])
def test_any_format_starts_it(pair, truth, tmp_path, name) -> None:
    tool = {"a.mat": "itk", "a.lta": "lta", "a.h5": "itk-h5", "b.mat": "fsl"}.get(name, "afni")
    save_transform(tmp_path / name, truth, tool, Between(pair.fixed.grid, pair.moving.grid))
    found, facts, said = read_initial(tmp_path / name, pair.fixed.grid, pair.moving.grid)
    assert np.allclose(found.matrix, truth.matrix, atol=1e-5) and said == ()
    (fact,) = facts
    assert fact.name == str(tmp_path / name) and len(fact.sha256) == 64


def test_a_field_is_kept_and_goes_on(pair, registered, tmp_path) -> None:
    """Without refinement the delivered transform is the initial one; with it, no worse."""
    kept = sacbnet.register(
        fixed=pair.fixed, moving=pair.moving, initial=registered.transform, **PLAIN
    )
    p = pair.in_head
    assert np.abs(kept.transform(p) - registered.transform(p)).mean() < 0.05
    on = sacbnet.register(
        fixed=pair.fixed,
        moving=pair.moving,
        initial=registered.transform,
        weights="none",
        refine=4,
    )
    assert on.report.similarity.final.local_correlation > (
        registered.report.similarity.final.local_correlation - 0.02
    )
    assert apart(on.transform, pair) < apart(registered.transform, pair) + 0.1
    assert on.report.verdict.word != "failed"


def test_another_run_and_a_chain(pair, result, registered, truth) -> None:
    one = sacbnet.register(fixed=pair.fixed, moving=pair.moving, initial=str(result), **PLAIN)
    p = pair.in_head
    assert np.abs(one.transform(p) - registered.transform(p)).mean() < 0.05
    # from fixed to moving and back to fixed: the identity, between the fixed image and itself
    there_and_back = sacbnet.register(
        fixed=pair.fixed, moving=pair.fixed, initial=[result, f"{result},inverse"], **PLAIN
    )
    assert np.linalg.norm(there_and_back.transform(p) - p, axis=1).mean() < 0.1
    assert [fact.name for fact in there_and_back.report.initial] == [
        str(result),
        f"{result},inverse",
    ]


def test_wrong_directions_and_frames_are_noticed(pair, truth, prepared) -> None:
    assert doubts_of(truth, prepared) == []
    (said,) = doubts_of(truth.inverse, prepared)
    assert said.startswith("its inverse fits the images better") and "NAME,inverse" in said
    lps = Affine(np.diag([-1.0, -1.0, 1.0, 1.0]))
    (said,) = doubts_of(lps @ truth @ lps, prepared)
    assert said.startswith("the same numbers in the other frame")
    (said,) = doubts_of(Affine.translation([40.0, 0, 0]), replace(prepared))
    assert "fits the images better than the initial transform" in said


def test_a_wrong_start_is_no_good_result(pair, truth) -> None:
    done = sacbnet.register(
        fixed=pair.fixed, moving=pair.moving, initial=truth.inverse, accept=True, **PLAIN
    )
    assert done.report.verdict.word in ("check", "failed")
    assert any("its inverse fits" in reason for reason in done.report.verdict.reasons)


def test_the_parts_compose_to_the_whole(pair, truth, prepared) -> None:
    """The affine and the displacement of the start are the initial transform, corrected or not."""
    grid = prepared.grid
    wave = DisplacementField.from_map(
        lambda p: p + 0.8 * np.sin(p[..., [1, 2, 0]] / 5), pair.fixed.grid.with_spacing(1.0)
    )
    start = start_from(chain(truth, wave), prepared, "none", Account())
    u = DisplacementField.from_voxels(grid, np.moveaxis(start.u_vox[0].numpy(), 0, -1))
    voxels = grid.world(np.argwhere(np.ones(grid.shape))[::501])
    assert np.abs(start.affine(u(voxels)) - truth(wave(voxels))).max() < 1e-2
    assert start_from(truth, prepared, "none", Account()).u_vox is None


def test_in_other_units(truth) -> None:
    units = Units(1, -1)
    image = object()
    inputs = Inputs(image, image, initial=truth)  # type: ignore[arg-type]
    p = np.random.default_rng(0).normal(size=(5, 3))
    assert np.allclose(units.inputs(inputs).initial(p), truth(p * 10) * 10)


def test_a_start_that_cannot_be_read(pair, tmp_path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        sacbnet.register(fixed=pair.fixed, moving=pair.moving, initial=tmp_path / "a.mat", **PLAIN)
