"""Results that appear whole or not at all.

A result is written under a temporary name and moved into place when everything has succeeded.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from .claim import Claim, placing
from .disk import sync, sync_folder, writing
from .staging import NAMES, NEW, OLD, staging

_LAST = "run.json"  # if it is there, every other file is beside it


@contextmanager
def atomic_file(path: str | Path, claim: Claim | None = None) -> Iterator[Path]:
    """Write a file whole or not at all.

    The file is on the disk before it gets its name. A power cut therefore leaves the old file or
    the new file.

    Parameters
    ----------
    path : str or Path
        The file to write. Its folder must exist.
    claim : Claim or None, default None
        Where it comes from the beginning of the work, a file that another process wrote since stays
        and is an error. None: it is replaced.

    Yields
    ------
    Path
        A temporary path in a folder beside `path`, to be written. It has the same file name, since
        nibabel and SimpleITK choose the format by the suffix. It is moved onto `path` on success
        and removed on any error.

    Raises
    ------
    OutputError
        If writing fails, or if another process wrote the file since the claim.
    """
    path = Path(path)
    with writing(path), staging(path.parent) as folder:
        yield folder / path.name
        sync(folder / path.name)
        with placing(path.parent) if claim is not None else nullcontext():
            if claim is not None:
                claim.check(folder / path.name)
            os.replace(folder / path.name, path)
        sync_folder(path.parent)


@contextmanager
def staged_folder(
    out: str | Path, stale: Iterable[str] = (), check: Callable[[], None] | None = None
) -> Iterator[Path]:
    """Write the files of a folder all together or not at all.

    On success the files move into `out`, run.json last. On any error nothing appears, and the files
    of an earlier run stay as they were. Only one process at a time moves files into `out`.

    Parameters
    ----------
    out : str or Path
        The folder of the results. It is made if it is absent, and removed again if the run fails.
    stale : iterable of str, default ()
        Names, relative to `out`, of results that an earlier run may have left. On success those
        that this run did not write are removed: no old result lies beside new ones.
    check : callable () or None, default None
        Called last, before the files move. It raises an error if `out` holds by then what must
        stay.

    Yields
    ------
    Path
        A temporary folder, to be filled.

    Raises
    ------
    OutputError
        If writing fails: the disk is full, the folder is not writable, or `out` is a file.
    """
    out = Path(out)
    with writing(out), ExitStack() as stack:
        made, folder = _make_with_stage(out, stack)
        try:
            (folder / NEW).mkdir()
            yield folder / NEW
            names = _ready(folder, out)
            with placing(out):
                if check is not None:
                    check()
                _move(names, folder, out, stale)
            for parent in [p.parent for p in made]:
                sync_folder(parent)
        except BaseException:
            stack.close()
            _unmake(made)
            raise


def _make(folder: Path) -> list[Path]:
    """Make a folder; return the folders that were made for it, innermost first."""
    made = [p for p in (folder, *folder.parents) if not os.path.lexists(p)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except BaseException:
        _unmake(made)
        raise
    return made


def _make_with_stage(out: Path, stack: ExitStack) -> tuple[list[Path], Path]:
    """Make a folder and a temporary one in it.

    Another process that fails may remove the folder between the two steps, while it is empty. Once
    the temporary folder is there, nobody can.
    """
    for last in (*[False] * 99, True):
        made: list[Path] = []
        try:
            made = _make(out)
            return made, stack.enter_context(staging(out))
        except FileNotFoundError:
            if last:
                raise
        except BaseException:
            _unmake(made)
            raise
    raise AssertionError


def _unmake(made: list[Path]) -> None:
    for folder in made:
        try:
            folder.rmdir()
        except OSError:  # it was never made, or it is no longer empty: it stays
            return


def _ready(stage: Path, out: Path) -> list[Path]:
    """Put the new files of a temporary folder on the disk; return their names in order."""
    new = stage / NEW
    names = sorted(
        (p.relative_to(new) for p in new.rglob("*") if p.is_file()),
        key=lambda p: (p == Path(_LAST), p),
    )
    for name in names:
        if (out / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(out / name))
        sync(new / name)
    (stage / NAMES).write_text(json.dumps([str(name) for name in names]), encoding="utf-8")
    return names


def _move(names: list[Path], stage: Path, out: Path, stale: Iterable[str]) -> None:
    """Move the new files of a temporary folder into `out`, all or none.

    The files that they replace, and the stale ones, move into the temporary folder.
    """
    new, old = stage / NEW, stage / OLD
    leaving = sorted({*names, *map(Path, stale)}, key=lambda p: (p not in names[-1:], p))
    done: list[tuple[Path, Path]] = []  # (from, to), to be undone backwards
    made: list[Path] = []
    try:
        # the last name, run.json as a rule, goes first: it must not stand beside files that it does
        # not describe
        for name in leaving:
            if (out / name).is_file():
                (old / name).parent.mkdir(parents=True, exist_ok=True)
                done.append((out / name, old / name))
                os.replace(out / name, old / name)
        for name in names:
            made = _make((out / name).parent) + made
            done.append((new / name, out / name))
            os.replace(new / name, out / name)
    except BaseException:
        for source, target in reversed(done):
            if target.exists() and not source.exists():
                os.replace(target, source)
        _unmake(made)
        raise
    for folder in {out, *((out / name).parent for name in names), *(p.parent for p in made)}:
        sync_folder(folder)
