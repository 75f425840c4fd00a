"""Loads and calls the C++ kernels of this folder.

They are compiled ahead of time (CMakeLists.txt), one library for each level of instructions, and
`levels` chooses among them. Where there is none, `library` gives None and the plain PyTorch forms
run. The kernels are plain C functions. They include no header of torch, which would tie the result
to one version of torch.

The environment variable SACBNET_KERNELS=plain switches the kernels off; a name of `levels.LEVELS`
forces this level.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator
from contextvars import ContextVar

import torch
from torch import Tensor

from . import levels
from .library import Library, LibraryError
from .signatures import Value

LOG = logging.getLogger(__name__)
_plain: ContextVar[bool] = ContextVar("plain", default=False)


@contextlib.contextmanager
def plain_kernels() -> Iterator[None]:
    """A context in which the plain PyTorch forms run, also where kernels are compiled.

    The fast forms are compared with them.

    Yields
    ------
    None
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def switched_off() -> bool:
    """Whether the plain forms are requested, by `plain_kernels` or by the environment.

    Returns
    -------
    bool
        True if they are.

    Raises
    ------
    LibraryError
        If SACBNET_KERNELS has an unknown value.
    """
    return _plain.get() or levels.asked() == "plain"


def usable(*tensors: Tensor | None) -> bool:
    """Whether the compiled kernels can take these tensors.

    Under ``torch.compile`` they cannot: the plain forms are traced, because tensors have no memory
    yet.

    Parameters
    ----------
    *tensors : Tensor or None
        The arguments of a kernel. None is ignored.

    Returns
    -------
    bool
        True if all tensors lie on the CPU in float32 or bfloat16, there are compiled
        kernels, and they are not switched off.
    """
    if (
        switched_off()
        or torch.compiler.is_compiling()
        or any(
            t is not None
            and (t.device.type != "cpu" or t.dtype not in (torch.float32, torch.bfloat16))
            for t in tensors
        )
    ):
        return False
    return library() is not None


def library() -> Library | None:
    """The compiled kernels for this processor.

    Returns
    -------
    Library or None
        None if there are none here. The reason is logged once.

    Raises
    ------
    LibraryError
        If SACBNET_KERNELS has an unknown value or names a level that cannot be had here; or if the
        library does not have the kernels or the arguments that `signatures` declares.
    """
    return _loaded()[1]


def level() -> str:
    """The level of instructions that the compiled kernels use.

    Returns
    -------
    str
        A name of `levels.LEVELS`; empty if there are no compiled kernels here.
    """
    return _loaded()[0]


@functools.cache
def _loaded() -> tuple[str, Library | None]:
    wanted = levels.asked()
    forced = wanted in levels.LEVELS
    try:
        return levels.load(wanted if forced else "auto")
    except OSError as why:
        if forced:
            raise LibraryError(
                f"{levels.VARIABLE} is {wanted}, but these kernels cannot be used: {why}"
            ) from why
        LOG.warning(
            "the compiled kernels cannot be used (%s); the plain forms run, which are slower", why
        )
        return "", None


def call(name: str, *arguments: Value) -> int:
    """Call a compiled kernel, for callers to whom `usable` said yes.

    Parameters
    ----------
    name : str
        A name of `signatures.SIGNATURES`.
    *arguments : Tensor, ndarray, int, float or None
        The arguments that the table declares for it.

    Returns
    -------
    int
        What the kernel counted; 0 where it counts nothing.

    Raises
    ------
    TypeError
        If the number of arguments, or the type or device of one, is not what the table declares.
    ValueError
        If an array is not dense in the layout that the kernel reads.
    MemoryError
        If the kernel found no memory for its work.
    RuntimeError
        If the kernel failed for another reason, or there are no compiled kernels.
    """
    kernels = library()
    if kernels is None:
        raise RuntimeError(
            f"the kernel {name} was called, but there are no compiled kernels here; "
            "ask native.usable() first, and use the plain form where it says no"
        )
    return kernels.call(name, *arguments)


def channels_last(x: Tensor) -> Tensor:
    """A volume with its channels side by side in memory, as the kernels read it.

    Parameters
    ----------
    x : Tensor, shape (b, c, i, j, k)
        The volume.

    Returns
    -------
    Tensor, shape (b, c, i, j, k)
        The same values; x itself if it already has this layout.
    """
    return x.contiguous(memory_format=torch.channels_last_3d)
