"""Files and folders: results that appear whole or not at all, locks, and the cache folder.

A result is written under a temporary name and moved into place when everything has succeeded.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from sacbnet.errors import InputError, OutputError

_LAST = "run.json"  # if it is there, every other file is beside it
_PREFIX = ".sacbnet-"
_TEMPORARY = re.compile(re.escape(_PREFIX) + r"[a-z0-9_]{8}")  # as tempfile.mkdtemp names them
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
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=path.parent))
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
            return made, Path(tempfile.mkdtemp(prefix=_PREFIX, dir=out))
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
    for left in list(Path(folder).glob(f"{_PREFIX}*")):
        if (
            _TEMPORARY.fullmatch(left.name)
            and left.is_dir()
            and not left.is_symlink()
            and not (left / "old").is_dir()
        ):
            shutil.rmtree(left, ignore_errors=True)


def check_writable(out: str | Path) -> None:
    """Check that results can be written into a folder; leave nothing there.

    Parameters
    ----------
    out : str or Path
        The folder; it need not exist.

    Raises
    ------
    OutputError
        If it cannot be made or written.
    """
    out = Path(out)
    try:
        str(out).encode()
    except UnicodeEncodeError as error:  # SimpleITK, which writes there, knows no other names
        raise OutputError(f"{out} has a name that is not UTF-8; choose another folder") from error
    with writing(out):
        # The folder itself is not made: another process may be about to write into it, and would
        # lose it when it is removed here.
        for last in (*[False] * 99, True):
            there = next(p for p in (out, *out.parents) if os.path.lexists(p))
            if there == out and not out.is_dir() and os.path.lexists(out):
                out.mkdir()  # which fails, with the reason
            try:
                with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=there) as trial:
                    Path(trial, out.relative_to(there)).mkdir(parents=True, exist_ok=True)
                return
            except FileNotFoundError:  # another process that failed removed the folder just now
                if last:
                    raise


def keep_inputs(outputs: Iterable[str | Path], inputs: Iterable[str | Path | None]) -> None:
    """Refuse to write, before work starts, if an output would replace an input.

    Parameters
    ----------
    outputs : iterable of str or Path
        The files that will be written.
    inputs : iterable of str, Path or None
        The files that are read. None and files that do not exist are ignored.

    Raises
    ------
    OutputError
        If an output and an input are the same file, under any name: through a symbolic link, a hard
        link, or another path.
    """
    read: dict[tuple[int, int], str | Path] = {}
    for path in inputs:
        if path is not None and (number := _number(Path(path))):
            read.setdefault(number, path)
    for out in outputs:
        if (found := read.get(_number(Path(out)) or (-1, -1))) is not None:
            raise OutputError(f"{out} would replace the input {found}; choose another output")


def _number(path: Path) -> tuple[int, int] | None:
    """What the file system calls a file; None if there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


@contextmanager
def locked(file: str | Path, busy: str) -> Iterator[None]:
    """Keep other processes, and other threads of this process, out of a section.

    On a file system without locks the section runs without one.

    Parameters
    ----------
    file : str or Path
        The lock file, in a folder that exists. It stays there afterwards.
    busy : str
        The message for the user if the lock is taken.

    Yields
    ------
    None

    Raises
    ------
    InputError
        If the lock is taken. There is no waiting.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(file, blocking=False))
        except Timeout as error:
            raise InputError(busy) from error
        except (OSError, NotImplementedError):  # a file system without locks
            pass
        yield


def cache_folder() -> Path:
    """Give the folder of what can be made again, such as compiled kernels.

    The environment variable SACBNET_CACHE names another place; `sacbnet` is made in it. Else it is
    the user's cache folder, as the system defines it.

    Returns
    -------
    Path
        A folder that exists and can be written. It is a temporary folder, which ends with the
        process, if the other one cannot be written.
    """
    with suppress(OSError, RuntimeError):  # RuntimeError: the user has no home folder
        place = os.environ.get("SACBNET_CACHE")
        folder = Path(place) / "sacbnet" if place else user_cache_path("sacbnet", appauthor=False)
        for part in (*reversed(folder.parents), folder):
            # nobody else may write there: code is loaded from it
            if not part.is_dir():
                part.mkdir(mode=0o700, exist_ok=True)
        if not place:
            _close_to_others(folder)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    return temporary_folder()


def _close_to_others(folder: Path) -> None:
    """Take the right to write from the group, if the folder is the user's own.

    An earlier version made it with the usual rights, which under some accounts let the group write.
    """
    with suppress(OSError, AttributeError):  # AttributeError: Windows
        found = folder.stat()
        if found.st_uid == os.geteuid() and found.st_mode & 0o022 == 0o020:
            folder.chmod(found.st_mode & ~0o020)


def temporary_folder() -> Path:
    """Give a folder of this process, which ends with it. Only this user can read or write it.

    Returns
    -------
    Path
        The same folder at each call.
    """
    return Path(_temporary().name)


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="sacbnet-")
