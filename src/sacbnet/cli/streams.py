"""Standard output and error that never end a verb: full, closed, or unable to show a letter."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from typing_extensions import override

_GONE = (errno.EPIPE, errno.EBADF)  # the reader has closed it: nobody misses the rest


class _Steady(io.FileIO):
    """A file descriptor whose first error is kept, and which then takes everything."""

    error: OSError | None = None

    @override
    def write(self, data: Any, /) -> int:
        if self.error is None:
            try:
                return super().write(data) or 0
            except BlockingIOError:
                raise
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes


@contextmanager
def steady_streams() -> Iterator[Callable[[], bool]]:
    """A context in which printing raises no error.

    Letters that the terminal cannot show are printed as ``\\xNN``. What does not fit on a full disk
    is dropped, and standard error says so at the end: results are worth more than messages. Where
    the reader of a pipe has gone, the rest is dropped without a word.

    Yields
    ------
    callable () -> bool
        To be called afterwards: whether standard output was lost for another reason than a reader
        that has gone.
    """
    _open_all()
    before = sys.stdout, sys.stderr
    out: _Steady | None = None
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            stream.flush()
            steady = _Steady(stream.fileno(), "w", closefd=False)
        except (AttributeError, OSError, ValueError):  # not a true file, as under a test
            continue
        if name == "stdout":
            out = steady
        text = io.TextIOWrapper(
            io.BufferedWriter(steady),
            encoding=getattr(stream, "encoding", None) or "utf-8",
            errors="backslashreplace",
            line_buffering=name == "stderr" or steady.isatty(),
        )
        setattr(sys, name, text)

    def lost() -> bool:
        return out is not None and out.error is not None and out.error.errno not in _GONE

    try:
        yield lost
    finally:
        sys.stdout.flush()
        if lost() and out is not None and out.error is not None:
            sys.stderr.write(
                "sacbnet: error: standard output could not be written"
                f" ({out.error.strerror}); free some space and run again\n"
            )
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _open_all() -> None:
    """Open what was closed before the start, so that no file of results gets the number 1 or 2."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
