"""One registration by a tool of another maker, in any Python that has it; `adapter` runs this file.

    cd FOLDER; ENV/bin/python worker.py {syn,greedy,elastix} --threads N [--aligned] [--version]

This file imports nothing of sacbnet.

FOLDER holds fixed.nii, moving.nii and, if there are labels, labels.nii (of the moving image). The
worker writes into it:

- warp.nii.gz: a displacement field in ITK's convention, on the fixed grid;
- affine.mat (ITK's) or affine_ras.txt (greedy's: 4x4, fixed to moving, world in mm RAS), where the
  field does not contain the affine;
- moved_labels.nii.gz: the labels, warped once through the whole transform, nearest neighbour;
- worker.json: tool, seconds, peak memory.

With --aligned the tool runs without its affine stage. With --version nothing is registered, and
worker.json holds the tool alone.

The tools' options:

- syn: `ants.registration(..., "SyN")` with its defaults: affine and SyN by mutual information,
  reg_iterations 40x20x0, random seed 1. With --aligned: "SyNOnly", which starts from the identity.
- greedy: `-m NCC 4x4x4 -n 100x50x20`, both in the affine stage (`-a -dof 12 -ia-image-centers`) and
  in the deformable stage. `-wp 0`: the field is not rounded to tenths of a voxel.
- elastix: its default parameter maps rigid, affine, bspline. With --aligned: bspline.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

FIXED, MOVING, LABELS = "fixed.nii", "moving.nii", "labels.nii"
WARP, MOVED_LABELS = "warp.nii.gz", "moved_labels.nii.gz"
GREEDY = f"-d 3 -m NCC 4x4x4 -i {FIXED} {MOVING} -n 100x50x20"
# seconds of the registration, and a function that then warps the labels
Outcome = tuple[float, Callable[[], None]]


def syn(aligned: bool, threads: int) -> Outcome:
    """ANTs' SyN."""
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
    os.environ["ANTS_RANDOM_SEED"] = "1"
    import ants

    fixed, moving = ants.image_read(FIXED), ants.image_read(MOVING)
    start = time.perf_counter()
    done = ants.registration(
        fixed, moving, "SyNOnly" if aligned else "SyN", outprefix="syn", verbose=True
    )
    seconds = time.perf_counter() - start
    transforms = []
    for name in done["fwdtransforms"]:
        transforms.append("affine.mat" if name.endswith(".mat") else WARP)
        Path(name).rename(transforms[-1])

    def warp_labels() -> None:
        moved = ants.apply_transforms(
            fixed, ants.image_read(LABELS), transforms, interpolator="nearestNeighbor"
        )
        ants.image_write(moved, MOVED_LABELS)

    return seconds, warp_labels


def greedy(aligned: bool, threads: int) -> Outcome:
    """Greedy; its seconds include the reading of the files."""
    from picsl_greedy import Greedy3D

    tool = Greedy3D()
    stages = [f"-o {WARP} -wp 0" + (" -ia-identity" if aligned else " -it affine_ras.txt")]
    if not aligned:
        stages.insert(0, "-a -dof 12 -ia-image-centers -o affine_ras.txt")
    start = time.perf_counter()
    for options in stages:
        tool.execute(f"{GREEDY} -threads {threads} {options}")
    seconds = time.perf_counter() - start

    def warp_labels() -> None:
        chain = WARP + ("" if aligned else " affine_ras.txt")
        tool.execute(
            f"-d 3 -threads {threads} -ri NN -rf {FIXED} -rm {LABELS} {MOVED_LABELS} -r {chain}"
        )

    return seconds, warp_labels


def elastix(aligned: bool, threads: int) -> Outcome:
    """elastix by its ITK package."""
    import itk

    itk.MultiThreaderBase.SetGlobalMaximumNumberOfThreads(threads)
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(threads)
    fixed, moving = itk.imread(FIXED, itk.F), itk.imread(MOVING, itk.F)
    parameters = itk.ParameterObject.New()
    for name in ("bspline",) if aligned else ("rigid", "affine", "bspline"):
        parameters.AddParameterMap(parameters.GetDefaultParameterMap(name))
    start = time.perf_counter()
    _, found = itk.elastix_registration_method(
        fixed, moving, parameter_object=parameters, log_to_console=True
    )
    itk.imwrite(itk.transformix_deformation_field(moving, found), WARP)
    seconds = time.perf_counter() - start

    def warp_labels() -> None:
        found.SetParameter("ResampleInterpolator", "FinalNearestNeighborInterpolator")
        moved = itk.transformix_filter(itk.imread(LABELS, itk.F), found)
        itk.imwrite(moved, MOVED_LABELS)

    return seconds, warp_labels


TOOLS = {
    "syn": (syn, "ants", "antspyx"),
    "greedy": (greedy, "picsl_greedy", "picsl-greedy"),
    "elastix": (elastix, "itk", "itk-elastix"),
}


def peak_memory_mb() -> float:
    """Peak memory of this process in MiB.

    On Linux not from getrusage, which would also count the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return next(
            int(line.split()[1]) / 1024
            for line in status.read_text().splitlines()
            if line.startswith("VmHWM")
        )
    import psutil

    found = psutil.Process().memory_info()  # only Windows keeps the peak; else the present size
    return float(getattr(found, "peak_wset", found.rss)) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--aligned", action="store_true", help="no affine stage")
    parser.add_argument("--version", action="store_true", help="register nothing")
    o = parser.parse_args()
    register, module, package = TOOLS[o.tool]
    import_module(module)
    account: dict[str, Any] = {"tool": f"{package} {version(package)}"}
    if not o.version:
        seconds, warp_labels = register(o.aligned, o.threads)
        account |= {
            "seconds": seconds,
            "processor_seconds": time.process_time(),
            "peak_memory_mb": peak_memory_mb(),
        }
        if Path(LABELS).exists():
            warp_labels()
    Path("worker.json").write_text(json.dumps(account) + "\n")


if __name__ == "__main__":
    main()
