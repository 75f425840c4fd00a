"""Builds the library of kernels, and finds the one that an earlier process built.

A library is machine code. Loading it gives it all rights of the user. It is therefore taken from a
folder only if nobody else can change the folder or the file, and only if its bytes are those that
were built: the file name holds their hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sacbnet.errors import OutputError
from sacbnet.files import atomic_file, cache_folder, staging, temporary_folder

LOG = logging.getLogger(__name__)
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ROOT = 0


def built(compiler: str, flags: tuple[str, ...], sources: list[Path], key: str) -> Path:
    """Give the library of kernels: the one in the cache folder, or a new one.

    A file in the cache that is damaged, or that others may have written, is never loaded. It is
    built again. If others may change the cache folder, the library is built in a temporary folder
    for this process, and one warning gives the reason.

    Parameters
    ----------
    compiler : str
        The C++ compiler.
    flags : tuple of str
        Its flags.
    sources : list of Path
        The C++ files.
    key : str
        A hash of all that the machine code depends on.

    Returns
    -------
    Path
        The library.

    Raises
    ------
    OSError, subprocess.SubprocessError
        If the library cannot be built.
    """
    folder = cache_folder()
    if reason := distrusted(folder):
        LOG.warning(
            "the cache folder %s is not used for the compiled kernels, because %s; they are"
            " compiled for this process alone. Choose a folder of your own with SACBNET_CACHE",
            folder,
            reason,
        )
        folder = temporary_folder()
    elif found := _intact(folder, key):
        return found
    try:
        return _build(compiler, flags, sources, folder, key)
    except (OSError, OutputError):
        if folder == temporary_folder():
            raise
        return _build(compiler, flags, sources, temporary_folder(), key)  # a full disk


def distrusted(path: Path) -> str:
    """Say why code must not be loaded from a file, or from a folder.

    Parameters
    ----------
    path : Path
        A file or folder. Symbolic links are followed.

    Returns
    -------
    str
        The reason, for a message; empty if nobody but this user and root can change the file or
        folder. The check includes every folder above it, since their owner could put another
        folder in its place.
    """
    if not hasattr(os, "geteuid"):
        return ""  # Windows: the user's own folders are not open to others
    me = os.geteuid()
    path = path.resolve()
    for place in (path, *path.parents):
        try:
            found = place.stat()
        except OSError as error:
            return f"{place} cannot be examined ({error.strerror})"
        allowed = (me,) if place == path else (me, _ROOT)
        if found.st_uid not in allowed:
            return f"{place} belongs to another user"
        writers = found.st_mode & _OTHERS_WRITE
        if place != path:
            if found.st_mode & stat.S_ISVTX:
                writers = 0  # the sticky bit: only the owner of an entry can replace it
            if found.st_uid == found.st_gid == me != _ROOT:
                writers &= ~stat.S_IWGRP  # many systems give each user a group of the same number
        if writers:
            return f"other users may write to {place}"
    return ""


def _intact(folder: Path, key: str) -> Path | None:
    """The library of this key whose bytes are those that were built."""
    for file in sorted(folder.glob(f"kernels-{key}-*.so")):
        with contextlib.suppress(OSError):
            if file.is_symlink() or not file.is_file() or distrusted(file):
                continue
            if file.name == _name(key, file.read_bytes()):
                return file
    return None


def _name(key: str, content: bytes) -> str:
    return f"kernels-{key}-{hashlib.sha256(content).hexdigest()[:16]}.so"


def _build(
    compiler: str, flags: tuple[str, ...], sources: list[Path], folder: Path, key: str
) -> Path:
    """Compile the sources in parallel and link them. The file appears as a whole or not at all."""
    LOG.info("compiling the kernels for this processor, once")
    with staging(folder) as place:

        def compiled(source: Path) -> str:
            target = str(place / f"{source.stem}.o")
            _run([compiler, *flags, "-c", str(source), "-o", target])
            return target

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compiled, sources))
        linked = place / "kernels.so"
        _run([compiler, *flags, "-shared", *objects, "-o", str(linked)])
        content = linked.read_bytes()
    library = folder / _name(key, content)
    with atomic_file(library) as part:
        part.write_bytes(content)
        part.chmod(0o700)  # whatever the umask: others must not write to it
    _remove_damaged(folder, key, library)
    return library


def _remove_damaged(folder: Path, key: str, library: Path) -> None:
    """Remove files of this key that are not what their name says."""
    for file in folder.glob(f"kernels-{key}*.so"):
        with contextlib.suppress(OSError):
            if file != library and (file.is_symlink() or file.is_file()):
                file.unlink()


def _run(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, check=True, text=True, timeout=600)
