"""When to stop before the end: a limit of time, or a signal."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGUSR1,
)  # SLURM sends SIGTERM, or what --signal asks for
SAME_SIGNAL = 3.0  # seconds


class Stop:
    """Within `with`, signals are noted instead of ending the process; one more, some seconds later, ends it at once.

    Within those seconds it is taken for the same one: a terminal or SLURM signals torchrun and its children alike, and
    torchrun signals the children again.

    max_minutes counts from `since` (time.monotonic(); None: now). `signal` is the number of the one that came, or 0.
    """

    def __init__(self, max_minutes: float | None = None, since: float | None = None) -> None:
        start = time.monotonic() if since is None else since
        self.deadline = float("inf") if max_minutes is None else start + 60 * max_minutes
        self.signal = 0
        self._noted = 0.0
        self._former: dict[int, Any] = {}

    def due(self, seconds_needed: float) -> bool:
        """Whether to stop now, given what the next stretch of work will take."""
        return self.signal != 0 or time.monotonic() + seconds_needed > self.deadline

    def __enter__(self) -> Stop:
        if (
            threading.current_thread() is threading.main_thread()
        ):  # Python lets no other thread handle signals
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
