"""What a run uses: versions, device, processor and memory.

torch is imported only to ask about a device.
"""

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
    """Versions and machine of a run, without names of hosts or users.

    Parameters
    ----------
    device : torch.device
        The device of the run.
    kernels : str
        The form of the kernels that runs there (`sacbnet.kernels.dispatch.kernels_for`).

    Returns
    -------
    dict of str to object
        Versions of Python and of the installed libraries, operating system, device, number of
        threads, and kernels.
    """
    import torch

    return {
        "sacbnet": VERSION,
        "python": platform.python_version(),
        **_versions("torch", "numpy", "scipy", "nibabel", "SimpleITK", "pydicom"),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "threads": torch.get_num_threads(),
        "kernels": kernels,
    }


def processor() -> str:
    """Model of the CPU.

    Returns
    -------
    str
        The name that Linux gives; on other systems the kind of processor.
    """
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def reset_peak_memory(device: torch.device) -> None:
    """Start a new measurement of peak memory, for `peak_memory_mb`.

    For a GPU this works everywhere, for a process on Linux only. On other systems the peak is that
    of the whole process.

    Parameters
    ----------
    device : torch.device
        A GPU, whose allocator is measured, or the CPU, where the process is measured.
    """
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        # proc(5): the peak becomes the present memory of the process
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory since `reset_peak_memory`.

    Parameters
    ----------
    device : torch.device
        A GPU, whose allocator is measured, or the CPU, where the process is measured.

    Returns
    -------
    float
        The peak in MiB, rounded to 0.1 MiB.
    """
    if device.type == "cuda":
        import torch

        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return round(_peak_bytes() / 2**20, 1)


def _peak_bytes() -> int:
    """The largest resident memory of this process.

    Linux gives it as VmHWM, which `reset_peak_memory` resets. psutil gives it on Windows only. On
    other systems the present memory of the process is the best value without a POSIX module.
    """
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    found = psutil.Process().memory_info()
    return int(getattr(found, "peak_wset", found.rss))


def free_memory_bytes() -> int:
    """Memory that this process may still take.

    Returns
    -------
    int
        Bytes: the least of what the machine has free, what the limit of the process leaves
        (`ulimit -v`), and what the limit of a container (cgroup version 2) leaves.
    """
    found = [int(psutil.virtual_memory().available)]
    process = psutil.Process()
    if hasattr(process, "rlimit"):  # on Linux
        limit = process.rlimit(psutil.RLIMIT_AS)[0]
        if limit != psutil.RLIM_INFINITY:
            found.append(limit - process.memory_info().vms)
    with suppress(OSError, ValueError):  # "max" is no number
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        for line in (group / "memory.stat").read_text().splitlines():
            if line.startswith("inactive_file "):  # the cache of files is given back when needed
                used -= int(line.split()[1])
        found.append(limit - used)
    return max(0, min(found))


def _versions(*names: str) -> dict[str, str]:
    """Versions of the packages that are installed.

    A machine that only trains, from packs, needs no reader of images.
    """
    out = {}
    for name in names:
        with suppress(PackageNotFoundError):
            out[name] = version(name)
    return out


def memory_left() -> float:
    """Memory that this process can still take, before the system refuses it or ends the process.

    Returns
    -------
    float
        Bytes: the smallest of what the machine has free, what a limit of the process leaves
        (``ulimit -v``, ``ulimit -d``), and what a limit of its control group leaves (containers,
        batch systems).
    """
    free = psutil.virtual_memory().available + psutil.swap_memory().free
    return float(max(0, min([free, *_left_of_limits(), *_left_of_groups(Path("/sys/fs/cgroup"))])))


def _left_of_limits() -> list[int]:
    process = psutil.Process()
    if not hasattr(process, "rlimit"):  # neither Linux nor FreeBSD
        return []
    used, left = process.memory_info(), []
    for name, field in (("RLIMIT_AS", "vms"), ("RLIMIT_DATA", "data")):
        limit = process.rlimit(getattr(psutil, name))[0]
        if limit != psutil.RLIM_INFINITY:
            left.append(limit - getattr(used, field))
    return left


def _left_of_groups(root: Path) -> list[int]:
    """What the control groups of this process, and those above them, leave.

    Files that the kernel keeps in memory count as free: it gives them up first.
    """
    left: list[int] = []
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, kinds, path = line.split(":", 2)
            if kinds == "":
                names, top = ("memory.max", "memory.current", "inactive_file"), root
            elif "memory" in kinds.split(","):
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                top = root / "memory"
            else:
                continue
            place = top / path.lstrip("/")
            for group in (place, *place.parents):
                left += _left_of_group(group, *names)
                if group == top:
                    break
    return left


def _left_of_group(group: Path, limit: str, usage: str, cached: str) -> list[int]:
    with suppress(OSError, ValueError):
        most = int((group / limit).read_text())  # "max" is no number: there is no limit
        used = int((group / usage).read_text())
        for line in (group / "memory.stat").read_text().splitlines():
            if line.startswith(f"{cached} "):
                used -= int(line.split()[1])
        return [most - used]
    return []
