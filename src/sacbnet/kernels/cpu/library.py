"""A compiled file of kernels: its signatures are checked at load, and each call is checked."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sacbnet.errors import SacbnetError

from .signatures import SIGNATURES, Signature, Value, c_types

_NO_MEMORY, _FAILED = -1, -2  # as in export.h


class LibraryError(SacbnetError, RuntimeError):
    """A library lacks a kernel, or one of its kernels has other arguments than the table says."""


class _Entry(ctypes.Structure):
    """What a file exports for each kernel; as in export.h."""

    _fields_ = (
        ("types", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("reason", ctypes.CFUNCTYPE(ctypes.c_char_p)),
    )


class Library:
    """The kernels of one compiled file, each with the arguments that the table declares.

    Parameters
    ----------
    file : Path
        The shared library.
    table : mapping of str to str, default `signatures.SIGNATURES`
        Name of each kernel and its arguments, as `sacbnet.kernels.cpu.signatures` describes them.

    Raises
    ------
    OSError
        If the file cannot be loaded.
    LibraryError
        If the file lacks a kernel of the table, or a kernel has other arguments than in the table.
    """

    def __init__(self, file: Path, table: Mapping[str, str] = SIGNATURES) -> None:
        loaded = ctypes.CDLL(str(file))
        self._kernels: dict[str, tuple[Signature, Callable[..., int], Any]] = {}
        for name, declaration in table.items():
            signature = Signature(name, declaration)
            self._kernels[name] = (signature, *_bound(loaded, file, signature))

    def call(self, name: str, *arguments: Value) -> int:
        """Call a kernel, after a check of its arguments.

        Parameters
        ----------
        name : str
            A name of the table.
        *arguments : Tensor, ndarray, int, float or None
            The arguments that the table declares.

        Returns
        -------
        int
            What the kernel counted; 0 where it counts nothing.

        Raises
        ------
        KeyError
            If the table has no kernel of this name.
        TypeError, ValueError
            If an argument is not what the table declares (see `Signature.arguments`).
        MemoryError
            If the kernel found no memory for its work.
        RuntimeError
            If the kernel failed for another reason, which the message gives.
        """
        signature, function, reason = self._kernels[name]
        result = function(*signature.arguments(arguments))
        if result == _NO_MEMORY:
            raise MemoryError(
                f"the kernel {name} found no memory for its work; "
                "close other programs, or use smaller images or fewer threads"
            )
        if result == _FAILED:
            raise RuntimeError(f"the kernel {name} failed: {reason().decode(errors='replace')}")
        return int(result)


def _bound(loaded: ctypes.CDLL, file: Path, signature: Signature) -> tuple[Callable[..., int], Any]:
    """The function of a kernel, its types set, and the function that tells why it failed."""
    name = signature.kernel
    try:
        export = getattr(loaded, f"sacbnet_kernel_{name}")
    except AttributeError:
        raise LibraryError(
            f"the compiled kernels {file} have no kernel {name!r}; "
            "install sacbnet again, or run `make kernels` in a source tree"
        ) from None
    export.restype, export.argtypes = _Entry, ()
    entry = export()
    letters = entry.types.decode()
    if letters != signature.letters:
        raise LibraryError(
            f"the kernel {name} in {file} has arguments of the types {letters!r}, but "
            f"signatures.py declares {signature.letters!r} ({', '.join(signature.names)}); "
            "make the two agree, in signatures.py or in the C++ source"
        )
    return ctypes.CFUNCTYPE(ctypes.c_long, *c_types(letters))(entry.function), entry.reason
