"""Results appear whole or not at all: files are written aside and moved into place when everything has succeeded."""

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

_LAST = "run.json"  # whoever finds it finds everything else beside it
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
    """Turn what fails while `path` is written (OSError, SimpleITK's RuntimeError) into one sentence of OutputError."""
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
    """Yield a temporary path beside `path`, moved onto it on success and removed on any error.

    The temporary name ends as the final one does: nibabel and SimpleITK choose the format by the extension. Raises
    OutputError where writing fails; the folder of `path` must exist. The file is on the disk before it gets its name,
    so that a power cut leaves the old one or the new one.
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
    """Yield a temporary folder; on success its files move into `out` (run.json last), on any error nothing appears.

    out: made where it is absent, and removed again if the run fails. stale: names (relative to `out`) of results that
    an earlier run may have left; those that this run did not write are removed on success, so that no old output lies
    beside new ones. Raises OutputError where writing fails (disk full, not writable, `out` is a file); then the files
    of an earlier run are left as they were.
    """
    out = Path(out)
    with writing(out):
        made = _make(out)
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=out))
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
    """Create a folder; return those created for it, innermost first."""
    made = [p for p in (folder, *folder.parents) if not p.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except BaseException:
        _unmake(made)
        raise
    return made


def _unmake(made: list[Path]) -> None:
    for folder in made:
        try:
            folder.rmdir()
        except OSError:  # never made, or somebody has put something into it: it stays
            return


def _move(new: Path, out: Path, old: Path, stale: Iterable[str]) -> None:
    """Move the files of `new` into `out`; what they replace, and what is stale, goes to `old`. All or nothing."""
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
        # the old run.json goes first: it must not describe files that are already being replaced
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
    """Put the contents of a file on the disk: renamed before that, it may be empty after a power cut (XFS, NFS)."""
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def _sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, where the system lets folders be opened (Windows does not)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(folder: str | Path) -> None:
    """Remove what writers that were killed have left in `folder`; for whoever knows that nobody else writes there.

    Kept is the temporary folder of a `staged_folder` that was killed while it replaced an earlier run's results: it
    may hold the only copy of them. What cannot be removed stays.
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
    """OutputError where results could not be put into the folder `out`; leaves nothing behind."""
    with writing(Path(out)):
        made = _make(Path(out))
        try:
            os.rmdir(tempfile.mkdtemp(prefix=_PREFIX, dir=out))
        finally:
            _unmake(made)
