"""What is there is protected: outputs are tried before work starts, inputs stay, locks hold."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sacbnet.errors import InputError, OutputError

from .disk import writing
from .staging import staging


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
                with staging(there) as trial:
                    (trial / out.relative_to(there)).mkdir(parents=True, exist_ok=True)
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
