"""What a run records while it works: its start, the seconds of each stage, notes and warnings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

# (stage, fraction of it that is done). An object that also has a method `expect` (str) is told how
# long the run will take, before the long stages begin.
Progress = Callable[[str, float], None]


def silent(stage: str, fraction: float) -> None:
    """Tell nobody of progress.

    Parameters
    ----------
    stage : str
        What is at hand.
    fraction : float
        How much of it is done, 0 to 1.
    """


@dataclass
class Account:
    """A run's own notebook.

    Parameters
    ----------
    progress : Progress, default silent
        Called with a stage and the fraction of it that is done, as the work goes on.
    seconds : dict[str, float], default empty
        Seconds of each stage.
    notes : list[str], default empty
        Sentences on choices that the program made.
    warnings : list[str], default empty
        Sentences on what may be wrong.
    doubts : list[str], default empty
        Those of the warnings that speak against the result.
    started : float, default now
        When the run began, seconds since the epoch.
    """

    progress: Progress = silent
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.time)

    @contextmanager
    def stage(self, name: str, told: bool = True) -> Iterator[None]:
        """Count the seconds of a block to a stage.

        Parameters
        ----------
        name : str
            The stage; of several blocks of one name the seconds add up.
        told : bool, default True
            Whether progress is called when the block begins.

        Yields
        ------
        None
        """
        if told:
            self.progress(name, 0.0)
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            self.seconds[name] = round(self.seconds.get(name, 0.0) + elapsed, 3)

    def expect(self, sentence: str) -> None:
        """Tell how long the run will take.

        Parameters
        ----------
        sentence : str
            Such as "about 40 s in all", without a full stop.
        """
        if (tell := getattr(self.progress, "expect", None)) is not None:
            tell(sentence)

    def note(self, *sentences: str) -> None:
        """Keep sentences on choices, each once.

        Parameters
        ----------
        *sentences : str
            The sentences.
        """
        self.notes += [s for s in sentences if s not in self.notes]

    def warn(self, *sentences: str) -> None:
        """Keep sentences on what may be wrong, each once.

        Parameters
        ----------
        *sentences : str
            The sentences.
        """
        self.warnings += [s for s in sentences if s not in self.warnings]

    def doubt(self, *sentences: str) -> None:
        """Keep warnings that speak against the result, each once.

        Parameters
        ----------
        *sentences : str
            The sentences.
        """
        self.warn(*sentences)
        self.doubts += [s for s in sentences if s not in self.doubts]

    def summary(self) -> dict[str, float]:
        """Sum up the seconds.

        Returns
        -------
        dict[str, float]
            Seconds of each stage, and their "total", which leaves the reading of files out.
        """
        total = sum(seconds for stage, seconds in self.seconds.items() if stage != "read")
        return self.seconds | {"total": round(total, 3)}

    def began(self) -> str:
        """Write down when the run began.

        Returns
        -------
        str
            ISO 8601 with the offset from UTC, to the second.
        """
        return datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds")
