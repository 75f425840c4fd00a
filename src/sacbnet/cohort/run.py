"""Register many pairs by one `Registrar`; go on where an earlier run stopped."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from sacbnet.errors import InputError, OutputError, SacbnetError
from sacbnet.files import locked, sweep, writing
from sacbnet.io.voxels import Kind
from sacbnet.registration.account import Progress, silent
from sacbnet.registration.estimate import options_for
from sacbnet.registration.inputs import hash_of
from sacbnet.registration.registrar import Registrar
from sacbnet.registration.report import RunReport
from sacbnet.registration.result import RUN

from .pairs import CohortPair, refuse_doubles
from .summary import Cohort, Outcome

_log = logging.getLogger(__name__)


def register_pairs(
    pairs: Sequence[CohortPair],
    registrar: Registrar,
    out: str | Path,
    *,
    overwrite: bool = False,
    command: tuple[str, ...] = (),
    progress: Progress = silent,
) -> Cohort:
    """Register pairs, one after the other, each into a folder of its own.

    A pair that is finished is skipped: its run.json names the same images, masks and label maps (by
    their sha256), the same weights and the same options. The device may be another one. Results of
    other images or options are refused before the work begins. A pair that fails is noted, and the
    rest goes on. The summary is written after every pair.

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
        cohort = Cohort(len(pairs), registrar.engine.options, registrar.engine.weights)
        todo = [pair for pair in pairs if pair.name not in rows]
        for n in range(len(todo) + 1):
            cohort.outcomes = [rows[pair.name] for pair in pairs if pair.name in rows]
            cohort.write(out)
            if n < len(todo):
                progress(todo[n].name, n / len(todo))
                rows[todo[n].name] = _register(todo[n], registrar, out, command)
    return cohort


def _register(
    pair: CohortPair, registrar: Registrar, out: Path, command: tuple[str, ...]
) -> Outcome:
    try:
        result = registrar.register(**pair.files())  # type: ignore[arg-type]
        # what stands in the folder may be replaced: `_finished` has looked at it
        result.save(out / pair.name, overwrite=True, command=command)
    except OutputError:
        raise
    except SacbnetError as error:
        sentence = str(error)
    except Exception as error:  # a defect of the program must not stop the other pairs either
        _log.info("%s: %s", pair.name, traceback.format_exc())
        sentence = f"unexpected error ({type(error).__name__}: {error})"
        if isinstance(error, MemoryError) or "memory" in str(error).lower():  # torch, ITK
            sentence = "the memory is not enough for images of this size; use a coarser --spacing"
    else:
        return Outcome.of(pair, "done", result.report)
    sentence = " ".join(sentence.split())
    _log.info("%s failed: %s", pair.name, sentence)
    return Outcome(pair.name, str(pair.fixed), str(pair.moving), "failed", error=sentence)


def _finished(
    pairs: Sequence[CohortPair], registrar: Registrar, out: Path, overwrite: bool
) -> dict[str, Outcome]:
    """The rows of finished pairs, by name; what is of other images or options is refused."""
    found: dict[str, Outcome] = {}
    other: list[str] = []  # sentences
    for pair in pairs:
        run = out / pair.name / RUN
        if run.parent.exists() and not run.parent.is_dir():
            raise OutputError(f"{run.parent} is a file, not a folder; choose another --out")
        if not run.is_file():
            continue
        try:
            before = RunReport.from_text(run.read_text(encoding="utf-8"))
        except (InputError, OSError, UnicodeDecodeError):
            other.append(f"{run} is no account of a registration")
            continue
        with suppress(InputError, OSError):  # unreadable now: its registration says why
            if difference := _difference(pair, registrar, before):
                other.append(f"{run.parent} holds a result with {difference}")
            else:
                found[pair.name] = Outcome.of(pair, "skipped", before)
    if other and not overwrite:
        more = f" (and {len(other) - 1} more)" if len(other) > 1 else ""
        raise OutputError(f"{other[0]}{more}; choose another --out, or give --overwrite")
    return found


def _difference(pair: CohortPair, registrar: Registrar, before: RunReport) -> str:
    """In what an earlier result differs from the one that is asked for; "" in nothing."""
    known = {"fixed": before.fixed, "moving": before.moving, **before.companions}
    files = pair.files()
    for name in {**known, **files}:
        words = name.replace("_", " ")
        if name not in files or name not in known:
            return f"{'no ' if name in files else 'a '}{words}"
        kind: Kind = name.partition("_")[2] or "image"  # type: ignore[assignment]
        if known[name].sha256 != hash_of(files[name], kind=kind):
            return f"another {words} image ({known[name].name})"
    engine = registrar.engine
    if (before.weights and before.weights.sha256) != (engine.weights and engine.weights.sha256):
        return f"other weights ({before.options.weights})"
    asked = options_for(engine, fixed=before.fixed.grid, moving=before.moving.grid)
    # the weights are compared by their hash; a device changes no more than the last digits
    then = replace(before.options, weights=asked.weights, device=asked.device)
    changed = [name for name in vars(asked) if getattr(then, name) != getattr(asked, name)]
    said = (f"{name} {getattr(then, name)}, now {getattr(asked, name)}" for name in changed)
    return f"other options ({'; '.join(said)})" if changed else ""
