"""When a session stops before the end of a run: at a limit of time, or after a signal."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

# SLURM sends SIGTERM, or the signal that its option --signal names
SIGNALS: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT)
if hasattr(signal, "SIGUSR1"):  # not on Windows
    SIGNALS += (signal.SIGUSR1,)
# seconds; a terminal or SLURM signals torchrun and its children alike, and torchrun signals its
# children again
SAME_SIGNAL = 3.0


class Stop:
    """A context in which signals are noted, and do not end the process.

    A second signal ends the process at once. Within 3 seconds of the first one it counts as the
    same signal.

    Parameters
    ----------
    max_minutes : float, optional
        Limit of time; None (default) means no limit.
    since : float, optional
        Time of ``time.monotonic()`` from which the limit counts; None (default) means now.

    Attributes
    ----------
    signal : int
        Number of the signal that came, or 0.
    """

    def __init__(self, max_minutes: float | None = None, since: float | None = None) -> None:
        start = time.monotonic() if since is None else since
        self.deadline = float("inf") if max_minutes is None else start + 60 * max_minutes
        self.signal = 0
        self._noted = 0.0
        self._former: dict[int, Any] = {}

    def due(self, seconds_needed: float) -> bool:
        """Tell whether to stop now.

        Parameters
        ----------
        seconds_needed : float
            Time that the next stretch of work takes.

        Returns
        -------
        bool
            Whether a signal came, or the work would pass the limit of time.
        """
        return self.signal != 0 or time.monotonic() + seconds_needed > self.deadline

    def __enter__(self) -> Stop:
        # Python lets no other thread handle signals
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal and time.monotonic() - self._noted > SAME_SIGNAL:
            raise KeyboardInterrupt
        if not self.signal:
            self.signal, self._noted = number, time.monotonic()
