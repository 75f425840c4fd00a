"""sacbnet apply, info, demo and convert-checkpoint."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from sacbnet.imaging.points import Points
from sacbnet.io.images import load_image, save_image
from sacbnet.io.points import load_points, save_points
from sacbnet.networks.sacbnet.network import SACBNet
from sacbnet.networks.weights.load import load_weights
from sacbnet.registration.result import FILES, RUN


# -- apply -----------------------------------------------------------------------------------------
def test_apply_an_image(sacbnet, result, files, registered, pair, tmp_path) -> None:
    done = sacbnet(
        "apply",
        result,
        f"--image={files['moving']}",
        "--onto=fixed",
        f"--out={tmp_path / 'a.nii.gz'}",
    )
    assert (done.code, done.out) == (0, f"written: {tmp_path / 'a.nii.gz'}\n")
    outside = registered.report.filled
    assert done.err == (
        f"note: {outside.voxels} voxels ({outside.percent:.3g} %) lie outside {files['moving']} and"
        " hold 0\n"
    )
    found = load_image(tmp_path / "a.nii.gz")
    assert found.grid.matches(pair.fixed.grid)
    assert np.abs(found.data - registered.moved.data).max() < 1e-3 * np.ptp(pair.moving.data)
    done = sacbnet(
        "apply",
        result,
        f"--image={files['fixed']}",
        "--onto=moving",
        f"--out={tmp_path / 'b.nrrd'}",
        "-q",
    )
    assert done == type(done)(0, "", "")
    assert load_image(tmp_path / "b.nrrd").grid.matches(pair.moving.grid)


@pytest.mark.parametrize("way", ["nearest", "onehot"])
def test_apply_labels(sacbnet, result, files, pair, tmp_path, way) -> None:
    out = tmp_path / "a.nii.gz"
    for side, other in (("fixed", "moving"), ("moving", "fixed")):
        labels = f"--labels={files[f'{other}_labels']}"
        done = sacbnet(
            "apply",
            result,
            labels,
            f"--onto={side}",
            f"--out={out}",
            f"--label-interpolation={way}",
        )
        assert done.code == 0
        found, expected = load_image(out, "labels"), getattr(pair, f"{side}_labels")
        assert found.data.dtype.kind in "iu" and found.grid.matches(expected.grid)
        assert (found.data == expected.data)[expected.data > 0].mean() > 0.6


def test_apply_points_there_and_back(sacbnet, result, pair, tmp_path) -> None:
    save_points(tmp_path / "fixed.csv", Points(pair.landmarks))
    for source, onto, target in (
        ("fixed.csv", "moving", "moving.mrk.json"),
        ("moving.mrk.json", "fixed", "back.csv"),
    ):
        done = sacbnet(
            "apply",
            result,
            f"--points={tmp_path / source}",
            f"--onto={onto}",
            f"--out={tmp_path / target}",
        )
        assert done.code == 0 and done.said == ""
    moving, back = (load_points(tmp_path / name).xyz for name in ("moving.mrk.json", "back.csv"))
    assert np.linalg.norm(moving - pair.true_map(pair.landmarks), axis=1).mean() < 0.8
    assert np.linalg.norm(back - pair.landmarks, axis=1).mean() < 0.1


def test_apply_tells_of_points_outside(sacbnet, result, tmp_path) -> None:
    save_points(tmp_path / "a.csv", Points(np.array([[0.0, 0, 0], [900.0, 0, 0]])))
    arguments = (
        result,
        f"--points={tmp_path / 'a.csv'}",
        "--onto=moving",
        f"--out={tmp_path / 'b.csv'}",
    )
    done = sacbnet("apply", *arguments)
    assert done.code == 0 and "1 point" in done.err and done.err.count("\n") == 1


def test_apply_on_a_reference(sacbnet, result, files, pair, tmp_path) -> None:
    fine = pair.fixed.grid.with_spacing(2.0)
    save_image(tmp_path / "grid.nii.gz", np.arange(np.prod(fine.shape)).reshape(fine.shape), fine)
    arguments = (
        f"--image={files['moving']}",
        "--onto=fixed",
        f"--reference={tmp_path / 'grid.nii.gz'}",
    )
    assert sacbnet("apply", result, *arguments, f"--out={tmp_path / 'a.nii.gz'}").code == 0
    assert load_image(tmp_path / "a.nii.gz").grid.matches(fine)


def test_apply_fills_and_tells(sacbnet, result, files, pair, tmp_path) -> None:
    wide = pair.fixed.grid.cropped((-20, 0, 0), pair.fixed.grid.shape)
    save_image(tmp_path / "zeros.nii.gz", np.zeros(wide.shape), wide)  # only its grid matters
    arguments = (
        f"--image={files['moving']}",
        "--onto=fixed",
        f"--reference={tmp_path / 'zeros.nii.gz'}",
        "--fill=-1000",
    )
    done = sacbnet("apply", result, *arguments, f"--out={tmp_path / 'a.nii.gz'}")
    found = load_image(tmp_path / "a.nii.gz").data
    assert done.code == 0 and (found == -1000).sum() > 10_000
    beyond, outside = done.err.splitlines()
    assert "mm beyond the grid of the transform; the affine part was used there" in beyond
    assert f"note: {(found == -1000).sum()} voxels" in outside and "hold -1000" in outside
    labels = f"--labels={files['moving_labels']}"
    done = sacbnet("apply", result, labels, *arguments[1:], f"--out={tmp_path / 'b.nii.gz'}")
    assert done.code == 2 and "--fill is an intensity of images" in done.sentence()
    done = sacbnet("apply", result, *arguments[:3], "--fill=air", f"--out={tmp_path / 'b.nii.gz'}")
    assert (
        done.code == 3 and "fill is 'air'; a finite number or auto was expected" in done.sentence()
    )
    assert not (tmp_path / "b.nii.gz").exists()


def test_apply_refuses(sacbnet, result, files, tmp_path) -> None:
    image, out = f"--image={files['moving']}", f"--out={tmp_path / 'a.nii.gz'}"
    (tmp_path / "file").touch()
    (tmp_path / "points.csv").write_text("a,b\n1,2\n")
    for arguments, code, words in (
        ((tmp_path / "none", image, out), 3, "is no folder"),
        ((tmp_path, image, out), 3, "holds no transform.nii.gz"),
        ((result, f"--image={tmp_path / 'none.nii'}", out), 3, "does not exist"),
        ((result, f"--labels={files['moving']}", out), 3, "not whole numbers"),
        ((result, f"--points={tmp_path / 'points.csv'}", out), 3, "no column"),
        ((result, image, f"--out={tmp_path / 'a.txt'}"), 5, "extension"),
        ((result, image, f"--out={tmp_path / 'file' / 'a.nii.gz'}"), 5, "could not be written"),
        ((result, image, f"--out={tmp_path / 'none' / 'a.nii.gz'}"), 5, "create its folder first"),
    ):
        done = sacbnet("apply", *arguments, "--onto=fixed")
        assert done.code == code and words in done.sentence(), arguments
    assert {p.name for p in tmp_path.iterdir()} == {"file", "points.csv"}


# -- info ------------------------------------------------------------------------------------------
def test_info_of_every_kind(sacbnet, result, files, tmp_path, checkpoint) -> None:
    save_points(tmp_path / "a.csv", Points(np.array([[1.0, 2, 3], [4, 5, 6]])))
    assert sacbnet("convert-checkpoint", checkpoint, tmp_path / "a.safetensors").code == 0
    for file, words in (
        (files["fixed"], ("image", "40 × 48 × 40", "1 × 1 × 1 mm", "LAS", "intensities")),
        (result / "moved_labels.nii.gz", ("image", "0 to 14")),
        (result / "transform.nii.gz", ("displacement field", "mm", "det J", "0 voxels")),
        (result / "inverse_transform.nii.gz", ("displacement field",)),
        (result / "affine.mat", ("affine transform", "volume change")),
        (tmp_path / "a.csv", ("points", "number", "2", "1.0 to 4.0")),
        (
            tmp_path / "a.safetensors",
            ("weights", "1,105,591", "sha256", "the publisher states no licence"),
        ),
        (result / RUN, ("registration", "local correlation", "folding")),
        (result, ("registration", "fixed", "no network was used", "does not fold")),
        (result, ("repeat it", "sacbnet.register(", "none (no report.html)")),
    ):
        done = sacbnet("info", file)
        assert done.code == 0 and done.err == "", file
        for word in words:
            assert word in done.out, (file, word, done.out)


def test_info_refuses(sacbnet, result, tmp_path) -> None:
    (tmp_path / "cut.nii.gz").write_bytes((result / "moved.nii.gz").read_bytes()[:5000])
    (tmp_path / "cut2.nii.gz").write_bytes((result / "transform.nii.gz").read_bytes()[:5000])
    for name in ("a.mat", "a.csv", "a.txt", RUN, "a.xyz"):
        (tmp_path / name).write_text("hello")
    (tmp_path / "a.safetensors").write_text("hello")
    for name, code in {
        **dict.fromkeys(("none.nii.gz", "none.mat", "none.csv", "cut.nii.gz", "cut2.nii.gz"), 3),
        **dict.fromkeys(("a.mat", "a.txt", "a.csv", "a.xyz", RUN, "."), 3),
        **dict.fromkeys(("a.safetensors", "none.safetensors"), 4),
    }.items():
        done = sacbnet("info", tmp_path / name)
        assert done.code == code, (name, done)
        assert done.sentence(), name


# -- demo ------------------------------------------------------------------------------------------
def test_demo(sacbnet, pair, tmp_path, monkeypatch) -> None:
    """On the small pair, and without refinement: the true one takes a minute."""
    from sacbnet.data.phantom import STRUCTURES, PhantomPair
    from sacbnet.demo import run as demo

    images = (pair.fixed, pair.fixed_labels, pair.aligned, pair.aligned_labels)
    small = PhantomPair(*images, dict(STRUCTURES), pair.true_map, pair.landmarks)
    monkeypatch.setattr(demo, "make_pair", lambda seed: small)
    monkeypatch.setattr(
        demo,
        "register",
        lambda *a, register=demo.register, **k: register(*a, **k, affine="none", refine=1),
    )
    done = sacbnet("demo", f"--out={tmp_path / 'a'}")
    assert done.code == 0 and done.said == ""
    for words in (
        "cerebellum",
        "mean",
        "error against the known warp",
        "before",
        "after",
        "folding: 0 voxels",
    ):
        assert words in done.out
    assert {p.name for p in (tmp_path / "a").iterdir()} == {*FILES, "input"}
    assert sacbnet("demo", f"--out={tmp_path / 'b'}", "--quiet") == type(done)(0, "", "")
    (tmp_path / "file").touch()
    done = sacbnet("demo", f"--out={tmp_path / 'file'}")
    assert done.code == 5 and "it is a file" in done.sentence()


# -- convert-checkpoint ----------------------------------------------------------------------------
@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """As published: {'state_dict': ...} under the authors' names, with sampling grids."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        state = SACBNet().state_dict()
    names = {f"encoder.level1.{n}.0": f"encoder.conv0.{n}.conv" for n in range(3)}
    names |= {
        f"encoder.level{s + 1}.{n}.0": f"encoder.conv{s}.{n}.conv"
        for s in range(1, 5)
        for n in (1, 2)
    }
    names |= {f"refine.{n}.0": f"conv1.{n + 1}.conv" for n in range(2)}
    names |= {
        "head.0.0": "conv1_out.1.conv",
        "head.1.0": "conv1_out.2.conv",
        "head.2": "conv1_out.3.conv",
    }
    for s in range(2, 6):
        names[f"sacb{s}.project.0"] = f"sacb_proj{s}.proj_in.conv"
        for n in (0, 2, 4):
            names[f"sacb{s}.to_taps.{n}"] = f"sacb_proj{s}.get_kernel.{n}"
            names[f"sacb{s}.to_bias.{n}"] = f"sacb_proj{s}.get_bias.{n}"
    published = {f"sacb_proj{s}.w": state[f"sacb{s}.kernel"] for s in range(2, 6)}
    published |= {
        f"{b}.{kind}": state[f"{a}.{kind}"] for a, b in names.items() for kind in ("weight", "bias")
    }
    published |= {f"transformer.{n}.grid": torch.zeros(1, 3, 2, 2, 2) for n in range(4)}
    path = tmp_path_factory.mktemp("checkpoint") / "best.pth.tar"
    torch.save({"epoch": 1, "state_dict": published}, path)
    return path


