"""What verbs over many pairs share: their workers, and the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

import typer

WORKERS = "Workers"
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Worker processes on this machine. Default: one for each GPU; without a GPU one for"
        " every four cores, as far as the memory goes. One worker: this process itself.",
        rich_help_panel=WORKERS,
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Use the workers of a scheduler of Dask that runs already, such as tcp://host:8786.",
        rich_help_panel=WORKERS,
    ),
]


def gpus_of(device: str) -> int:
    """Count the GPUs that a device stands for."""
    if device not in ("auto", "cuda"):
        return 1 if device.startswith("cuda") else 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def with_time_left(progress: Callable[[str, float], None]) -> Callable[[str, float], None]:
    """Add to each name the time that the rest will take, by the pace so far."""
    began = time.monotonic()

    def tell(name: str, fraction: float) -> None:
        told = name
        if 0 < fraction < 1:
            seconds = (time.monotonic() - began) * (1 - fraction) / fraction
            told = f"{name} ({fraction:.0%}, about {duration(seconds)} left)"
        progress(told, fraction)

    return tell


def duration(seconds: float) -> str:
    """Give a time in words of one unit."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
