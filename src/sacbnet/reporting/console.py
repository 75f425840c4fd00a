"""What the verbs print: progress on stderr, results on stdout, the same lines into a log file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import IO, TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from sacbnet.files import writing

from .rows import step_rows

if TYPE_CHECKING:
    from sacbnet.registration.report import RunReport

Tell = Callable[[str, float], None]  # (stage, fraction of it that is done)
_SMALLEST = 0.02  # change of a fraction that a notebook shows
PACE = 10.0  # seconds between two lines about many cases
STAGES = {
    "kernels": "loading the kernels",
    "affine": "affine alignment",
    "network": "network",
    "refine": "refinement",
    "transform": "composing the transform",
    "measure": "measuring",
    "inverse": "inverting",
    "resample": "resampling",
    "maps": "making maps",
    "write": "writing",
}


@dataclass(frozen=True)
class Teller:
    """Somebody who is told of progress.

    Parameters
    ----------
    stage : callable (str, float)
        Called with a stage and the fraction that is done.
    expect : callable (str)
        Called with a sentence on how long the work will take.
    """

    stage: Tell
    expect: Callable[[str], None]

    def __call__(self, stage: str, fraction: float) -> None:
        """Tell of a stage and the fraction that is done."""
        self.stage(stage, fraction)


@contextmanager
def progress_bar(
    quiet: bool = False,
    *,
    of_all: bool = False,
    verbose: bool = False,
    log: Path | None = None,
) -> Iterator[Teller]:
    """Show progress while a block lasts.

    In a notebook a bar stands below the cell. On a terminal a line on stderr is kept up to date.
    Elsewhere (a log of a batch system), and where `verbose` asks for it, every stage gets a line of
    its own with its seconds.

    Parameters
    ----------
    quiet : bool, default False
        Show nothing; the log file is written all the same.
    of_all : bool, default False
        Whether the fraction is that of all the work, the stage being what is at hand (the name of
        a case); otherwise each stage starts anew.
    verbose : bool, default False
        Lines instead of the bar, and the library's own messages.
    log : Path or None, default None
        A file to which the same lines are added, each with its time.

    Yields
    ------
    callable (str, float)
        To be called with a stage and the fraction that is done; to be given to `sacbnet.register`
        as ``progress``.

    Raises
    ------
    OutputError
        If the log file cannot be opened.

    Examples
    --------
    >>> import sacbnet
    >>> def registered(fixed, moving):
    ...     with sacbnet.progress_bar() as progress:
    ...         return sacbnet.register(fixed=fixed, moving=moving, progress=progress)
    """
    console = Console(stderr=True, highlight=False)
    with ExitStack() as stack:
        tellers: list[Teller] = []
        if log is not None:
            with writing(log):
                file = stack.enter_context(log.open("a", encoding="utf-8"))
            tellers.append(stack.enter_context(_lines(_into(file), of_all, PACE)))
            stack.enter_context(_messages(_into(file), logging.DEBUG))
        if not quiet and not verbose and console.is_jupyter:
            tellers.append(notebook_bar(of_all))
        elif not quiet and (verbose or not console.is_terminal):
            pace = 0.0 if verbose else PACE
            tellers.append(stack.enter_context(_lines(_onto(console), of_all, pace)))
            if verbose:
                stack.enter_context(_messages(_onto(console), logging.INFO))
        elif not quiet:
            tellers.append(stack.enter_context(_bar(console, of_all)))

        def tell(stage: str, fraction: float) -> None:
            for teller in tellers:
                teller(stage, fraction)

        def expect(sentence: str) -> None:
            for teller in tellers:
                teller.expect(sentence)

        yield Teller(tell, expect)


@contextmanager
def _bar(console: Console, of_all: bool) -> Iterator[Teller]:
    clock = TimeRemainingColumn() if of_all else TimeElapsedColumn()
    text = TextColumn("{task.description}", markup=False)
    with Progress(
        SpinnerColumn(), text, BarColumn(), clock, console=console, transient=True
    ) as bar:
        task = bar.add_task("reading", total=1.0 if of_all else None)
        now = expected = ""

        def expect(sentence: str) -> None:
            nonlocal expected
            expected = f"; {sentence}"

        def tell(stage: str, fraction: float) -> None:
            nonlocal now, task
            if of_all:
                bar.update(task, description=stage)
            elif stage != now:
                now = stage
                bar.remove_task(task)  # resetting it would keep the total of the stage before
                total = 1.0 if stage == "refine" else None
                task = bar.add_task(STAGES.get(stage, stage) + expected, total=total)
            bar.update(task, completed=fraction)

        yield Teller(tell, expect)


@contextmanager
def _lines(write: Callable[[str], None], of_all: bool, pace: float) -> Iterator[Teller]:
    """A line for each stage once it is done, with the seconds since the start and its own.

    Of many cases only those have a line that end `pace` seconds after the last line.
    """
    start = began = time.monotonic()
    last = start
    now = "" if of_all else "reading"

    def close() -> None:
        nonlocal last
        end = time.monotonic()
        if now and (not of_all or end - last >= pace):
            last = end
            write(f"{end - start:8.1f} s  {STAGES.get(now, now)} ({end - began:.1f} s)")

    def tell(stage: str, fraction: float) -> None:
        nonlocal now, began
        if stage != now:
            close()
            now, began = stage, time.monotonic()

    def expect(sentence: str) -> None:
        write(f"{time.monotonic() - start:8.1f} s  {sentence}")

    yield Teller(tell, expect)
    close()


def notebook_bar(of_all: bool = False) -> Teller:
    """Show a bar below the cell of a notebook.

    Parameters
    ----------
    of_all : bool, default False
        As of `progress_bar`.

    Returns
    -------
    Teller
        Keeps the bar up to date. IPython is enough; it needs no widgets.
    """
    from IPython.display import HTML, display

    handle = display(HTML(""), display_id=True)
    began, expected, last = time.monotonic(), "", ("", -1.0)

    def expect(sentence: str) -> None:
        nonlocal expected
        expected = f"; {sentence}"

    def tell(stage: str, fraction: float) -> None:
        nonlocal last
        if stage == last[0] and fraction - last[1] < _SMALLEST and fraction < 1:
            return
        last = stage, fraction
        words = f"{STAGES.get(stage, stage)}, {time.monotonic() - began:.0f} s{expected}"
        known = of_all or stage == "refine"
        value = f' value="{fraction:.3f}"' if known else ""  # without a value it moves to and fro
        bar = f'<progress max="1"{value} style="width:12em"></progress>'
        handle.update(HTML(f"<div>{bar} {escape(words)}</div>"))

    return Teller(tell, expect)


def _into(file: IO[str]) -> Callable[[str], None]:
    def write(line: str) -> None:
        file.write(f"{datetime.now(UTC).astimezone().isoformat(timespec='seconds')} {line}\n")
        file.flush()

    return write


def _onto(console: Console) -> Callable[[str], None]:
    return lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _messages(write: Callable[[str], None], level: int) -> Iterator[None]:
    """Show what the library logs, while a block lasts."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            write(f"{record.name}: {record.getMessage()}")

    logger, handler = logging.getLogger("sacbnet"), Handler(level)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(level, before or level))
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def registration_table(report: RunReport) -> Table:
    """Tabulate likeness, and Dice and landmarks where they were given, at the three steps.

    Parameters
    ----------
    report : RunReport
        The account of a registration.

    Returns
    -------
    Table
        Columns for the start, the affine and the final step.
    """
    table = Table(title=None, show_edge=False, pad_edge=False)
    table.add_column("")
    for step in ("start", "affine", "final"):
        table.add_column(step, justify="right")
    for name, values in step_rows(report).items():
        table.add_row(name, *(f"{value:.3f}" for value in values))
    return table


