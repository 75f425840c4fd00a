"""Several processes with results for one place: one at a time, and none replaces another unseen."""

from __future__ import annotations

import filecmp
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from sacbnet.errors import OutputError

LOCK = ".sacbnet-lock"
_PATIENCE = 60.0  # seconds; files are renamed in less than one


@contextmanager
def placing(folder: Path) -> Iterator[None]:
    """Keep others from moving results into a folder, while this process or thread does.

    The lock file is there only as long as somebody holds it. On a file system without locks the
    section runs without one.

    Parameters
    ----------
    folder : Path
        The folder, which exists.

    Yields
    ------
    None

    Raises
    ------
    OutputError
        If another process holds the lock for a minute.
    """
    lock = FileLock(folder / LOCK, timeout=_PATIENCE, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise OutputError(
            f"another process has been writing its results into {folder} for"
            f" {_PATIENCE:.0f} seconds; wait for it, or choose another --out"
        ) from error
    except (OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        # removed while it is held: whoever waits for it takes a new file (filelock sees to that)
        with suppress(OSError):
            (folder / LOCK).unlink()
        lock.release()
        with suppress(OSError):  # Windows removes no file that is open
            (folder / LOCK).unlink()


def sweep_lock(folder: Path) -> None:
    """Remove the lock file of a process that was killed while it held it.

    Parameters
    ----------
    folder : Path
        The folder of the results.
    """
    with suppress(OSError, NotImplementedError):  # Timeout: somebody holds it
        if (folder / LOCK).is_file():
            with FileLock(folder / LOCK, blocking=False):
                (folder / LOCK).unlink()


@dataclass(frozen=True)
class Claim:
    """A result that is being made, and what stood in its place when the work on it began.

    Parameters
    ----------
    path : Path
        The file of the result.
    before : tuple of int, or None
        What tells the file that stood there from others; None: there was none.
    """

    path: Path
    before: tuple[int, ...] | None

    @classmethod
    def of(cls, path: str | Path) -> Claim:
        """Begin the work on a result.

        Parameters
        ----------
        path : str or Path
            The file of the result. What stands there now may be replaced.

        Returns
        -------
        Claim
            The claim, for the end of the work.
        """
        return cls(Path(path), _state(Path(path)))

    def check(self, new: Path | None = None) -> None:
        """Refuse to replace what another process has written since the work began.

        Parameters
        ----------
        new : Path or None, default None
            The new file. It may replace a file of the same bytes.

        Raises
        ------
        OutputError
            If the file is another one now.
        """
        now = _state(self.path)
        if now in (None, self.before):
            return
        if new is not None and filecmp.cmp(new, self.path, shallow=False):
            return
        raise OutputError(
            f"another process wrote {self.path} while this result was being made; it stays, and"
            " this result is not written: choose another --out"
        )


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
