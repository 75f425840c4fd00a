"""The processes that train together: one, or those that torchrun or SLURM's srun starts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sacbnet.errors import InputError

T = TypeVar("T")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Team:
    """The processes that train together, seen by one of them. Alone, each method is the identity.

    Parameters
    ----------
    rank : int, default 0
        Number of this process.
    world : int, default 1
        Number of all processes.
    device : torch.device, default cpu
        Device of this process.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = CPU

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def together(self, module: nn.Module) -> nn.Module:
        """Wrap a module so that its backward pass averages the gradients over the team.

        Parameters
        ----------
        module : nn.Module
            The module.

        Returns
        -------
        nn.Module
            The wrapped module; alone, the module itself.
        """
        return module if self.world == 1 else DistributedDataParallel(module)

    def mean(self, x: Tensor) -> Tensor:
        """Average a tensor over the team.

        Parameters
        ----------
        x : Tensor
            This process's values; they may be overwritten.

        Returns
        -------
        Tensor
            The mean.
        """
        if self.world > 1:
            dist.all_reduce(x)
            x = x / self.world
        return x

    def largest(self, value: float) -> float:
        """Find the largest value in the team: what all must agree on, such as whether to stop.

        Parameters
        ----------
        value : float
            This process's value.

        Returns
        -------
        float
            The largest value.
        """
        if self.world == 1:
            return value
        x = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(x, dist.ReduceOp.MAX)
        return float(x)

    def gather(self, value: T) -> list[T]:
        """Collect a value of each process.

        Parameters
        ----------
        value : object
            This process's value.

        Returns
        -------
        list
            The values, in the order of ranks.
        """
        if self.world == 1:
            return [value]
        out: list[Any] = [None] * self.world
        dist.all_gather_object(out, value)
        return out

    def lead(self, action: Callable[[], None]) -> None:
        """Let the process that leads do something while the others wait.

        Parameters
        ----------
        action : callable
            What it does, without arguments.

        Raises
        ------
        InputError
            In the other processes, where the action fails. The process that leads raises the error
            of the action itself.
        """
        failure: Exception | None = None
        if self.leads:
            try:
                action()
            except Exception as error:
                failure = error
        told = self.gather(None if failure is None else str(failure))[0]
        if failure is not None:
            raise failure
        if told is not None:
            raise InputError(told)


@contextmanager
def join_team(device: torch.device) -> Iterator[Team]:
    """Join the team that the environment describes.

    Parameters
    ----------
    device : torch.device
        Device of this process; of several GPUs each process gets one.

    Yields
    ------
    Team
        The team. torchrun describes it by variables of its own, srun by those of SLURM where it
        starts several tasks. Without these variables the process is alone.

    Raises
    ------
    InputError
        Where the variables are incomplete.
    """
    places = team_variables(os.environ)
    if places is None:
        yield Team(device=device)
        return
    os.environ.update(places)
    if device.type == "cuda":
        device = torch.device("cuda", int(places["LOCAL_RANK"]) % torch.cuda.device_count())
        torch.cuda.set_device(device)
    # long enough for one process to pack a large set while the others wait
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=2))
    try:
        yield Team(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()


def team_variables(environment: Mapping[str, str]) -> dict[str, str] | None:
    """Read the variables that describe a team.

    Parameters
    ----------
    environment : mapping
        Name -> text, as of ``os.environ``.

    Returns
    -------
    dict or None
        RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT of this process; None for a
        process on its own.

    Raises
    ------
    InputError
        Where the variables are incomplete.
    """
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if "RANK" in environment and "WORLD_SIZE" in environment:
        if missing := [name for name in names if name not in environment]:
            raise InputError(
                f"RANK is set but not {', '.join(missing)}; start several processes by torchrun or"
                " srun"
            )
        return (
            {name: environment[name] for name in names}
            if int(environment["WORLD_SIZE"]) > 1
            else None
        )
    # this is the number of tasks of a step of srun; the batch script itself has SLURM_NTASKS, but
    # is one process
    if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and "SLURM_PROCID" in environment:
        job = int(environment.get("SLURM_JOB_ID", "0"))
        return {
            "RANK": environment["SLURM_PROCID"],
            "LOCAL_RANK": environment["SLURM_LOCALID"],
            "WORLD_SIZE": environment["SLURM_STEP_NUM_TASKS"],
            "MASTER_ADDR": environment.get("MASTER_ADDR") or _first_host(environment),
            "MASTER_PORT": environment.get("MASTER_PORT") or str(20_000 + job % 20_000),
        }
    return None


def _first_host(environment: Mapping[str, str]) -> str:
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    if "[" not in nodes:
        return nodes.split(",")[0] or "localhost"
    return subprocess.run(
        ["scontrol", "show", "hostnames", nodes],  # noqa: S607 - each site has SLURM elsewhere
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[0]
