"""The account of a run, as it stands in run.json (contract 5). Plain values only; docs/outputs.md explains each key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sacbnet.imaging.image import Image

FORMAT_VERSION = 1


@dataclass
class Account:
    """Collects what a run has to say while it goes on: seconds per stage and warnings."""

    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)

    def warn(self, *sentences: str) -> None:
        self.warnings += [s for s in sentences if s not in self.warnings]

    def summary(self) -> dict[str, float]:
        """Seconds per stage; the total is without reading files."""
        total = sum(seconds for stage, seconds in self.seconds.items() if stage != "read")
        return self.seconds | {"total": round(total, 3)}


def describe_image(image: Image) -> dict[str, Any]:
    return {
        "name": image.name,
        "shape": list(image.grid.shape),
        "spacing_mm": [round(float(s), 6) for s in image.grid.spacing],
        "affine_ras": image.grid.affine.tolist(),
    }
