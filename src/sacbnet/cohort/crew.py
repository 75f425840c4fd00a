"""Worker processes by Dask: on this machine, or those of a scheduler that runs already."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

from sacbnet.errors import InputError, SacbnetError
from sacbnet.files import temporary_folder

if TYPE_CHECKING:
    from distributed import Client, Future

ATTEMPTS = 2  # a pair whose worker is killed is tried once more
_PATIENCE = 30.0  # seconds until a scheduler must answer
_THREADS_OF_A_WORKER = 4  # fewer pairs at a time would leave cores idle, more would fight for them
_GIB_OF_A_WORKER = 3.0  # memory that a brain at 1 mm takes
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Lost:
    """A piece of work whose worker processes were killed, each time.

    Parameters
    ----------
    sentence : str
        What happened.
    """

    sentence: str


@dataclass(frozen=True)
class Crew:
    """Worker processes that take one piece of work at a time.

    Parameters
    ----------
    client : distributed.Client
        The connection to their scheduler.
    threads : int or None
        Threads of each worker; None: as the workers were started.
    """

    client: Client = field(repr=False)
    threads: int | None

    def results(
        self, do: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result | Lost]]:
        """Do a piece of work for each item, and give the results as they come.

        Parameters
        ----------
        do : callable
            A function of a module that the workers can import.
        items : sequence
            What it is called with.

        Yields
        ------
        n : int
            The number of the item.
        result : object or Lost
            What the function returned; `Lost` if the processes that worked on it were killed.

        Raises
        ------
        SacbnetError
            If the scheduler went away. What the function raises is raised, too; the rest is then
            given up.
        """
        from distributed import as_completed

        # none of them is pure to Dask: it must not look for an earlier result by the arguments
        futures = self.client.map(do, items, pure=False, batch_size=1000)
        numbers = {future.key: n for n, future in enumerate(futures)}
        left = len(numbers)
        try:
            for future in as_completed(futures, loop=self.client.loop):
                left -= 1
                yield numbers[future.key], _result(future)
                future.release()
            if left:
                raise _gone()
        finally:
            with suppress(Exception):  # the scheduler may be gone
                self.client.cancel(futures)


def _result(future: Future[Any]) -> Any:
    from distributed import CancelledError
    from distributed.scheduler import KilledWorker

    try:
        return future.result()
    except KilledWorker:
        return Lost(
            "the processes that worked on this pair were killed each time, perhaps for want of"
            " memory; try fewer --workers or a coarser --spacing"
        )
    except CancelledError as error:
        raise _gone() from error


def _gone() -> SacbnetError:
    return SacbnetError(
        "the scheduler of the workers went away; what is finished stays, and the same command goes"
        " on"
    )


def workers_here(gpus: int = 0) -> int:
    """Say how many workers suit this machine.

    Parameters
    ----------
    gpus : int, default 0
        GPUs that are used; each gets one worker.

    Returns
    -------
    int
        One for each GPU; else one for every four cores, as far as the memory goes. At least 1.
    """
    if gpus:
        return gpus
    by_memory = psutil.virtual_memory().available / 2**30 / _GIB_OF_A_WORKER
    return max(1, int(min(cores() // _THREADS_OF_A_WORKER, by_memory)))


def cores() -> int:
    """Count the cores that this process may use.

    Returns
    -------
    int
        By its affinity and the limits of its container; not more than OMP_NUM_THREADS, where the
        user set it.
    """
    from dask.system import CPU_COUNT

    found = int(CPU_COUNT)
    with suppress(KeyError, ValueError):
        found = min(found, max(1, int(os.environ["OMP_NUM_THREADS"])))
    return found


@contextmanager
def crew_of(workers: int, scheduler: str | None = None) -> Iterator[Crew | None]:
    """Start workers on this machine, or connect to those of a scheduler.

    Parameters
    ----------
    workers : int
        Number of worker processes on this machine. They end with the block.
    scheduler : str or None, default None
        Address of a scheduler that runs already, such as "tcp://node1:8786". Its workers stay.

    Yields
    ------
    Crew or None
        The workers. None: one worker and no scheduler; the work is done in this process.

    Raises
    ------
    InputError
        If no scheduler answers at the address.
    """
    if scheduler is None and workers == 1:
        yield None
        return
    with ExitStack() as stack:
        if scheduler is not None:
            yield Crew(stack.enter_context(_connected(scheduler)), None)
            return
        threads = max(1, cores() // workers)
        yield Crew(stack.enter_context(_local(workers, threads)), threads)


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    from distributed import Client

    try:
        client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(
            f"no scheduler of Dask answers at {address}; give the address that `dask scheduler`"
            " prints, such as tcp://host:8786"
        ) from error
    with client:
        yield client


@contextmanager
def _local(workers: int, threads: int) -> Iterator[Client]:
    import dask
    from distributed import Client, LocalCluster

    environment = dict.fromkeys(_THREADS, str(threads))
    settings = {
        # a task that only waits at a worker must not be counted as killed with it
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.allowed-failures": ATTEMPTS - 1,
        "distributed.scheduler.worker-ttl": None,  # a large pair may keep a worker busy for long
        "distributed.scheduler.work-stealing": False,
        "distributed.nanny.pre-spawn-environ": {"MALLOC_TRIM_THRESHOLD_": 65536} | environment,
        "distributed.comm.timeouts.connect": f"{_PATIENCE:.0f}s",
    }
    before = dict(os.environ)
    with dask.config.set(settings), ExitStack() as stack:
        # the nannies write the workers' environment into that of this process
        stack.callback(_restore, before)
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,  # the program looks after its memory itself
                dashboard_address=None,
                host="127.0.0.1",
                local_directory=str(temporary_folder()),
                silence_logs=logging.CRITICAL,
                env=environment,
            )
        )
        client = stack.enter_context(Client(cluster, set_as_default=False))
        yield client


def _restore(environment: dict[str, str]) -> None:
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)
