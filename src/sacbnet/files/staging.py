"""Temporary folders beside results, and the sweep of those whose process was killed.

Each holds a lock of its process, which the system releases however the process ends. A folder whose
lock is free therefore belongs to nobody.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sacbnet.errors import OutputError

from .claim import placing, sweep_lock

PREFIX = ".sacbnet-"
NEW, OLD, NAMES = "new", "old", "names.json"  # of a folder of results that are being replaced
_LOCK = ".alive"
_TEMPORARY = re.compile(re.escape(PREFIX) + r"[a-z0-9_]{8}")  # as tempfile.mkdtemp names them
_ABANDONED = 24 * 3600.0  # seconds; without a lock only the age can tell
_swept: set[Path] = set()


@contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """A temporary folder that is removed at the end, or by a later run if this process is killed.

    Parameters
    ----------
    parent : Path
        The folder in which it is made. What killed processes left there is removed first, once for
        each process and folder.

    Yields
    ------
    Path
        The temporary folder. Only this user can read or write it.
    """
    if (place := parent.absolute()) not in _swept:
        _swept.add(place)
        sweep(parent)
    folder, lock = _made(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            lock.release()
            shutil.rmtree(folder, ignore_errors=True)  # Windows removes no locked file


def _made(parent: Path) -> tuple[Path, FileLock | None]:
    """A new folder, and its lock; None on a file system without locks."""
    for _ in range(100):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        lock = FileLock(folder / _LOCK, blocking=False, thread_local=False)
        try:
            lock.acquire()
        except Timeout:  # a sweep took the folder for an abandoned one
            continue
        except (OSError, NotImplementedError):
            if folder.is_dir():
                return folder, None
            continue
        if (folder / _LOCK).exists():
            return folder, lock
        lock.release()
    raise FileNotFoundError(errno.ENOENT, "temporary folders vanish at once", str(parent))


def sweep(folder: str | Path) -> None:
    """Remove the temporary folders of processes that were killed while they wrote.

    A temporary folder stays while its process lives. If the process was killed while it replaced
    the results of an earlier run, those results come back first.

    Parameters
    ----------
    folder : str or Path
        The folder of the results.
    """
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            if _TEMPORARY.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                # Timeout: its process lives; OutputError: results are moved here just now
                with suppress(OSError, NotImplementedError, OutputError):
                    _remove(Path(entry.path))
    sweep_lock(Path(folder))


def _remove(left: Path) -> None:
    if (left / _LOCK).exists():
        with FileLock(left / _LOCK, blocking=False):
            if (left / _LOCK).exists():  # else another sweep was faster
                with placing(left.parent):
                    _give_back(left)
                shutil.rmtree(left, ignore_errors=True)
        shutil.rmtree(left, ignore_errors=True)
    elif not any(left.iterdir()):
        left.rmdir()  # if its process is about to lock it, it makes another one
    elif time.time() - left.stat().st_mtime > _ABANDONED and not (left / OLD).is_dir():
        shutil.rmtree(left, ignore_errors=True)


def _give_back(left: Path) -> None:
    """Undo a replacement of results that was cut off: the earlier results return.

    The last name of the list moves out first and in last. So the results in the folder are whole if
    it is there: those of the process that was killed, or of a later one.
    """
    try:
        names = [Path(name) for name in json.loads((left / NAMES).read_text(encoding="utf-8"))]
    except (FileNotFoundError, ValueError):  # killed before it moved anything
        return
    new, old, out = left / NEW, left / OLD, left.parent
    if not names or not (new / names[-1]).is_file() or os.path.lexists(out / names[-1]):
        return
    for name in names:
        if not (new / name).is_file() and not (old / name).is_file():
            (out / name).unlink(missing_ok=True)  # it was moved in, and replaced nothing
    earlier = [p.relative_to(old) for p in old.rglob("*") if p.is_file()]
    for name in sorted(earlier, key=lambda p: (p == names[-1], p)):
        os.replace(old / name, out / name)
