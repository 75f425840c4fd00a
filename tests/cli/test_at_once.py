"""Another process writes the same output while a verb is at work: what it wrote stays."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from sacbnet.evaluation import run as scores
from sacbnet.registration.apply import Warper
from sacbnet.registration.registrar import Registrar
from sacbnet.registration.result import RUN


@pytest.fixture
def shapes(tmp_path):
    folder = tmp_path / "shapes"
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    p = np.indices((20, 22, 18)) - 9.5
    for n, radius in enumerate((6.0, 7.0)):
        ball = np.linalg.norm(p, axis=0) < radius
        for kind, data in (("images", 100 * ball + p[0]), ("labels", ball)):
            image = nib.Nifti1Image(data.astype(np.float32), np.eye(4))
            nib.save(image, folder / kind / f"case_{n}.nii.gz")
    return folder


@pytest.mark.parametrize("what", ["image", "points"])
def test_apply(sacbnet, result, files, tmp_path, monkeypatch, what) -> None:
    given, out = files["moving"], tmp_path / "out.nii.gz"
    if what == "points":
        given, out = tmp_path / "points.csv", tmp_path / "out.csv"
        given.write_text("x,y,z\n0,0,0\n")
    words = ("apply", result, f"--{what}={given}", "--onto=fixed", f"--out={out}")
    assert sacbnet(*words).code == 0
    ours = out.read_bytes()
    real = Warper.of

    def and_another(folder):
        out.write_bytes(theirs)
        return real(folder)

    monkeypatch.setattr(Warper, "of", and_another)
    theirs = b"another result"
    done = sacbnet(*words)
    assert done.code == 5 and "another process wrote" in done.sentence()
    assert out.read_bytes() == theirs
    theirs = ours
    assert sacbnet(*words).code == 0 and out.read_bytes() == ours  # the same twice is no error


def test_evaluate(sacbnet, shapes, tmp_path, monkeypatch) -> None:
    out = tmp_path / "out"
    words = ("evaluate", "--data", shapes, "--out", out, "--affine=none", "--refine=0", "--quiet")
    assert sacbnet(*words).code == 0
    assert sacbnet(*words).code == 0  # one after the other
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    real = scores.outcomes

    def and_another(*given, **named):
        (out / "summary.json").write_text("theirs")
        return real(*given, **named)

    monkeypatch.setattr(scores, "outcomes", and_another)
    done = sacbnet(*words)
    assert done.code == 5 and "another process wrote" in done.sentence()
    after = {p.name: p.read_bytes() for p in out.iterdir()}
    assert after == before | {"summary.json": b"theirs"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_register(register, result, tmp_path, monkeypatch, overwrite) -> None:
    """`result` is of another moving image."""
    out, real = tmp_path / "out", Registrar.register

    def and_another(self, **given):
        (out / RUN).parent.mkdir(exist_ok=True)
        (out / RUN).write_bytes((result / RUN).read_bytes())
        return real(self, **given)

    monkeypatch.setattr(Registrar, "register", and_another)
    done = register(*["--overwrite"] * overwrite)
    if overwrite:
        assert done.code == 0 and (out / RUN).read_bytes() != (result / RUN).read_bytes()
    else:
        assert done.code == 5 and "another pair" in done.sentence()
        assert (out / RUN).read_bytes() == (result / RUN).read_bytes()
        assert {p.name for p in out.iterdir()} == {RUN}
