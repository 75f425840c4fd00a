"""register(): from images in any form to a result that is right, measured, and not worse."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

import sacbnet
from sacbnet.config.registration import Options, RefineOptions, RegisterOptions
from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.errors import (
    GridError,
    InputError,
    RegistrationError,
    SacbnetError,
    WeightsError,
)
from sacbnet.imaging.image import Image
from sacbnet.imaging.points import Points
from sacbnet.io.images import load_image
from sacbnet.networks.sacbnet.network import SACBNet
from sacbnet.networks.weights.catalogue import default, find
from sacbnet.networks.weights.info import WeightsInfo
from sacbnet.networks.weights.load import load_weights, save_weights, weights_hash
from sacbnet.registration import displacement, initial
from sacbnet.registration import engine as parts
from sacbnet.registration import estimate as engine
from sacbnet.registration.account import Account
from sacbnet.registration.inputs import read_inputs
from sacbnet.registration.prepare import prepare
from sacbnet.registration.registrar import Registrar, register
from sacbnet.registration.report import RunReport
from sacbnet.registration.result import RUN
from sacbnet.spatial.transforms import Affine

from ..conftest import QUICK, STEPS

FACTS = {
    "licence": "CC0",
    "trained_on": "nothing",
    "spacing_mm": "2",
    "intensity": "[0, 1]",
    "source": "a test",
}


def network(seed: int = 0, head_scale: float = 1.0) -> SACBNet:
    """Randomly initialised, without a change of torch's global state.

    head_scale: factor of the last layer; 0 gives the identity.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SACBNet(SACBNetConfig())
    with torch.no_grad():
        for parameter in model.head[2].parameters():
            parameter.mul_(head_scale)
    return model


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights whose displacement is small but not zero."""
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_weights(path, network(), FACTS)
    return path


# -- what comes out --------------------------------------------------------------------------------
def test_the_heads_come_together(pair, registered) -> None:
    dice = registered.report.dice
    for way in ("nearest", "onehot"):
        start, affine, final = (
            getattr(step, way) for step in (dice.start, dice.affine, dice.final)
        )
        assert start < 0.3 and affine > start + 0.25 and final > affine + 0.1 and final > 0.66
    truth = pair.true_map(pair.landmarks)
    errors = [
        np.linalg.norm(f(pair.landmarks) - truth, axis=1).mean()
        for f in (registered.affine, registered.transform)
    ]
    assert errors[1] < min(0.8, 0.7 * errors[0])  # mm, voxels of 1 mm; 3.4 at the start
    back = np.linalg.norm(registered.inverse(truth) - pair.landmarks, axis=1).mean()
    assert back < 0.8


def test_the_result_lies_on_the_fixed_grid(pair, registered) -> None:
    for image in (registered.moved, registered.moved_labels):
        assert image.grid == pair.fixed.grid and image.data.shape == pair.fixed.data.shape
    assert registered.moved.data.dtype == np.float32
    assert registered.transform.grid == pair.fixed.grid
    assert set(np.unique(registered.moved_labels.data)) <= set(
        np.unique(pair.moving_labels.data)
    ) | {0}


def test_interpolated_once_from_the_original_voxels(pair, registered) -> None:
    from scipy.ndimage import map_coordinates

    voxels = pair.moving.grid.voxels(registered.transform(pair.in_head))
    expected = map_coordinates(pair.moving.data, voxels.T, order=1, mode="nearest")
    found = registered.moved.data[pair.fixed_labels.data > 3]
    assert np.abs(found - expected).max() < 1e-4 * np.ptp(pair.moving.data)


def test_header_of_the_fixed_image_is_kept(tmp_path, pair) -> None:
    header = nib.Nifti1Image(pair.fixed.data, pair.fixed.grid.affine)
    header.set_sform(pair.fixed.grid.affine, 4)
    header.set_qform(pair.fixed.grid.affine, 1)
    nib.save(header, tmp_path / "fixed.nii.gz")
    sacbnet.register(fixed=tmp_path / "fixed.nii.gz", moving=pair.aligned, **QUICK).save(
        tmp_path / "out"
    )
    moved = nib.load(tmp_path / "out" / "moved.nii.gz")
    assert moved.shape == pair.fixed.grid.shape and moved.get_data_dtype() == np.float32
    assert (int(moved.header["sform_code"]), int(moved.header["qform_code"])) == (4, 1)
    assert np.array_equal(moved.affine, nib.load(tmp_path / "fixed.nii.gz").affine)


# -- what goes in ----------------------------------------------------------------------------------
def test_every_kind_of_source_gives_the_same(pair, files, near) -> None:
    fixed, moving = (load_image(files[name]) for name in ("fixed", "aligned"))
    sources = {
        "paths": (files["fixed"], str(files["aligned"])),
        "nibabel": (nib.load(files["fixed"]), nib.load(files["aligned"])),
        "SimpleITK": (sitk.ReadImage(str(files["fixed"])), sitk.ReadImage(str(files["aligned"]))),
        "arrays": ((fixed.data, fixed.grid.affine), (moving.data, moving.grid.affine)),
    }
    results = {
        name: sacbnet.register(fixed=fixed, moving=moving, **QUICK)
        for name, (fixed, moving) in sources.items()
    }
    for name, result in results.items():
        assert result.moved.grid.matches(pair.fixed.grid, 1e-3), name
        off = np.linalg.norm(result.transform(pair.in_head) - near.transform(pair.in_head), axis=1)
        assert off.max() < 0.01, name  # mm; headers hold single precision
    assert np.array_equal(results["paths"].moved.data, results["arrays"].moved.data)
    assert np.array_equal(results["paths"].moved.data, results["nibabel"].moved.data)


def test_inputs_are_not_changed(pair) -> None:
    fixed, moving = pair.fixed.data.copy(), pair.aligned.data.copy()
    sacbnet.register(
        fixed=(fixed, pair.fixed.grid.affine), moving=(moving, pair.aligned.grid.affine), **QUICK
    )
    assert np.array_equal(fixed, pair.fixed.data) and np.array_equal(moving, pair.aligned.data)


def test_affine_none_rigid_affine(pair, registered) -> None:
    truth = pair.true_map(pair.landmarks)
    start = np.linalg.norm(pair.landmarks - truth, axis=1).mean()
    none = sacbnet.register(
        fixed=pair.fixed, moving=pair.aligned, affine="none", weights="none", refine=0
    )
    assert np.array_equal(none.affine.matrix, np.eye(4))
    rigid = sacbnet.register(
        fixed=pair.fixed, moving=pair.moving, affine="rigid", weights="none", refine=0
    )
    turn = rigid.affine.matrix[:3, :3]
    assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-6) and np.linalg.det(turn) > 0
    assert np.linalg.norm(rigid.affine(pair.landmarks) - truth, axis=1).mean() < 0.5 * start
    full = registered.affine.matrix[:3, :3]
    assert np.abs(full.T @ full - np.eye(3)).max() > 0.05  # the true one scales by some per cent


def test_refine_0_is_the_affine_alone(pair) -> None:
    result = sacbnet.register(
        fixed=pair.fixed, moving=pair.aligned, affine="none", weights="none", refine=0
    )
    assert np.abs(result.transform.displacement_mm).max() < 1e-5
    assert np.abs(result.inverse.displacement_mm).max() < 1e-5
    assert "refine" not in result.report.seconds and result.report.options.refine == 0


def test_more_refinement_brings_more(near, pair) -> None:
    more = sacbnet.register(
        fixed=pair.fixed, moving=pair.aligned, affine="none", weights="none", refine=6
    )
    one, other = (r.report.similarity for r in (near, more))
    assert other.final.local_correlation > one.final.local_correlation + 0.005
    assert one.final.local_correlation > one.start.local_correlation + 0.01


def test_identical_images(pair) -> None:
    result = sacbnet.register(fixed=pair.fixed, moving=pair.fixed, weights="none", refine=2)
    off = np.linalg.norm(result.transform(pair.in_head) - pair.in_head, axis=1)
    assert off.mean() < 0.05 and off.max() < 0.3
    assert np.abs(result.moved.data - pair.fixed.data).mean() < 0.01 * np.ptp(pair.fixed.data)


def test_masks_decide_what_counts(pair, near) -> None:
    """A bright block outside both masks, another one in each image, changes nothing inside.

    The block lies as far from the mask as the coarsest descriptors see.
    """
    fixed, moving = pair.fixed.data.copy(), pair.aligned.data.copy()
    f_mask, m_mask = np.ones(fixed.shape, np.uint8), np.ones(moving.shape, np.uint8)
    half = np.argwhere(pair.fixed_labels.data > 0)[:, 2].max() // 2
    f_mask[:, :, :half] = 0
    lower = pair.aligned.grid.world(np.argwhere(m_mask))[:, 2] < pair.fixed.grid.centre[2] - 6
    m_mask[lower.reshape(m_mask.shape)] = 0
    without = sacbnet.register(
        fixed=pair.fixed, moving=pair.aligned, fixed_mask=(f_mask, pair.fixed.grid.affine), **QUICK
    )
    fixed[:, :, : half - 9] = fixed.max() * np.random.default_rng(0).random(
        fixed[:, :, : half - 9].shape
    )
    spoilt = sacbnet.register(
        fixed=replace(pair.fixed, data=fixed),
        moving=pair.aligned,
        fixed_mask=(f_mask, pair.fixed.grid.affine),
        **QUICK,
    )
    deep = pair.fixed.grid.world(np.argwhere(f_mask)[::5])
    off = np.linalg.norm(without.transform(deep) - spoilt.transform(deep), axis=1)
    assert off.mean() < 0.02
    both = sacbnet.register(
        fixed=pair.fixed,
        moving=pair.aligned,
        fixed_mask=(f_mask, pair.fixed.grid.affine),
        moving_mask=(m_mask, pair.aligned.grid.affine),
        **QUICK,
    )
    # they do matter
    assert np.abs(both.transform.displacement_mm - near.transform.displacement_mm).max() > 0.05
    assert (
        both.report.similarity.final.local_correlation
        > both.report.similarity.start.local_correlation
    )


@pytest.mark.parametrize("fill", ["auto", -55.5])
def test_outside_the_moving_image_is_its_background_or_what_was_chosen(pair, fill) -> None:
    """As in CT: the moving image is smaller than the fixed one, and its air is -1000."""
    f, m = pair.fixed, pair.aligned
    fixed, moving = (np.where(i.data > 0.1 * i.data.max(), i.data, -1000) for i in (f, m))
    crop = m.grid.cropped((8, 0, 0), (42, 50, 28))
    part = (moving[8:42], crop.affine)
    done = sacbnet.register(fixed=(fixed, f.grid.affine), moving=part, fill=fill, **QUICK)
    value = -1000 if fill == "auto" else fill
    world = f.grid.world(np.moveaxis(np.indices(f.grid.shape), 0, -1))
    outside = ~crop.contains(done.transform(world), 0.5 + 1e-4)
    assert 0.1 < outside.mean() < 0.9 and (done.moved.data[outside] == value).all()
    filled = done.report.filled
    assert filled.value == value and filled.voxels == pytest.approx(outside.sum(), rel=1e-3)
    again = RunReport.from_text(done.report.to_text())
    assert again.filled == filled and again.options.fill == fill


def test_fills_that_cannot_be() -> None:
    for fill in ("air", float("nan"), 1e39, None):
        with pytest.raises(InputError, match=r"fill is .* was expected"):
            sacbnet.Registrar(fill=fill, **QUICK)
    assert sacbnet.Registrar(fill="-7", **QUICK).engine.options.fill == -7.0


@pytest.mark.parametrize("name", ["fixed_mask", "moving_mask", "fixed_labels", "moving_labels"])
def test_companion_of_another_grid(pair, name) -> None:
    image = pair.fixed_labels if "fixed" in name else pair.aligned_labels
    shifted = image.grid.affine.copy()
    shifted[0, 3] += 0.1
    for data, affine, off in (
        (image.data[:-1], image.grid.affine, "shape .* instead of .*"),
        (image.data, shifted, "centre 0.1 mm off"),
    ):
        words = f"the {name.split('_')[0]} (mask|label map) array lies on another grid .*{off};"
        with pytest.raises(GridError, match=words):
            sacbnet.register(
                fixed=pair.fixed, moving=pair.aligned, **{name: (data, affine)}, **QUICK
            )


@pytest.mark.parametrize(
    "options, words",
    [
        ({"affine": "similarity"}, "affine is 'similarity'; auto, none, rigid or affine"),
        ({"preset": "best"}, "preset is 'best'; fast, balanced or accurate"),
        ({"refine": -1}, "refine is -1; a whole number of at least 0"),
        ({"spacing": 0.0}, "spacing is 0.0; a positive number of mm"),
        ({"spacing": math.nan}, "spacing is nan; a positive number of mm"),
        ({"device": "abacus"}, "device 'abacus' is not available"),
    ],
)
def test_options_that_cannot_be(pair, options, words) -> None:
    with pytest.raises(InputError, match=words):
        sacbnet.register(fixed=pair.fixed, moving=pair.aligned, **options)


def test_progress_is_told(pair) -> None:
    told: list[tuple[str, float]] = []
    sacbnet.register(
        fixed=pair.fixed, moving=pair.aligned, progress=lambda s, f: told.append((s, f)), **QUICK
    )
    stages = list(dict.fromkeys(stage for stage, _ in told))
    assert stages == ["kernels", "affine", "refine", "transform", "measure", "inverse", "resample"]
    steps = [f for stage, f in told if stage == "refine"]
    assert steps == sorted(steps) and steps[-1] == 1.0 and all(0 <= f <= 1 for _, f in told)


# -- networks --------------------------------------------------------------------------------------
@pytest.mark.parametrize("restricted", [False, True])
def test_only_a_licence_that_restricts_use_is_told(pair, tmp_path, restricted) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, network(), FACTS | {"restricted": restricted, "name": "w"})
    result = sacbnet.register(
        fixed=pair.fixed, moving=pair.aligned, affine="none", weights=str(path), refine=1
    )
    told = [sentence for sentence in result.report.warnings if "licence" in sentence]
    expected = ["the licence of the weights w restricts their use: CC0"] if restricted else []
    assert told == expected


def test_weights_end_to_end(pair, weights, tmp_path) -> None:
    """A network that moves everything a little the wrong way; refined, the result is better."""
    before = weights.read_bytes()
    result = sacbnet.register(
        fixed=pair.fixed, moving=pair.aligned, affine="none", weights=str(weights), refine=4
    )
    assert weights.read_bytes() == before
    report = result.report
    assert report.weights.sha256 == weights_hash(weights) and report.weights.licence == "CC0"
    assert report.working_grid.spacing_mm == report.working_grid.network_spacing_mm == 1.0
    assert report.seconds["network"] > 0 and report.options.refine == 4
    assert not any(
        "no network" in sentence or "licence" in sentence for sentence in report.warnings
    )
    similarity = report.similarity
    assert similarity.final.local_correlation > similarity.start.local_correlation
    result.save(tmp_path)
    assert json.loads((tmp_path / RUN).read_text())["weights"]["sha256"] == weights_hash(weights)


def test_what_the_network_saw_comes_with_the_result(pair, weights, tmp_path) -> None:
    """The maps are written on request only; run.json always has the numbers.

    The next run without the request removes the maps.
    """
    asked = {"affine": "none", "weights": str(weights), "refine": 2}
    result = sacbnet.register(
        fixed=pair.fixed, moving=pair.aligned, **asked, save=("clusters", "uncertainty")
    )
    written = result.save(tmp_path)
    maps = {name for name in written if name.startswith(("clusters", "uncertainty"))}
    assert maps == {
        f"clusters_{s}_level{n}.nii.gz" for s in ("fixed", "moving") for n in (2, 3, 4, 5)
    } | {"uncertainty_mm.nii.gz"}
    labels = load_image(written["clusters_fixed_level2.nii.gz"], "labels")
    assert labels.grid.matches(result.moved.grid, tolerance_mm=1e-3)
    inside = set(np.unique(labels.data)) - {0}
    assert (
        inside <= set(range(1, result.report.clusters["level2"]["fixed"] + 1)) and len(inside) > 1
    )
    assert 0 < load_image(written["uncertainty_mm.nii.gz"]).data.max() < 100
    again = sacbnet.register(fixed=pair.fixed, moving=pair.aligned, **asked)
    assert again.report.clusters == result.report.clusters and not maps & set(again.save(tmp_path))
    assert not list(tmp_path.glob("clusters*")) and not list(tmp_path.glob("uncertainty*"))
    none = sacbnet.register(
        fixed=pair.fixed,
        moving=pair.aligned,
        affine="none",
        weights="none",
        refine=2,
        save=("clusters",),
    )
    assert none.report.clusters == {} and any(
        "clusters" in warning for warning in none.report.warnings
    )


def test_the_default_weights_are_those_of_the_catalogue(pair) -> None:
    if default() == "none":
        pytest.skip("the catalogue names no default")
    report = sacbnet.register(fixed=pair.fixed, moving=pair.aligned, affine="none", refine=2).report
    assert report.options.weights == default() and report.weights.sha256 == find(default()).sha256
    # the head is as small as a fist: half of the spacing has as many voxels as in the training
    assert report.working_grid.network_spacing_mm == find(default()).spacing_mm / 2
    assert any("body" in note for note in report.notes)


def test_presets_say_how_much_refinement() -> None:
    named, without = Options(weights="brain.safetensors"), Options(weights="none")
    assert named.refinement == without.refinement == RefineOptions()  # balanced
    assert replace(named, preset="fast").refinement is None  # the network alone
    # something has to find the way
    assert replace(without, preset="fast").refinement.levels == (8, 4, 2)
    accurate = replace(named, preset="accurate").refinement
    assert accurate.iterations > 60 and accurate.at_full == 1.0
    for preset in ("fast", "balanced", "accurate"):
        assert replace(named, preset=preset, refine=0).refinement is None
        asked = replace(named, preset=preset, refine=7).refinement
        assert asked.iterations == 7 and asked.levels is None  # up to full resolution


def test_fast_is_the_network_without_refinement(pair, weights) -> None:
    registrar = Registrar(affine="none", weights=str(weights), preset="fast")
    account = Account()
    found = registrar.estimate(read_inputs(fixed=pair.fixed, moving=pair.aligned), account)
    assert found.options.refine == 0 and found.levels == () and "refine" not in account.seconds
    assert account.seconds["network"] > 0 and np.abs(found.transform.displacement_mm).max() > 0.01


def test_the_network_gets_moving_and_fixed_and_keeps_its_parameters(
    pair, weights, monkeypatch
) -> None:
    seen = {}

    def loaded(path, device):
        model, metadata = load_weights(path, device)
        seen["model"], seen["before"] = model, {k: v.clone() for k, v in model.state_dict().items()}
        model.register_forward_hook(
            lambda module, args, given, out: seen.update(inputs=given, out=out), with_kwargs=True
        )
        return model, metadata

    monkeypatch.setattr(parts, "load_weights", loaded)
    sacbnet.register(
        fixed=pair.fixed,
        moving=pair.aligned,
        affine="none",
        weights=str(weights),
        refine=8,
        spacing=2.0,
    )
    state = seen["model"].state_dict()
    assert all(torch.equal(state[name], value) for name, value in seen["before"].items())
    assert all(p.grad is None for p in seen["model"].parameters()) and not seen["model"].training
    head = Image(pair.fixed.data, pair.fixed.grid)
    inputs = read_inputs(fixed=head, moving=pair.aligned).canonical()
    expected = prepare(inputs, spacing=2.0).tensors(Affine(), torch.device("cpu"))
    assert torch.equal(seen["inputs"]["fixed"], expected[0])
    assert torch.equal(seen["inputs"]["moving"], expected[1])


def stated(spacing_mm: float) -> WeightsInfo:
    """What weights say that were trained at this spacing."""
    return replace(
        WeightsInfo("sacbnet", SACBNetConfig(), "CC0", "nothing", "a test", "[0, 1]"),
        spacing_mm=spacing_mm,
    )


def wrong_way(pair, vox: float):
    """A stand-in for the network that shifts everything by `vox` voxels."""

    class Shift(torch.nn.Module):
        def forward(self, moving, fixed):
            return torch.full((1, 3, *fixed.shape[2:]), vox)

    return Shift()


@pytest.mark.parametrize("vox, worse", [(0.0, False), (6.0, True), (math.nan, True)])
def test_a_network_that_makes_it_worse_is_refused(
    pair, tmp_path, weights, monkeypatch, vox, worse
) -> None:
    monkeypatch.setattr(
        parts, "load_weights", lambda path, device: (wrong_way(pair, vox), stated(1.0))
    )
    if not worse:
        sacbnet.register(
            fixed=pair.fixed,
            moving=pair.aligned,
            affine="none",
            weights=str(weights),
            preset="fast",
        ).save(tmp_path / "out")
        return
    with pytest.raises(RegistrationError, match="nothing was written"):
        sacbnet.register(
            fixed=pair.fixed,
            moving=pair.aligned,
            affine="none",
            weights=str(weights),
            preset="fast",
        ).save(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_refinement_does_not_start_from_what_is_worse_than_nothing(
    pair, weights, monkeypatch
) -> None:
    monkeypatch.setattr(
        parts, "load_weights", lambda path, device: (wrong_way(pair, 6.0), stated(2.0))
    )
    options = {"affine": "none", "spacing": 2.0, "refine": 8}
    misled = sacbnet.register(
        fixed=pair.fixed, moving=pair.aligned, weights=str(weights), **options
    )
    alone = sacbnet.register(fixed=pair.fixed, moving=pair.aligned, weights="none", **options)
    assert any("is not used" in sentence for sentence in misled.report.warnings)
    assert np.array_equal(misled.transform.displacement_mm, alone.transform.displacement_mm)


def test_weights_that_cannot_be_read(pair, tmp_path, weights) -> None:
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:5000])
    for path in (tmp_path / "none.safetensors", tmp_path / "cut.safetensors"):
        with pytest.raises(WeightsError):
            sacbnet.register(fixed=pair.fixed, moving=pair.aligned, weights=str(path))


# -- contract 5 ------------------------------------------------------------------------------------
def spoil(monkeypatch, stage: str, vox: float) -> None:
    """Let one stage return a displacement that is `vox` voxels off, or NaN."""

    def field(u: torch.Tensor) -> torch.Tensor:
        return u + vox

    if stage == "refine":
        refine = displacement.refine
        monkeypatch.setattr(displacement, "refine", lambda **k: (field(refine(**k)[0]), ()))
    elif stage == "network":
        monkeypatch.setattr(
            parts,
            "load_weights",
            lambda *a: (
                lambda moving, fixed: field(torch.zeros(1, 3, *fixed.shape[2:])),
                stated(1.0),
            ),
        )
    elif stage == "align":
        monkeypatch.setattr(initial, "align", lambda *a, **k: Affine.translation([vox, vox, 0]))
    else:
        deliver = engine.deliver
        monkeypatch.setattr(engine, "deliver", lambda u, *a: deliver(field(u[None])[0], *a))


@pytest.mark.parametrize(
    "stage, vox", [("align", 12.0), ("refine", 12.0), ("refine", math.nan), ("network", math.inf)]
)
def test_terrible_or_not_finite_is_an_error_and_no_file(
    pair, tmp_path, monkeypatch, stage, vox
) -> None:
    spoil(monkeypatch, stage, vox)
    options = {
        "weights": "spoilt" if stage == "network" else "none",
        "refine": 1 if stage == "refine" else 0,
    }
    with pytest.raises(RegistrationError, match="nothing was written"):
        sacbnet.register(fixed=pair.fixed, moving=pair.aligned, affine="none", **options).save(
            tmp_path / "out"
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stage", ["align", "deliver"])
def test_values_that_hold_a_map_cannot_hold_nan(pair, tmp_path, monkeypatch, stage) -> None:
    spoil(monkeypatch, stage, math.nan)
    with pytest.raises(SacbnetError, match="NaN or infinite"):
        sacbnet.register(
            fixed=pair.fixed, moving=pair.aligned, affine="none", weights="none", refine=0
        ).save(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# -- saving ----------------------------------------------------------------------------------------


# -- one engine ------------------------------------------------------------------------------------
def test_loaded_once_for_many_pairs(pair, weights, monkeypatch) -> None:
    """Files or arrays, in any order: the same bytes as from a registrar of its own each time."""
    loads = []
    real = parts.load_weights
    monkeypatch.setattr(parts, "load_weights", lambda *a: loads.append(a) or real(*a))
    options = {"weights": str(weights), "affine": "none", "refine": 2}
    registrar = Registrar(**options)
    there = registrar.register(fixed=pair.fixed, moving=pair.aligned)
    back = registrar.register(fixed=pair.aligned, moving=pair.fixed)
    again = registrar.register(fixed=pair.fixed, moving=pair.aligned)
    assert len(loads) == 1
    alone = register(fixed=pair.fixed, moving=pair.aligned, **options)
    for other in (again, alone):
        assert np.array_equal(there.transform.displacement_mm, other.transform.displacement_mm)
        assert np.array_equal(there.inverse.displacement_mm, other.inverse.displacement_mm)
        assert np.array_equal(there.moved.data, other.moved.data)
    assert back.fixed_grid == pair.aligned.grid and back.moving_grid == pair.fixed.grid


def test_options_are_the_keywords() -> None:
    """`Options` and the keywords of `register` and `Registrar` have the same names and types."""
    assert {f.name: f.type for f in fields(Options)} == {
        name: kind.__forward_arg__ for name, kind in RegisterOptions.__annotations__.items()
    }


def test_an_unknown_keyword_is_the_callers_mistake(pair) -> None:
    with pytest.raises(TypeError, match="stiffness"):
        register(fixed=pair.fixed, moving=pair.aligned, stiffness=3)
    with pytest.raises(TypeError):
        register(pair.fixed, pair.aligned)  # which is fixed? by keyword only


@pytest.mark.parametrize(
    ("states", "asked", "taken", "noted"),
    [
        ("none", "auto", "none", True),
        (None, "auto", "affine", False),
        ("none", "affine", "affine", False),
        ("affine", "auto", "affine", False),
    ],
)
def test_the_alignment_is_what_the_weights_need(
    pair, weights, monkeypatch, states, asked, taken, noted
) -> None:
    info = replace(stated(2.0), affine=states, name="mine")
    monkeypatch.setattr(parts, "load_weights", lambda *a: (wrong_way(pair, 0.0), info))
    monkeypatch.setattr(initial, "align", lambda f, m, kind, **k: kinds.append(kind) or Affine())
    kinds: list[str] = []
    registrar = Registrar(weights=str(weights), affine=asked, preset="fast")
    result = registrar.register(fixed=pair.fixed, moving=pair.aligned)
    assert kinds == [taken] and result.report.options.affine == taken
    assert any("mine need it" in note for note in result.report.notes) == noted


@pytest.mark.parametrize(
    ("box", "asked", "moving", "taken"),
    [
        ("whole", "auto", "same", "whole"),
        ("whole", "auto", "other", "foreground"),
        ("whole", "foreground", "same", "foreground"),
        ("foreground", "auto", "same", "foreground"),
        (None, "auto", "same", "foreground"),
        (None, "whole", "other", "whole"),
    ],
)
def test_the_box_is_the_one_of_the_training(
    pair, weights, monkeypatch, box, asked, moving, taken
) -> None:
    info = replace(stated(1.0), box=box)
    monkeypatch.setattr(parts, "load_weights", lambda *a: (wrong_way(pair, 0.0), info))
    registrar = Registrar(weights=str(weights), affine="none", preset="fast", box=asked)
    other = pair.fixed if moving == "same" else pair.aligned
    found = registrar.estimate(read_inputs(fixed=pair.fixed, moving=other))
    assert found.pair.box == found.options.box == taken
    whole = pair.fixed.grid.canonical()[0].shape
    assert (found.pair.grid.shape == whole) == (taken == "whole")


# -- another pair's folder -------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 2, 2), (7, 40, 5), (4, 4, 60)])
def test_images_of_a_few_voxels_are_refused(pair, shape) -> None:
    few = np.random.default_rng(0).random(shape).astype("f4"), np.eye(4)
    for images in ({"fixed": few, "moving": pair.moving}, {"fixed": pair.fixed, "moving": few}):
        with pytest.raises(InputError, match="too small to register; at least 8 along two axes"):
            sacbnet.register(**images, weights="none")


# -- landmarks -------------------------------------------------------------------------------------
def test_landmarks_pull_the_result_towards_them_and_are_measured(pair, registered) -> None:
    truth = pair.true_map(pair.landmarks)
    guided = sacbnet.register(
        fixed=pair.fixed,
        moving=pair.moving,
        fixed_points=pair.landmarks,
        moving_points=truth,
        weights="none",
        refine=STEPS,
    )
    missed = guided.report.landmarks
    assert missed.final.count == len(truth)
    for step, transform in {
        "start": Affine(),
        "affine": guided.affine,
        "final": guided.transform,
    }.items():
        apart = np.linalg.norm(transform(pair.landmarks) - truth, axis=1)
        assert getattr(missed, step).mean_mm == pytest.approx(apart.mean())
        assert getattr(missed, step).max_mm == pytest.approx(apart.max())
    alone = np.linalg.norm(registered.transform(pair.landmarks) - truth, axis=1)
    assert missed.final.mean_mm < 0.8 * alone.mean()
    assert guided.report.folding.folded_voxels == 0
    assert RunReport.from_text(guided.report.to_text()).landmarks == missed


def test_landmarks_without_partner_or_refinement_are_told(pair, weights) -> None:
    marks = {
        "fixed_points": Points(pair.landmarks[:3], ("a", "b", "c")),
        "moving_points": Points(pair.landmarks[:3], ("a", "b", "other")),
    }
    inputs = read_inputs(fixed=pair.fixed, moving=pair.aligned, **marks)
    account = Account()
    Registrar(affine="none", weights=str(weights), preset="fast").estimate(inputs, account)
    assert any("2 landmarks have no partner" in w and "c, other" in w for w in account.warnings)
    assert any("only measure the result" in w for w in account.warnings)
    assert len(inputs.landmarks.fixed) == 2


@pytest.mark.parametrize(
    ("marks", "told"),
    [
        ({"fixed_points": [[0, 0, 0]]}, "only the fixed image has landmarks"),
        (
            {"fixed_points": [[9e3, 0, 0]], "moving_points": [[0, 0, 0]]},
            "no landmark of the fixed image lies on",
        ),
    ],
)
def test_landmarks_that_cannot_be_used_are_refused(pair, marks, told) -> None:
    with pytest.raises(InputError, match=told):
        sacbnet.register(fixed=pair.fixed, moving=pair.aligned, **marks, **QUICK)


def test_a_metric_or_a_smoothness_needs_refinement() -> None:
    assert Options(metric="mi", smoothness=2.0).refinement.metric == "mi"
    assert Options(metric="mi", smoothness=2.0).refinement.smoothness == 2
    assert Options(preset="fast", weights="none", metric="mse").refinement.metric == "mse"
    for given in ({"metric": "mind"}, {"smoothness": 0.5}):
        for without in ({"preset": "fast"}, {"refine": 0}):
            with pytest.raises(InputError, match="refinement"):
                Options(**given, **without)
    with pytest.raises(InputError, match="lncc, mind, mi or mse"):
        Options(metric="ncc")
    with pytest.raises(InputError, match="smoothness is -1"):
        Options(smoothness=-1)
