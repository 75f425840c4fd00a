"""Results that appear whole or not at all.

A result is written under a temporary name and moved into place when everything has succeeded.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sacbnet.errors import OutputError

_LAST = "run.json"  # if it is there, every other file is beside it
PREFIX = ".sacbnet-"
_TEMPORARY = re.compile(re.escape(PREFIX) + r"[a-z0-9_]{8}")  # as tempfile.mkdtemp names them
_REMEDY = {
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "free some space and run again",
    errno.EFBIG: "the file system or a limit of the account allows no larger file",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.ENOENT: "create its folder first",
    errno.ENOTDIR: "a part of this path is a file; choose another folder",
    errno.EEXIST: "it is a file; choose another folder",
    errno.EISDIR: "it is a folder; choose another name",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the disk into an OutputError of one sentence.

    Parameters
    ----------
    path : Path
        What is being written, for the message.

    Yields
    ------
    None

    Raises
    ------
    OutputError
        For an OSError, and for a RuntimeError of SimpleITK. Other errors pass unchanged.
    """
    try:
        yield
    except OSError as error:
        remedy = _REMEDY.get(error.errno or 0, "check the path and the disk")
        raise OutputError(
            f"{path} could not be written ({error.strerror or error}): {remedy}"
        ) from error
    except RuntimeError as error:
        if "SimpleITK" not in str(error) and "sitk::" not in str(error):
            raise  # an error of the program, not of the disk
        reason = str(error).strip().splitlines()[-1]
        raise OutputError(
            f"{path} could not be written ({reason}): check the path and the free space"
        ) from error


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Write a file whole or not at all.

    The file is on the disk before it gets its name. A power cut therefore leaves the old file or
    the new file.

    Parameters
    ----------
    path : str or Path
        The file to write. Its folder must exist.

    Yields
    ------
    Path
        A temporary path in a folder beside `path`, to be written. It has the same file name, since
        nibabel and SimpleITK choose the format by the suffix. It is moved onto `path` on success
        and removed on any error.

    Raises
    ------
    OutputError
        If writing fails.
    """
    path = Path(path)
    with writing(path):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=path.parent))
        try:
            yield folder / path.name
            _sync(folder / path.name)
            os.replace(folder / path.name, path)
            _sync_folder(path.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def staged_folder(out: str | Path, stale: Iterable[str] = ()) -> Iterator[Path]:
    """Write the files of a folder all together or not at all.

    On success the files move into `out`, run.json last. On any error nothing appears, and the files
    of an earlier run stay as they were.

    Parameters
    ----------
    out : str or Path
        The folder of the results. It is made if it is absent, and removed again if the run fails.
    stale : iterable of str, default ()
        Names, relative to `out`, of results that an earlier run may have left. On success those
        that this run did not write are removed: no old result lies beside new ones.

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
    with writing(out):
        made, folder = _make_with_stage(out)
        try:
            try:
                (folder / "new").mkdir()
                yield folder / "new"
                _move(folder / "new", out, folder / "old", stale)
                for parent in [p.parent for p in made]:
                    _sync_folder(parent)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        except BaseException:
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


def _make_with_stage(out: Path) -> tuple[list[Path], Path]:
    """Make a folder and a temporary one in it.

    Another process that fails may remove the folder between the two steps, while it is empty. Once
    the temporary folder is there, nobody can.
    """
    for last in (*[False] * 99, True):
        made: list[Path] = []
        try:
            made = _make(out)
            return made, Path(tempfile.mkdtemp(prefix=PREFIX, dir=out))
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


def _move(new: Path, out: Path, old: Path, stale: Iterable[str]) -> None:
    """Move the files of `new` into `out`, all or none.

    The files that they replace, and the stale ones, move to `old`.
    """
    names = sorted(
        (p.relative_to(new) for p in new.rglob("*") if p.is_file()),
        key=lambda p: (p == Path(_LAST), p),
    )
    for name in names:
        if (out / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(out / name))
        _sync(new / name)
    leaving = sorted({*names, *map(Path, stale)}, key=lambda p: (p != Path(_LAST), p))
    done: list[tuple[Path, Path]] = []  # (from, to), to be undone backwards
    made: list[Path] = []
    try:
        # the old run.json goes first: it must not stand beside files that it does not describe
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
        _sync_folder(folder)


def _sync(file: Path) -> None:
    """Put the contents of a file on the disk.

    A file that is renamed before that may be empty after a power cut (XFS, NFS).
    """
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def _sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, if the system can open folders (Windows cannot)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(folder: str | Path) -> None:
    """Remove the temporary folders of processes that were killed while they wrote.

    Call this only if no other process writes into the folder. A temporary folder stays if its
    process was killed while it replaced the results of an earlier run: it may hold the only copy of
    them. A folder that cannot be removed also stays.

    Parameters
    ----------
    folder : str or Path
        The folder of the results.
    """
    for left in list(Path(folder).glob(f"{PREFIX}*")):
        if (
            _TEMPORARY.fullmatch(left.name)
            and left.is_dir()
            and not left.is_symlink()
            and not (left / "old").is_dir()
        ):
            shutil.rmtree(left, ignore_errors=True)
