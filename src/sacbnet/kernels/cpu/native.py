"""Builds, loads and calls the C++ kernels of this folder.

They are compiled once for the processor at hand (some seconds) by the first C++ compiler found, into the user's cache
folder; where there is none, `library()` is None and the plain PyTorch forms serve. They are plain C functions: no
torch header is compiled, which would take a minute and tie the result to one version of torch.

Environment: SACBNET_KERNELS=plain never compiles; SACBNET_CACHE names the cache folder; CXX the compiler.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LOG = logging.getLogger(__name__)
SOURCES = Path(__file__).parent
_NATIVE = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
FLAGS = ("-O3", _NATIVE, "-std=c++17", "-fPIC", "-fvisibility=hidden", "-pthread")
_plain: ContextVar[bool] = ContextVar("plain", default=False)


@contextlib.contextmanager
def plain_kernels() -> Iterator[None]:
    """Within it the plain PyTorch forms are used, whatever is compiled: what the fast ones are compared with."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def switched_off() -> bool:
    """Whether the plain forms are asked for."""
    return _plain.get() or os.environ.get("SACBNET_KERNELS", "auto") == "plain"


def usable(*tensors: Tensor | None) -> bool:
    """Whether the compiled kernels can take these: on the CPU, float32 or bfloat16, compiled and not switched off.

    Under torch.compile the plain forms are traced instead: there is no memory yet to point at.
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
def library() -> ctypes.CDLL | None:
    """The compiled kernels, built if need be; None where they cannot be (the reason is logged once)."""
    try:
        compiler = _compiler()
        sources = sorted(SOURCES.glob("*.cpp"))
        file = _cache() / f"kernels-{_fingerprint(compiler, [*sources, *SOURCES.glob('*.h')])}.so"
        if not file.exists():
            _build(compiler, sources, file)
        return ctypes.CDLL(str(file))
    except (OSError, subprocess.SubprocessError) as why:
        said = str(getattr(why, "stderr", None) or why).strip().splitlines() or [type(why).__name__]
        reason = next((line for line in said if "error" in line), said[0])
        LOG.warning(
            "the compiled kernels are not to be had (%s); the plain ones are used, which are slower",
            reason,
        )
        return None


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and (path := shutil.which(name)):
            return path
    raise OSError("no C++ compiler was found")


def _cache() -> Path:
    """The user's cache folder, or one that ends with the process if that cannot be written."""
    home = (
        os.environ.get("SACBNET_CACHE")
        or os.environ.get("XDG_CACHE_HOME")
        or Path.home() / ".cache"
    )
    folder = Path(home) / "sacbnet"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(_temporary().name)


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="sacbnet-")


def _fingerprint(compiler: str, files: list[Path]) -> str:
    """Of all that the machine code depends on: one cache may be shared by unlike machines."""
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


def _build(compiler: str, sources: list[Path], to: Path) -> None:
    LOG.info("compiling the kernels for this processor, once")
    with tempfile.TemporaryDirectory(dir=to.parent) as folder:

        def compiled(source: Path) -> str:
            target = str(Path(folder, source.stem + ".o"))
            _run([compiler, *FLAGS, "-c", str(source), "-o", target])
            return target

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compiled, sources))
        linked = Path(folder, to.name)
        _run([compiler, *FLAGS, "-shared", *objects, "-o", str(linked)])
        linked.replace(to)  # whole or not at all, also when two processes build at once


def _run(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, check=True, text=True, timeout=600)


Argument = Tensor | NDArray[np.generic] | int | float | None


def call(name: str, *arguments: Argument) -> int:
    """Call a kernel: tensors and dense arrays as pointers (None as null), whole numbers as long, others as double."""
    kernels = library()
    assert kernels is not None, "callers ask usable() first"
    function = getattr(kernels, name)
    function.restype = ctypes.c_long
    return int(function(*map(_as_c, arguments)))


def _as_c(value: Argument) -> ctypes.c_void_p | ctypes.c_long | ctypes.c_double:
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, np.ndarray):
        return ctypes.c_void_p(value.ctypes.data)
    if value is None:
        return ctypes.c_void_p(None)
    return ctypes.c_long(int(value)) if isinstance(value, int) else ctypes.c_double(value)


def channels_last(x: Tensor) -> Tensor:
    """x (b, c, i, j, k) with its channels side by side in memory, as the kernels read it."""
    return x.contiguous(memory_format=torch.channels_last_3d)
