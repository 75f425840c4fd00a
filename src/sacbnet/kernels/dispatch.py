"""Which form of a kernel serves: compiled on the CPU, Triton on CUDA, plain PyTorch elsewhere."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

from sacbnet.errors import InputError

from .cpu import native

plain_kernels = native.plain_kernels


def fast_storage(x: Tensor, *parameters: Tensor) -> torch.dtype | None:
    """What the compiled CPU kernels are to store their result of x as; None where they do not serve.

    They take float32 parameters, and x in float32 or bfloat16. Under autocast to bfloat16 they store that, halving
    the memory, and compute in float32 all the same.
    """
    if not native.usable(x, *parameters) or any(p.dtype != torch.float32 for p in parameters):
        return None
    if not torch.is_autocast_enabled("cpu"):
        return x.dtype
    storage = torch.get_autocast_dtype("cpu")
    return storage if storage == torch.bfloat16 else None


def triton_serves(*tensors: Tensor) -> bool:
    """Whether the Triton kernels can take these: on CUDA, at most float32, Triton installed, not switched off."""
    return (
        all(t.device.type == "cuda" and t.dtype != torch.float64 for t in tensors)
        and not native.switched_off()
        and find_spec("triton") is not None
    )


def kernels_for(device: torch.device) -> str:
    """ "compiled", "triton" or "plain": the form that serves on this device; builds the compiled one if need be."""
    if native.switched_off():
        return "plain"
    if device.type == "cuda":
        return "triton" if find_spec("triton") is not None else "plain"
    return "compiled" if device.type == "cpu" and native.library() is not None else "plain"


def pick_device(name: str) -> torch.device:
    """The device of a name; "auto" is CUDA where there is a card, else the CPU. InputError where it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"the device {name!r} is not available here; give auto, cpu or cuda"
        ) from error
    return device
