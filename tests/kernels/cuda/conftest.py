"""The Triton kernels: on a GPU where there is one, else in Triton's interpreter.

The interpreter is slow, so the volumes are tiny. Triton decides whether to interpret when it and
the kernels are imported. So the decision falls here, when the tests are collected, and the
environment is put back for the processes that other tests start.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

CUDA = torch.cuda.is_available()


def _import() -> str | None:
    """Why the kernels cannot run here, if they cannot."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if not CUDA and "triton" in sys.modules and not sys.modules["triton"].knobs.runtime.interpret:
        return "no GPU, and Triton was imported before it could be told to interpret"
    with pytest.MonkeyPatch.context() as patch:
        if not CUDA:
            patch.setitem(os.environ, "TRITON_INTERPRET", "1")
        for name in ("adaptive_conv", "kmeans", "matching", "mixed_conv"):
            importlib.import_module(f"sacbnet.kernels.cuda.{name}")
    return None


WHY_NOT = _import()


def _set_up_interpreter(patch: pytest.MonkeyPatch) -> None:
    from triton.runtime import interpreter

    patch.setenv("TRITON_INTERPRET", "1")
    # the check of every sum of integers for overflow takes half of the time, and tiny volumes have
    # no overflow
    builder = interpreter.interpreter_builder
    patch.setattr(builder, "options", replace(builder.options, sanitize_overflow=False))
    dot = interpreter.InterpreterBuilder.create_dot

    def widened(x: Any) -> Any:
        """Widen bfloat16, whose bits the interpreter would multiply as integers, to float32."""
        if x.dtype.scalar != interpreter.tl.bfloat16:
            return x
        return interpreter.TensorHandle(
            (x.data.astype(np.uint32) << 16).view(np.float32), interpreter.tl.float32
        )

    def exact_dot(self: Any, a: Any, b: Any, *others: Any) -> Any:
        return dot(self, widened(a), widened(b), *others)

    patch.setattr(interpreter.InterpreterBuilder, "create_dot", exact_dot)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where to test. Float32 is multiplied as float32: TF32 does not agree to five digits."""
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    if not CUDA:
        _set_up_interpreter(monkeypatch)
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield "cuda" if CUDA else "cpu"
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def outcome(function: Callable[..., Tensor], arguments: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The output, and the gradients of all arguments but labels, by name.

    The gradient of the output is always the same.
    """
    inputs = {
        name: t.detach().requires_grad_(t.is_floating_point()) for name, t in arguments.items()
    }
    y = function(*inputs.values())
    y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y))
    return {"output": y.detach()} | {name: t.grad for name, t in inputs.items() if t.requires_grad}


def assert_alike(
    found: Mapping[Any, Tensor], expected: Mapping[Any, Tensor], tolerance: float
) -> None:
    """As a whole and in each value, relative to what is expected."""
    for name, e in expected.items():
        f, e = found[name].double(), e.double()
        assert f.shape == e.shape, name
        assert torch.linalg.vector_norm(f - e) <= tolerance * torch.linalg.vector_norm(e), name
        assert (f - e).abs().max() <= tolerance * e.abs().max(), name


@pytest.fixture
def conv_module(device: str) -> ModuleType:
    return sys.modules["sacbnet.kernels.cuda.adaptive_conv"]


@pytest.fixture
def mixed_module(device: str) -> ModuleType:
    return sys.modules["sacbnet.kernels.cuda.mixed_conv"]


@pytest.fixture
def match_module(device: str) -> ModuleType:
    return sys.modules["sacbnet.kernels.cuda.matching"]