def registration_lines(report: RunReport) -> list[str]:
    """Give the account of a registration in sentences.

    Parameters
    ----------
    report : RunReport
        The account.

    Returns
    -------
    list[str]
        Folding, exactness of the inverse, voxels outside the moving image, time and memory; then
        notes, warnings and, last, the verdict.
    """
    folds, inverse, filled = report.folding, report.inverse, report.filled
    outside = []
    if filled is not None and filled.voxels:
        outside = [
            f"outside the moving image: {filled.voxels} voxels ({filled.percent:.3g} %), filled"
            f" with {filled.value:g} (--fill)"
        ]
    return [
        f"folding: {folds.folded_voxels} voxels, non-diffeomorphic volume"
        f" {folds.non_diffeomorphic_percent:.4g} %",
        f"inverse: returns points within {inverse.round_trip_mean_mm:.3f} mm on average",
        *outside,
        f"took {report.seconds['total']:.1f} s, peak memory {report.peak_memory_mb / 1024:.1f} GiB",
        *(f"note: {sentence}" for sentence in (*report.notes, *report.warnings)),
        *([] if report.verdict is None else [f"verdict: {report.verdict}"]),
    ]


def facts_table(facts: Mapping[str, object]) -> Table:
    """Tabulate facts.

    Parameters
    ----------
    facts : Mapping[str, object]
        Values by name.

    Returns
    -------
    Table
        A row for each; paths and hashes are shown whole.
    """
    table = Table(show_header=False, show_edge=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, str(value))
    return table
