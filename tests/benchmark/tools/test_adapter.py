"""Tools of other makers: how we read their transforms, and small registrations by them.

The tests look for the tools in this Python, or in the one that PEERS_PYTHON names. `make peers`
installs them in an environment of their own, and `make test` then names its Python.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from sacbnet.benchmark import method
from sacbnet.benchmark.tools.adapter import WORKER, Tool, _affine_of
from sacbnet.benchmark.tools.worker import TOOLS
from sacbnet.data.cases import Case
from sacbnet.data.subjects import Subject
from sacbnet.errors import GridError, InputError, RegistrationError
from sacbnet.evaluation.scoring import score
from sacbnet.imaging.image import Image
from sacbnet.imaging.resampling import carry
from sacbnet.io.transforms import save_affine
from sacbnet.metrics.overlap import dice
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine

PYTHON = os.environ.get("PEERS_PYTHON", sys.executable)
RAS = np.eye(4)
LAS = np.array([[-1.0, 0, 0, 70], [0, 1, 0, -6], [0, 0, 1, 4], [0, 0, 0, 1]])


def subject(name, labels, affine=RAS, data=None):
    grid = Grid(labels.shape, affine)
    image = Image((10.0 * labels if data is None else data).astype(np.float32), grid)
    return Subject(Case(name, None), image, Image(labels, grid), None)


def shifted(by):
    """A fixed subject, and a moving one whose anatomy lies `by` voxels farther along (i, j, k)."""
    of_fixed = np.zeros((24, 25, 26), np.int16)
    of_fixed[6:12, 7:13, 8:14], of_fixed[14:18, 8:16, 9:14] = 3, 300
    return subject("m", np.roll(of_fixed, by, (0, 1, 2))), subject("f", of_fixed)


def head(name, shape, affine, pose):
    """A head of four labels and its image on any grid; pose: its world -> that of the drawing."""
    p = Affine(pose)(Grid(shape, affine).world(np.moveaxis(np.indices(shape), 0, -1))) - 24.0
    labels = np.zeros(shape, np.int16)
    labels[(p**2 / [19**2, 16**2, 17**2]).sum(-1) < 1] = 7
    for label, middle, radius in ((3, (8, 2, 0), 5), (12, (-7, 3, 3), 6), (200, (1, -7, -5), 5)):
        labels[((p - middle) ** 2).sum(-1) < radius**2] = label
    image = np.select([labels == n for n in (7, 3, 12, 200)], [400.0, 900.0, 150.0, 700.0])
    return subject(name, labels, affine, image + 20 * np.sin(p).sum(-1) * (labels > 0))


def test_every_tool_can_be_named():
    assert tuple(TOOLS) == method.TOOLS


@pytest.mark.parametrize("aligned", [True, False])
def test_what_a_tool_finds_is_read_the_right_way(fake_python, aligned):
    """2 voxels along i by the field and 1 along j by the affine: moving(p + u) = fixed(p)."""
    moving, fixed = shifted((2, 0 if aligned else 1, 0))
    tool = Tool("greedy", fake_python(), 3, aligned)
    assert tool.version() == "fake-greedy 1.0"
    found = tool(fixed=fixed, moving=moving)
    assert (found.seconds, found.peak_memory_mb) == (1.5, 77.0)
    assert found.affine(np.zeros(3)).tolist() == [0, 0 if aligned else 1, 0]
    row, labels = score(fixed=fixed, moving=moving, point_map=found.transform, labels=(3, 300))
    assert (
        row["dice_nearest"] == row["dice_onehot"] == 1 and row["hd95_mm"] == 0 and len(labels) == 2
    )


def test_a_transform_that_does_not_move_the_labels_where_the_tool_does_is_refused(fake_python):
    moving, fixed = shifted((2, 0, 0))
    with pytest.raises(GridError, match="the transform of syn, as it is read here"):
        Tool("syn", fake_python(shift=-2, moves=2), 3, True)(fixed=fixed, moving=moving)


def test_a_tool_that_is_not_there_is_told(fake_python):
    python = fake_python(broken="elastix")
    with pytest.raises(
        InputError, match=r"has no elastix \(.*No module named 'it'\); install itk-elastix"
    ):
        Tool("elastix", python, 3, True).version()
    with pytest.raises(RegistrationError, match="elastix failed: ModuleNotFoundError"):
        moving, fixed = shifted((0, 0, 0))
        Tool("elastix", python, 3, True)(fixed=fixed, moving=moving)
    with pytest.raises(InputError, match="cannot be run"):
        Tool("syn", "/no/such/python", 3, True).version()


def test_affines_in_the_forms_of_the_tools(tmp_path):
    assert (_affine_of(tmp_path).matrix == np.eye(4)).all()
    pose = np.array([[1.0, 0.1, 0, 3], [0, 0.9, 0, -2], [0, 0, 1, 5], [0, 0, 0, 1]])
    save_affine(tmp_path / "affine.mat", Affine(pose))
    assert _affine_of(tmp_path).matrix == pytest.approx(pose)
    np.savetxt(tmp_path / "affine_ras.txt", pose + 0)
    assert _affine_of(tmp_path).matrix == pytest.approx(pose)


def test_the_worker_needs_nothing_of_ours(tmp_path):
    """It runs in any Python, and says what it lacks."""
    start = "import sys, runpy; sys.argv = 'w greedy --threads 1 --version'.split(); "
    code = f"{start} runpy.run_path({str(WORKER)!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (
        done.returncode
        and "No module named 'picsl_greedy'" in done.stderr
        and "sacbnet'" not in done.stderr
    )


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_registers_a_pair(name, aligned):
    tool = Tool(name, PYTHON, 1, aligned)
    try:
        assert tool.version().startswith(TOOLS[name][2])
    except InputError:
        pytest.skip(f"{PYTHON} has no {name}; `make peers` installs it")
    pose = Affine.translation([4.0, -3.0, 2.0]).matrix @ np.diag([1.06, 0.95, 1.0, 1.0])
    fixed = head("a", (40, 40, 38), RAS, np.diag([1.2, 1.2, 1.2, 1]))
    moving = head("b", (48, 50, 42), LAS @ np.diag([1.2, 1.2, 1.2, 1]), pose)
    found = tool(fixed=fixed, moving=moving)
    before = dice(
        carry(moving.labels, fixed.image, Affine(), "nearest").data, fixed.labels.data
    ).mean
    row, _ = score(fixed=fixed, moving=moving, point_map=found.transform, labels=(3, 7, 12, 200))
    assert row["dice_nearest"] > before + 0.3
    assert found.seconds > 0 and found.peak_memory_mb > 20
    assert found.transform.grid == fixed.image.grid
