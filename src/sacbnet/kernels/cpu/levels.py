"""Finds the library of kernels for this processor.

The folder `lib` holds one library for each level of instructions. They are built ahead of time: in
a wheel, or in a source tree by ``make kernels`` (CMakeLists.txt). Nothing is compiled here.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from pathlib import Path

from .library import Library, LibraryError

SOURCES = Path(__file__).parent
FOLDER = SOURCES / "lib"
VARIABLE = "SACBNET_KERNELS"
LEVELS = ("avx512", "avx2", "baseline", "neon")  # as in CMakeLists.txt
CHOICES = ("auto", "plain", *LEVELS)


def asked() -> str:
    """Give the form of the kernels that the environment variable SACBNET_KERNELS asks for.

    Returns
    -------
    str
        One of `CHOICES`; "auto" where the variable is not set.

    Raises
    ------
    LibraryError
        If the variable has another value.
    """
    value = os.environ.get(VARIABLE) or "auto"
    if value not in CHOICES:
        raise LibraryError(f"{VARIABLE} is {value!r}; it must be one of {', '.join(CHOICES)}")
    return value


def runnable(folder: Path = FOLDER) -> list[str]:
    """List the levels that this processor can run, whether or not they were built.

    Parameters
    ----------
    folder : Path
        The folder of the libraries.

    Returns
    -------
    list of str
        Names of `LEVELS`, the best one first.

    Raises
    ------
    OSError
        If no kernels were built, or the library that knows the processor cannot be loaded.
    """
    file = folder / "processor.so"
    if not file.is_file():
        raise OSError(f"none were built for this system; {remedy()}")
    function = ctypes.CDLL(str(file)).sacbnet_levels
    function.restype, function.argtypes = ctypes.c_char_p, ()
    return [level for level in function().decode().split(",") if level]


def load(level: str = "auto", folder: Path = FOLDER) -> tuple[str, Library]:
    """Load the library of a level.

    Parameters
    ----------
    level : str, default "auto"
        A name of `LEVELS`; "auto" is the best one that was built and that this processor can run.
    folder : Path
        The folder of the libraries.

    Returns
    -------
    level : str
        The level of the library.
    library : Library
        The kernels.

    Raises
    ------
    OSError
        If there is no such library, or the processor cannot run it, or it cannot be loaded, or it
        was made from other sources than those beside it.
    LibraryError
        If the library lacks a kernel, or a kernel has other arguments than `signatures` declares.
    """
    able = runnable(folder)
    built = [name for name in LEVELS if (folder / f"kernels_{name}.so").is_file()]
    found = [name for name in able if name in built and level in ("auto", name)]
    if not found:
        raise OSError(
            f"{level} was asked for, this processor can run {', '.join(able) or 'no level'}, and"
            f" {', '.join(built) or 'none'} were built; {remedy()}"
        )
    file = folder / f"kernels_{found[0]}.so"
    check_sources(ctypes.CDLL(str(file)))
    return found[0], Library(file)


def check_sources(library: ctypes.CDLL) -> None:
    """Refuse a library that was made from other sources than those beside it.

    An installation from a wheel has no sources, and nothing to check.

    Parameters
    ----------
    library : ctypes.CDLL
        The library.

    Raises
    ------
    OSError
        If the sources have changed since the library was built.
    """
    if not (now := sources_hash()):
        return
    function = library.sacbnet_sources
    function.restype, function.argtypes = ctypes.c_char_p, ()
    if function().decode() != now:
        raise OSError(f"their sources have changed since they were built; {remedy()}")


def sources_hash(folder: Path = SOURCES) -> str:
    """Hash the C++ sources of the kernels as CMakeLists.txt does.

    Parameters
    ----------
    folder : Path
        The folder of the sources.

    Returns
    -------
    str
        Hexadecimal digits of SHA-256; empty where there are no sources.
    """
    files = sorted(file for kind in ("*.cpp", "*.h") for file in folder.glob(kind))
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() + "\n" for file in files]
    return hashlib.sha256("".join(hashes).encode()).hexdigest() if files else ""


def remedy() -> str:
    """Say how to get kernels.

    Returns
    -------
    str
        Part of a sentence: what to do in a source tree, or else in an installation.
    """
    if (SOURCES / "CMakeLists.txt").is_file():
        return "run `make kernels` in the source tree"
    return "install a wheel of sacbnet for this system, or from source where g++ or clang++ is"
