"""What a run runs on: versions, device, processor, memory. Imports torch only to ask about a device."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    import torch

VERSION = "0.1.0"


def environment(device: torch.device, kernels: str) -> dict[str, Any]:
    """Versions and machine, without names of hosts or users. kernels: the form that serves (`dispatch.kernels_for`)."""
    import torch

    return {
        "sacbnet": VERSION,
        "python": platform.python_version(),
        **_versions("torch", "numpy", "scipy", "nibabel", "SimpleITK"),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "threads": torch.get_num_threads(),
        "kernels": kernels,
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
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text(
            "5"
        )  # proc(5): the peak becomes what the process has now


def peak_memory_mb(device: torch.device) -> float:
    """The process's peak (CPU) or the allocator's (GPU), in MiB."""
    if device.type == "cuda":
        import torch

        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return round(_peak_bytes() / 2**20, 1)


def _peak_bytes() -> int:
    """The largest resident memory of this process so far.

    psutil tells it on Windows only. Linux tells it as VmHWM, which `reset_peak_memory` resets. Elsewhere what the
    process has now is the best that is known without a POSIX module.
    """
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    found = psutil.Process().memory_info()
    return int(getattr(found, "peak_wset", found.rss))


def _versions(*names: str) -> dict[str, str]:
    """Of those that are installed: a machine that only trains, from packs, needs no reader of images."""
    out = {}
    for name in names:
        with suppress(PackageNotFoundError):
            out[name] = version(name)
    return out