def test_a_converted_checkpoint_registers(sacbnet, register, checkpoint, tmp_path) -> None:
    weights = tmp_path / "a.safetensors"
    done = sacbnet(
        "convert-checkpoint",
        checkpoint,
        weights,
        "--licence=by letter",
        "--spacing=2",
        "--trained-on=IXI",
    )
    assert (done.code, done.err) == (0, "") and "licence: by letter" in done.out
    metadata = load_weights(weights)[1]
    assert (metadata.spacing_mm, metadata.trained_on) == (2.0, "IXI")
    done = register(f"--weights={weights}", "--refine=4")
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "out" / RUN).read_text())
    assert report["weights"]["licence"] == "by letter" and len(report["weights"]["sha256"]) == 64
    # the body is 40 mm long: at 2 mm the network would see twenty voxels of it
    assert report["working_grid"]["network_spacing_mm"] == 1.0 and "no network" not in done.out


def test_conversion_refuses(sacbnet, checkpoint, tmp_path) -> None:
    (tmp_path / "cut.pth").write_bytes(checkpoint.read_bytes()[:1000])
    torch.save({"state_dict": {"a.weight": torch.zeros(3)}}, tmp_path / "other.pth")
    (tmp_path / "file").touch()
    for source, target, code in (
        (tmp_path / "none.pth", "a.safetensors", 4),
        (tmp_path / "cut.pth", "a.safetensors", 4),
        (tmp_path / "other.pth", "a.safetensors", 4),
        (checkpoint, "file/a.safetensors", 5),
    ):
        done = sacbnet("convert-checkpoint", source, tmp_path / target)
        assert done.code == code and done.sentence(), source
    assert not (tmp_path / "a.safetensors").exists()
