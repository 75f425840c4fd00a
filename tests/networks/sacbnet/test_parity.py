"""Agreement with a recorded forward pass of the authors' published network."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
VECTORS = ROOT.parent / "shared" / "reference" / "official_vectors.npz"
SCRIPT = ROOT / "speed" / "parity.py"

pytestmark = pytest.mark.skipif(
    not VECTORS.exists(), reason="needs ../shared/reference/official_vectors.npz"
)


def run(path):
    return subprocess.run([sys.executable, SCRIPT, path], capture_output=True, text=True)


def test_every_stage_agrees():
    done = run(VECTORS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "44 stages, 0 past tolerance" in done.stdout


def test_a_difference_is_found(tmp_path):
    with np.load(VECTORS) as file:
        vectors = dict(file)
    vectors["displacement"] = vectors["displacement"] + np.float32(0.01)
    np.savez(tmp_path / "other.npz", **vectors)
    done = run(tmp_path / "other.npz")
    assert done.returncode == 1, done.stderr
    assert "1 past tolerance" in done.stdout
