"""Register many pairs, here or by worker processes; go on where an earlier run stopped."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from sacbnet.errors import InputError, OutputError
from sacbnet.files import locked, sweep, writing
from sacbnet.registration.account import Progress, silent
from sacbnet.registration.registrar import Registrar

from .crew import Crew, Lost
from .finished import Other, earlier_result
from .index import write_index
from .pairs import TABLE, CohortPair, refuse_doubles
from .summary import Cohort, Outcome
from .thumbnails import thumbnail_file, thumbnail_from_files, write_thumbnail
from .work import Task, failed, register_pair, run_task

_SHARE = 0.05  # of the time may go into writing summaries


def register_pairs(
    pairs: Sequence[CohortPair],
    registrar: Registrar,
    out: str | Path,
    *,
    overwrite: bool = False,
    command: tuple[str, ...] = (),
    progress: Progress = silent,
    crew: Crew | None = None,
    device: str | None = None,
    page: bool = False,
    pictures: bool = True,
) -> Cohort:
    """Register pairs, each into a folder of its own.

    A pair that is finished is skipped: its run.json names the same images, masks and label maps (by
    their sha256), the same weights and the same options, and its files are there. The device may be
    another one. Results of other images or options are refused before the work begins. A pair that
    fails is noted, and the rest goes on. The summary is kept up to date meanwhile.

    Parameters
    ----------
    pairs : Sequence[CohortPair]
        The pairs; two must not have one name.
    registrar : Registrar
        The engine, with its weights loaded.
    out : str or Path
        Folder of the cohort; made where it is absent. The results of a pair lie in ``out/name``.
    overwrite : bool, default False
        Whether results of other images or options are replaced. Finished pairs are still skipped.
    command : tuple[str, ...], default ()
        The command line, for each run.json.
    progress : callable (str, float), default silent
        Called with the name of a pair, and the fraction of the unfinished pairs that is done.
    crew : Crew or None, default None
        Worker processes; each loads the weights of `registrar` once. None: this process does the
        work, one pair after the other.
    device : str or None, default None
        Device of the workers, as in `Options`. None: that of `registrar`.
    page : bool, default False
        Whether each pair gets a report.html.
    pictures : bool, default True
        Whether each pair gets a thumbnail, and the cohort its index.html.

    Returns
    -------
    Cohort
        A row for each pair, in their order.

    Raises
    ------
    InputError
        If there are no pairs, two have one name, or another process works in the folder.
    OutputError
        If a folder holds a result of other images or options, or a file cannot be written. This
        ends the work, as the disk of one pair is the disk of all.
    """
    if not pairs:
        raise InputError("the cohort has no pairs; at least one was expected")
    refuse_doubles(pairs)
    out = Path(out)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    busy = f"another process works on the cohort in {out}; wait for it, or choose another --out"
    with locked(out / ".lock", busy):
        for folder in (out, *(out / pair.name for pair in pairs)):
            sweep(folder)
        rows = _finished(pairs, registrar, out, overwrite)
        if pictures:
            _missing_thumbnails([pair for pair in pairs if pair.name in rows], out)
        cohort = Cohort(len(pairs), registrar.engine.options, registrar.engine.weights)
        book = _Book(pairs, rows, cohort, out, pictures)
        todo = [pair for pair in pairs if pair.name not in rows]
        try:
            if crew is None:
                for n, pair in enumerate(todo):
                    book.write_in_time()
                    progress(pair.name, n / len(todo))
                    rows[pair.name] = register_pair(
                        pair, registrar, out, command, page=page, pictures=pictures
                    )
            else:
                tasks = _tasks(todo, registrar, out, device, crew.threads)
                tasks = [replace(t, command=command, page=page, pictures=pictures) for t in tasks]
                for row in _by_crew(tasks, crew, progress):
                    rows[row.name] = row
                    book.write_in_time()
        finally:
            book.write()
    return cohort


def _tasks(
    pairs: Sequence[CohortPair],
    registrar: Registrar,
    out: Path,
    device: str | None,
    threads: int | None,
) -> list[Task]:
    info = registrar.engine.weights
    options = registrar.engine.options
    if device is not None:
        options = replace(options, device=device)
    if threads is None:  # the workers may have other working folders
        out = out.absolute()
        pairs = [
            replace(pair, **{k: v.absolute() for k, v in pair.files().items()})  # type: ignore[arg-type]
            for pair in pairs
        ]
    sha256 = "" if info is None else info.sha256
    return [Task(pair, out, options, sha256, threads=threads) for pair in pairs]


def _by_crew(tasks: Sequence[Task], crew: Crew, progress: Progress) -> Iterator[Outcome]:
    if tasks:
        progress("starting the workers", 0.0)
    for done, (n, result) in enumerate(crew.results(run_task, tasks), 1):
        pair = tasks[n].pair
        progress(pair.name, done / len(tasks))
        yield failed(pair, result.sentence) if isinstance(result, Lost) else result


@dataclass
class _Book:
    """The summary on the disk: written often enough, but for a small share of the time."""

    pairs: Sequence[CohortPair]
    rows: dict[str, Outcome]
    cohort: Cohort
    out: Path
    pictures: bool
    not_before: float = field(default=0.0)

    def write_in_time(self) -> None:
        if time.monotonic() >= self.not_before:
            self.write()

    def write(self) -> None:
        began = time.monotonic()
        self.cohort.outcomes = [self.rows[p.name] for p in self.pairs if p.name in self.rows]
        self.cohort.write(self.out)
        if self.pictures:
            write_index(self.cohort, self.out)
        end = time.monotonic()
        self.not_before = end + (end - began) / _SHARE


def _finished(
    pairs: Sequence[CohortPair], registrar: Registrar, out: Path, overwrite: bool
) -> dict[str, Outcome]:
    """The rows of finished pairs, by name; what is of other images or options is refused."""
    found: dict[str, Outcome] = {}
    other: list[str] = []  # sentences
    known = _known_hashes(out)
    for pair in pairs:
        before = earlier_result(pair, registrar.engine, out / pair.name, known.get(pair.name, ""))
        if isinstance(before, Other):
            other.append(before.sentence)
        elif before is not None:
            found[pair.name] = Outcome.of(pair, "skipped", before.report, before.transform_sha256)
    if other and not overwrite:
        more = f" (and {len(other) - 1} more)" if len(other) > 1 else ""
        raise OutputError(f"{other[0]}{more}; choose another --out, or give --overwrite")
    return found


def _known_hashes(out: Path) -> dict[str, str]:
    """Hashes of the transforms as an earlier run wrote them, by the names of the pairs."""
    with (
        suppress(OSError, UnicodeDecodeError, csv.Error, KeyError),
        (out / TABLE).open(encoding="utf-8", newline="") as file,
    ):
        return {row["name"]: row["transform_sha256"] or "" for row in csv.DictReader(file)}
    return {}


def _missing_thumbnails(pairs: Sequence[CohortPair], out: Path) -> None:
    """Pictures of finished pairs that have none: their process was killed before, or was older."""
    for pair in pairs:
        if not thumbnail_file(out, pair.name).is_file():
            write_thumbnail(out, pair.name, thumbnail_from_files(pair, out))
