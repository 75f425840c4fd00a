"""What a run ran on: versions, device, memory. Knows no image format."""

from __future__ import annotations

import platform
import resource
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..ops.dispatch import kernels_for


def environment(device: torch.device) -> dict[str, Any]:
    """Versions and machine, without names of hosts or users."""
    return {
        "sacbnet": __version__,
        "python": platform.python_version(),
        **_versions("torch", "numpy", "scipy", "nibabel", "SimpleITK"),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "threads": torch.get_num_threads(),
        "kernels": kernels_for(device),
    }


def processor() -> str:
    """The model of the CPU, as Linux names it; elsewhere its kind."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def reset_peak_memory(device: torch.device) -> None:
    """From here on `peak_memory_mb` is of what follows; of a process (not a GPU), on Linux only, elsewhere of all."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak becomes what the process has now


def peak_memory_mb(device: torch.device) -> float:
    """The process's peak (CPU) or the allocator's (GPU), in MiB."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def _versions(*names: str) -> dict[str, str]:
    """Of those that are installed: a machine that only trains, from packs, needs no reader of images."""
    out = {}
    for name in names:
        with suppress(PackageNotFoundError):
            out[name] = version(name)
    return out
