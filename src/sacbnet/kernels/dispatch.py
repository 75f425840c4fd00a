"""The choice of a kernel's form: compiled on the CPU, Triton on CUDA, plain PyTorch elsewhere."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

from sacbnet.errors import InputError

from .cpu import native

plain_kernels = native.plain_kernels


def fast_storage(x: Tensor, *parameters: Tensor) -> torch.dtype | None:
    """The type in which the compiled CPU kernels store their result.

    They take float32 parameters, and an input in float32 or bfloat16. Under autocast to bfloat16
    they store bfloat16, which halves the memory, and still compute in float32.

    Parameters
    ----------
    x : Tensor
        The input.
    *parameters : Tensor
        Weights, biases and other numbers that are used with it.

    Returns
    -------
    torch.dtype or None
        float32 or bfloat16; None where the compiled kernels cannot take these tensors.
    """
    if not native.usable(x, *parameters) or any(p.dtype != torch.float32 for p in parameters):
        return None
    if not torch.is_autocast_enabled("cpu"):
        return x.dtype
    storage = torch.get_autocast_dtype("cpu")
    return storage if storage == torch.bfloat16 else None


def triton_serves(*tensors: Tensor) -> bool:
    """Whether the Triton kernels can take these tensors.

    Parameters
    ----------
    *tensors : Tensor
        The arguments of the kernel.

    Returns
    -------
    bool
        True if all lie on CUDA in at most float32, Triton is installed, and the fast forms are not
        switched off.
    """
    return (
        all(t.device.type == "cuda" and t.dtype != torch.float64 for t in tensors)
        and not native.switched_off()
        and find_spec("triton") is not None
    )


def kernels_for(device: torch.device) -> str:
    """The form of the kernels that runs on a device.

    Parameters
    ----------
    device : torch.device
        The device.

    Returns
    -------
    str
        "triton", "plain", or "compiled" with the level of instructions: "compiled (avx2)".
    """
    if native.switched_off():
        return "plain"
    if device.type == "cuda":
        return "triton" if find_spec("triton") is not None else "plain"
    if device.type != "cpu" or native.library() is None:
        return "plain"
    return f"compiled ({native.level()})"


def pick_device(name: str) -> torch.device:
    """The device of a name.

    Parameters
    ----------
    name : str
        "auto", "cpu", "cuda" or another name that torch knows. "auto" is CUDA where there is a GPU,
        and the CPU elsewhere.

    Returns
    -------
    torch.device
        The device.

    Raises
    ------
    InputError
        If torch has no such device here, or the device has no float64. Sums over a whole image are
        computed in float64.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"the device {name!r} is not available here; give auto, cpu or cuda"
        ) from error
    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (RuntimeError, TypeError) as error:  # Apple's GPUs: TypeError
        raise InputError(
            f"the device {name!r} has no numbers of 64 bits; give auto, cpu or cuda"
        ) from error
    return device
