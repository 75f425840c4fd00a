"""A registration that cannot fit into the memory is refused before it begins."""

from __future__ import annotations

import re

import numpy as np
import pytest

import sacbnet
from sacbnet.errors import MemoryShortageError
from sacbnet.registration import memory
from sacbnet.registration.inputs import read_inputs
from sacbnet.registration.prepare import prepare

from ..conftest import QUICK


def test_too_little_memory_is_told_with_the_number_before_the_work(pair, monkeypatch) -> None:
    monkeypatch.setattr(memory, "memory_left", lambda: 2**26)
    stages = []
    with pytest.raises(MemoryShortageError) as error:
        sacbnet.register(
            fixed=pair.fixed,
            moving=pair.aligned,
            progress=lambda stage, _: stages.append(stage),
            **QUICK,
        )
    words = r"the memory is not enough: 0.062 GiB are left, and about (\S+) GiB are needed, for .*"
    found = re.fullmatch(words + "; use a coarser --spacing or a larger machine", str(error.value))
    assert found and len(str(error.value)) <= 300 and stages == ["kernels"]
    assert isinstance(error.value, MemoryError) and error.value.exit_code == 1
    need = float(found[1]) * 2**30
    # it is a limit, not a habit: with a little more than that the pair is registered
    monkeypatch.setattr(memory, "memory_left", lambda: 1.1 * need)
    sacbnet.register(fixed=pair.fixed, moving=pair.aligned, **QUICK)


def test_more_voxels_and_a_network_need_more(pair) -> None:
    inputs = read_inputs(fixed=pair.fixed, moving=pair.aligned).canonical()
    grids = {"fixed": inputs.fixed.grid, "moving": inputs.moving.grid}

    def need(spacing: float, network: bool, refined: bool = True, **other) -> float:
        worked = prepare(inputs, spacing=spacing)
        return memory.needed(worked, **(grids | other), network=network, refined=refined)

    plain = need(1.0, False)
    assert need(0.5, False) > plain > need(2.0, False)
    assert need(0.5, True, refined=False) > need(0.5, False, refined=False)
    wide = pair.fixed.grid.cropped((0, 0, 0), np.array(pair.fixed.grid.shape) * 4)
    assert need(1.0, False, fixed=wide) > plain + 12 * np.prod(wide.shape)
    assert need(1.0, False, moving=wide) > plain + 12 * np.prod(wide.shape)


@pytest.mark.parametrize(
    "error", [MemoryError("no more"), RuntimeError("can't allocate memory: 7 bytes")]
)
def test_memory_that_runs_out_all_the_same_is_told_with_a_number(pair, monkeypatch, error) -> None:
    def failing(*_, **__):
        raise error

    monkeypatch.setattr("sacbnet.registration.finish.invert", failing)
    with pytest.raises(MemoryShortageError, match=r"about 0\.\d+ GiB are needed beyond"):
        sacbnet.register(fixed=pair.fixed, moving=pair.aligned, **QUICK)
    error.args = ("something else",)
    expected = MemoryShortageError if isinstance(error, MemoryError) else RuntimeError
    with pytest.raises(expected):
        sacbnet.register(fixed=pair.fixed, moving=pair.aligned, **QUICK)
