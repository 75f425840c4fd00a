"""What happens to one pair: registered, written, and told as a row. Also in another process."""

from __future__ import annotations

import hashlib
import logging
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from sacbnet.config.choices import AUTO
from sacbnet.config.registration import Options
from sacbnet.environment import VERSION
from sacbnet.errors import InputError, OutputError, SacbnetError
from sacbnet.files import sweep, writing
from sacbnet.registration.registrar import Registrar
from sacbnet.registration.result import TRANSFORM
from sacbnet.reporting.page.build import report as page_of
from sacbnet.reporting.page.thumbnail import thumbnail_of

from .finished import Earlier, earlier_result
from .pairs import CohortPair
from .summary import Outcome
from .thumbnails import write_thumbnail

_log = logging.getLogger(__name__)
_one_at_a_time = threading.Lock()  # a worker with several threads has one network all the same


@dataclass(frozen=True)
class Task:
    """One pair for a worker process, with all that it needs to know.

    Parameters
    ----------
    pair : CohortPair
        The pair.
    out : Path
        Folder of the cohort.
    options : Options
        What was chosen.
    weights : str
        sha256 of the weights; "" without a network.
    command : tuple[str, ...], default ()
        The command line, for run.json.
    page : bool, default False
        Whether report.html is written.
    pictures : bool, default True
        Whether a thumbnail is written.
    threads : int or None, default None
        Threads of the worker. None: as the worker was started.
    version : str, default that of this package
        The version of sacbnet that asks.
    """

    pair: CohortPair
    out: Path
    options: Options
    weights: str
    command: tuple[str, ...] = ()
    page: bool = False
    pictures: bool = True
    threads: int | None = None
    version: str = VERSION


def run_task(task: Task) -> Outcome:
    """Register one pair in a worker process. The weights are loaded at the first pair.

    A pair that is finished already is not registered again: the worker before may have been killed
    after it wrote the result and before it told so.

    Parameters
    ----------
    task : Task
        The pair.

    Returns
    -------
    Outcome
        Its row.

    Raises
    ------
    InputError
        If this process has another version of sacbnet, or other weights.
    OutputError
        If a file cannot be written.
    """
    if task.version != VERSION:
        raise InputError(
            f"a worker has sacbnet {VERSION}, but the cohort was begun with {task.version}; start"
            " the workers with the same version"
        )
    with _one_at_a_time:
        if task.threads is not None:
            import torch

            torch.set_num_threads(task.threads)
        registrar = _registrar(replace(task.options, device=_device(task.options.device)))
        info = registrar.engine.weights
        if task.weights != ("" if info is None else info.sha256):
            raise InputError(
                f"a worker has other weights named {task.options.weights} than the process that"
                " began the cohort; give a path that is the same everywhere"
            )
        folder = task.out / task.pair.name
        sweep(folder)
        before = earlier_result(task.pair, registrar.engine, folder)
        if isinstance(before, Earlier):
            return Outcome.of(task.pair, "done", before.report, before.transform_sha256)
        return register_pair(
            task.pair,
            registrar,
            task.out,
            task.command,
            page=task.page,
            pictures=task.pictures,
        )


def register_pair(
    pair: CohortPair,
    registrar: Registrar,
    out: Path,
    command: tuple[str, ...] = (),
    *,
    page: bool = False,
    pictures: bool = True,
) -> Outcome:
    """Register a pair into a folder of its own, and tell what it came to.

    Parameters
    ----------
    pair : CohortPair
        The pair.
    registrar : Registrar
        The engine.
    out : Path
        Folder of the cohort. A result in ``out/name`` is replaced.
    command : tuple[str, ...], default ()
        The command line, for run.json.
    page : bool, default False
        Whether report.html is written.
    pictures : bool, default True
        Whether a thumbnail is written.

    Returns
    -------
    Outcome
        The row of the pair. A pair that fails has a row, too.

    Raises
    ------
    OutputError
        If a file cannot be written: the disk of one pair is the disk of all.
    """
    try:
        result = registrar.register(**pair.files())  # type: ignore[arg-type]
        # what stands in the folder may be replaced: whoever calls has looked at it
        files = result.save(
            out / pair.name, overwrite=True, command=command, page=page_of if page else None
        )
        if pictures and (picture := thumbnail_of(result)) is not None:
            write_thumbnail(out, pair.name, picture)
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
        with writing(files[TRANSFORM]), files[TRANSFORM].open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Outcome.of(pair, "done", result.report, digest)
    return failed(pair, sentence)


def failed(pair: CohortPair, sentence: str) -> Outcome:
    """Make the row of a pair that failed.

    Parameters
    ----------
    pair : CohortPair
        The pair.
    sentence : str
        Why it failed.

    Returns
    -------
    Outcome
        The row.
    """
    sentence = " ".join(sentence.split())
    _log.info("%s failed: %s", pair.name, sentence)
    return Outcome(pair.name, str(pair.fixed), str(pair.moving), "failed", error=sentence)


@lru_cache(maxsize=1)
def _registrar(options: Options) -> Registrar:
    """The one engine of this process."""
    return Registrar.of(options)


def _device(asked: str) -> str:
    """The GPU of this worker: local workers have numbers for names, and take turns."""
    if asked not in (AUTO, "cuda"):
        return asked
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count < 2:
        return asked
    with suppress(ValueError, TypeError, ImportError):
        from distributed import get_worker

        return f"cuda:{int(get_worker().name) % count}"
    return asked
