"""Seconds and peak memory of calls in turns, so that a busy machine disturbs all of them alike."""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from sacbnet.kernels.cpu.memory import release_memory

Call = Callable[[], object]
MARGIN = 0.8  # of the memory that is free, what a call may be expected to take


@dataclass(frozen=True)
class Measure:
    """Least seconds of the runs; bytes held at most beyond those before; None if unknown."""

    seconds: float
    bytes: int | None


@dataclass(frozen=True)
class Effort:
    """How much to measure.

    repeats: timed runs of each call. enough_s: start no further round after this many seconds on
    one case. once_s: a call that took longer is not run again to warm up. most_s, most_bytes: a
    call that is expected to pass them is left out.
    """

    repeats: int = 7
    enough_s: float = 15.0
    once_s: float = 5.0
    most_s: float = 60.0
    most_bytes: float = 16e9


class Meter:
    """Runs a call once and says what it took.

    CPU: peak resident memory (VmHWM, reset through /proc/self/clear_refs) less the resident memory
    just before. Memory that the allocator keeps is given back first; otherwise it would hide what
    the call takes. CUDA: events, and the allocator's peak less what was allocated before.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def run(self, call: Call, watch_memory: bool) -> Measure:
        if self.device.type == "cuda":
            return self._run_cuda(call)
        before = self._start_watching() if watch_memory else None
        start = time.perf_counter()
        result = call()
        seconds = time.perf_counter() - start
        held = None if before is None else max(0, _status("VmHWM") - before)
        del result
        return Measure(seconds, held)

    def _start_watching(self) -> int | None:
        gc.collect()
        release_memory()  # what our kernels keep for the next call would hide what this one takes
        try:
            ctypes.CDLL(None).malloc_trim(0)
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
        except (OSError, AttributeError):  # no Linux, no glibc, or not allowed
            return None
        return _status("VmRSS")

    def _run_cuda(self, call: Call) -> Measure:
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        result = call()
        end.record()
        torch.cuda.synchronize(self.device)
        held = torch.cuda.max_memory_allocated(self.device) - before
        del result
        return Measure(start.elapsed_time(end) / 1000, held)

    def free_bytes(self) -> float:
        if self.device.type == "cuda":
            kept = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(
                self.device
            )
            return torch.cuda.mem_get_info(self.device)[0] + kept
        if os.path.exists("/proc/meminfo"):
            with open("/proc/meminfo") as file:
                return 1024.0 * next(
                    int(line.split()[1]) for line in file if line.startswith("MemAvailable")
                )
        return float("inf")


def _status(field: str) -> int:
    with open("/proc/self/status") as file:
        return 1024 * next(int(line.split()[1]) for line in file if line.startswith(field))


def measure(calls: dict[str, Call], meter: Meter, effort: Effort) -> dict[str, Measure]:
    """Each call once to warm up, once to watch its memory, then by turns; the least time counts.

    If a call is slow and its name is "naive", its first run is also its measurement. Our own first
    runs may compile.
    """
    results: dict[str, Measure] = {}
    for name, call in calls.items():
        first = meter.run(call, watch_memory=True)
        slow = first.seconds > effort.once_s and name == "naive"
        results[name] = first if slow else meter.run(call, watch_memory=True)
    start = time.perf_counter()
    for _ in range(effort.repeats):
        if time.perf_counter() - start > effort.enough_s:
            break
        for name, call in calls.items():
            if results[name].seconds > effort.once_s:
                continue
            seconds = meter.run(call, watch_memory=False).seconds
            results[name] = Measure(min(seconds, results[name].seconds), results[name].bytes)
    return results


class Forecast:
    """A forecast from the largest smaller call of its kind, by voxels and clusters."""

    def __init__(self) -> None:
        self._seen: dict[tuple, tuple[float, float, Measure]] = {}

    def learn(self, key: tuple, voxels: float, clusters: float, measure: Measure) -> None:
        old = self._seen.get(key)
        if old is None or voxels * clusters >= old[0] * old[1]:
            self._seen[key] = (voxels, clusters, measure)

    def expect(self, key: tuple, voxels: float, clusters: float) -> Measure | None:
        if key not in self._seen:
            return None
        seen_voxels, seen_clusters, measure = self._seen[key]
        # the cluster-free part counts as one
        growth = voxels / seen_voxels * (clusters + 1) / (seen_clusters + 1)
        return Measure(
            measure.seconds * growth, None if measure.bytes is None else int(measure.bytes * growth)
        )
