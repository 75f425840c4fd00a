"""The processes that train together: one, or those that torchrun or SLURM's srun started."""

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
    """rank of world processes, each with its device. Without company every method is the identity."""

    rank: int = 0
    world: int = 1
    device: torch.device = CPU

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def together(self, module: nn.Module) -> nn.Module:
        """A module whose backward pass averages the gradients over the team."""
        return module if self.world == 1 else DistributedDataParallel(module)

    def mean(self, x: Tensor) -> Tensor:
        if self.world > 1:
            dist.all_reduce(x)
            x = x / self.world
        return x

    def largest(self, value: float) -> float:
        """The largest of the processes' values: what all must agree on (how late it is, whether to stop)."""
        if self.world == 1:
            return value
        x = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(x, dist.ReduceOp.MAX)
        return float(x)

    def gather(self, value: T) -> list[T]:
        """Every process's value, in order of rank."""
        if self.world == 1:
            return [value]
        out: list[Any] = [None] * self.world
        dist.all_gather_object(out, value)
        return out

    def lead(self, action: Callable[[], None]) -> None:
        """The process that leads does it while the others wait; what it raises is raised by all."""
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
    """The team that the environment describes: torchrun's variables, or SLURM's where srun started several tasks."""
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
    """RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT of this process; None for a process on its own."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if "RANK" in environment and "WORLD_SIZE" in environment:
        if missing := [name for name in names if name not in environment]:
            raise InputError(
                f"RANK is set but not {', '.join(missing)}; start several processes by torchrun or srun"
            )
        return (
            {name: environment[name] for name in names}
            if int(environment["WORLD_SIZE"]) > 1
            else None
        )
    # of a step that srun started; the batch script itself has a SLURM_NTASKS as well, but is one process
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
        ["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True
    ).stdout.split()[0]
