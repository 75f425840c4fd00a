"""Builds, loads and calls the C++ kernels of this folder.

The first C++ compiler that is found compiles them once for this processor, in some seconds, into
the user's cache folder. Without a compiler, `library` gives None and the plain PyTorch forms run.
The kernels are plain C functions. They include no header of torch: that would take a minute to
compile, and would tie the result to one version of torch.

Environment variables: SACBNET_KERNELS=plain switches the kernels off; SACBNET_CACHE names the cache
folder; CXX names the compiler.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

import torch
from torch import Tensor

from sacbnet.errors import OutputError

from .build import built
from .library import Library, LibraryError
from .signatures import Value

LOG = logging.getLogger(__name__)
SOURCES = Path(__file__).parent
_NATIVE = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
FLAGS = ("-O3", _NATIVE, "-std=c++17", "-fPIC", "-fvisibility=hidden", "-pthread")
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
    """
    return _plain.get() or os.environ.get("SACBNET_KERNELS", "auto") == "plain"


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
        True if all tensors lie on the CPU in float32 or bfloat16, the kernels are compiled, and
        they are not switched off.
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


@functools.cache
def library() -> Library | None:
    """The compiled kernels, built if necessary.

    Returns
    -------
    Library or None
        None if they cannot be built or loaded. The reason is logged once.

    Raises
    ------
    LibraryError
        If a new library does not have the kernels or the arguments that `signatures` declares.
    """
    try:
        compiler = _compiler()
        sources = sorted(SOURCES.glob("*.cpp"))
        key = _fingerprint(compiler, [*sources, *SOURCES.glob("*.h")])
        return _loaded(compiler, sources, key)
    except (OSError, subprocess.SubprocessError, OutputError) as why:
        said = str(getattr(why, "stderr", None) or why).strip().splitlines() or [type(why).__name__]
        reason = next((line for line in said if "error" in line), said[0])
        LOG.warning(
            "the compiled kernels are not available (%s); the plain ones run, which are slower",
            reason,
        )
        return None


def _loaded(compiler: str, sources: list[Path], key: str) -> Library:
    """The library; a new one if that of the cache folder cannot be used.

    Its bytes may be those that were built, and still be of no use: on a machine with other system
    libraries that shares the cache, or if the file was copied from another machine.
    """
    file = built(compiler, FLAGS, sources, key)
    try:
        return Library(file)
    except (OSError, LibraryError) as why:
        LOG.warning("the compiled kernels cannot be used (%s); they are compiled again", why)
        file.unlink(missing_ok=True)
        return Library(built(compiler, FLAGS, sources, key))


def _compiler() -> str:
    """The first C++ compiler that is found."""
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and (path := shutil.which(name)):
            return path
    raise OSError("no C++ compiler was found")


def _fingerprint(compiler: str, files: list[Path]) -> str:
    """A hash of all that the machine code depends on; different machines may share one cache."""
    version = subprocess.run(
        [compiler, "--version"], capture_output=True, check=True, timeout=60
    ).stdout
    digest = hashlib.sha256(version + " ".join(FLAGS).encode() + platform.machine().encode())
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        digest.update(
            "\n".join(
                sorted({x for x in lines if x.startswith(("flags", "model name", "Features"))})
            ).encode()
        )
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


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
            f"the kernel {name} was called, but no kernels are compiled here; "
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
