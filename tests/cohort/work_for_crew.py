"""Work for the processes of tests/cohort/test_crew.py; they import it by name."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def double(item: tuple[int, Path | None]) -> tuple[int, int]:
    """Twice the number, and the process; killed at the first call if a path is given.

    The path is a file: absent before the first call. A path that ends in "always" kills each time.
    """
    number, path = item
    if path is not None and (path.name == "always" or not path.exists()):
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if number < 0:
        raise ValueError(f"{number} is negative")
    return 2 * number, os.getpid()
