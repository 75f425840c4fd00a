"""Same inputs, same bytes (contract 4); and nothing global is read or changed."""

from __future__ import annotations

import hashlib
import os
import random

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import sacbnet
from sacbnet.registration.result import AFFINE, INVERSE, MOVED, MOVED_LABELS, TRANSFORM

from ..conftest import QUICK


def digests(folder) -> dict[str, str]:
    names = (MOVED, MOVED_LABELS, TRANSFORM, INVERSE, AFFINE)
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def test_two_processes_same_bytes(commands) -> None:
    one, other = (digests(command.out) for command in commands)
    assert one == other


def test_again_in_the_same_process(pair, near) -> None:
    """With the global generators in another state."""
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002
    torch.manual_seed(7)
    again = sacbnet.register(fixed=pair.fixed, moving=pair.aligned, **QUICK)
    for name in ("transform", "inverse"):
        one, other = getattr(near, name), getattr(again, name)
        assert (
            one.grid == other.grid
            and one.displacement_mm.tobytes() == other.displacement_mm.tobytes()
        )
    assert again.moved.data.tobytes() == near.moved.data.tobytes()


def global_state() -> dict[str, object]:
    return {
        "random": random.getstate(),
        "numpy": [str(part) for part in np.random.get_state()],  # noqa: NPY002
        "torch": torch.get_rng_state().tolist(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch settings": (
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
            torch.backends.mkldnn.enabled if hasattr(torch.backends.mkldnn, "enabled") else None,
            torch.get_float32_matmul_precision(),
        ),
        "ITK threads": sitk.ProcessObject.GetGlobalDefaultNumberOfThreads(),
        "ITK threader": sitk.ProcessObject.GetGlobalDefaultThreader(),
        "ITK warnings": sitk.ProcessObject.GetGlobalWarningDisplay(),
        "ITK debug": sitk.ProcessObject.GetGlobalDefaultDebug(),
        "numpy errors": np.geterr(),
        "cwd": os.getcwd(),
        "environment": dict(os.environ) | {"PYTEST_CURRENT_TEST": ""},
    }


@pytest.mark.parametrize("options", [QUICK, {"weights": "none", "affine": "rigid", "refine": 0}])
def test_nothing_global_is_touched(pair, near, tmp_path, options) -> None:
    """After a first registration (`near`): the first optimiser makes torch set a variable."""
    random.seed(5)
    before = global_state()
    result = sacbnet.register(
        fixed=pair.fixed, moving=pair.aligned, moving_labels=pair.aligned_labels, **options
    )
    result.save(tmp_path)
    sacbnet.Warper.of(tmp_path).image(pair.aligned, "fixed")
    after = global_state()
    for name, value in before.items():
        assert after[name] == value, name
