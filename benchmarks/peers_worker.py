"""One registration by ANTs' SyN or by greedy, in a Python that has them; `benchmarks/peers.py` runs this.

    cd FOLDER; ENV/bin/python .../benchmarks/peers_worker.py {syn,greedy} --threads N [--aligned]

FOLDER holds fixed.nii.gz, moving.nii.gz and labels.nii.gz (of the moving image). Into it go moved_labels.nii.gz
(nearest, warped once through the whole transform), warp.nii.gz (ITK's displacement field on the fixed grid), affine.mat
(ITK's; the identity if --aligned) or greedy's affine_ras.txt (4x4, fixed -> moving, world in mm RAS; none if
--aligned), and worker.json: tool, seconds, peak memory.

SyN is `ants.registration(..., "SyN")` with its defaults: affine and SyN by mutual information, reg_iterations 40x20x0;
--aligned: "SyNOnly", which starts from the identity. greedy is `-m NCC 4x4x4 -n 100x50x20`, in the affine stage
(`-a -dof 12 -ia-image-centers`) and in the deformable one; --aligned: without the affine stage. `-wp 0`: the field is
not rounded to tenths of a voxel for smaller files.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

GREEDY = "-d 3 -m NCC 4x4x4 -i fixed.nii.gz moving.nii.gz -n 100x50x20"


def syn(aligned: bool, threads: int) -> tuple[dict[str, float], Callable[[], None]]:
    """Seconds by stage, and what then warps the labels. ANTs runs all in one call: its log tells of the stages."""
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
    os.environ["ANTS_RANDOM_SEED"] = "1"
    import ants

    fixed, moving = ants.image_read("fixed.nii.gz"), ants.image_read("moving.nii.gz")
    start = time.perf_counter()
    done = ants.registration(fixed, moving, "SyNOnly" if aligned else "SyN", outprefix="syn", verbose=True)
    seconds = {"registration": time.perf_counter() - start}
    transforms = []
    for name in done["fwdtransforms"]:
        transforms.append("affine.mat" if name.endswith(".mat") else "warp.nii.gz")
        Path(name).rename(transforms[-1])

    def warp_labels() -> None:
        labels = ants.image_read("labels.nii.gz")
        moved = ants.apply_transforms(fixed, labels, transforms, interpolator="nearestNeighbor")
        ants.image_write(moved, "moved_labels.nii.gz")

    return seconds, warp_labels


def greedy(aligned: bool, threads: int) -> tuple[dict[str, float], Callable[[], None]]:
    """As `syn`; greedy's seconds hold its reading of the files, too."""
    from picsl_greedy import Greedy3D

    tool, seconds = Greedy3D(), {}
    stages = {"deformable": "-o warp.nii.gz -wp 0" + (" -ia-identity" if aligned else " -it affine_ras.txt")}
    if not aligned:
        stages = {"affine": "-a -dof 12 -ia-image-centers -o affine_ras.txt"} | stages
    for stage, options in stages.items():
        start = time.perf_counter()
        tool.execute(f"{GREEDY} -threads {threads} {options}")
        seconds[stage] = time.perf_counter() - start

    def warp_labels() -> None:
        chain = "warp.nii.gz" + ("" if aligned else " affine_ras.txt")
        files = "-rf fixed.nii.gz -rm labels.nii.gz moved_labels.nii.gz"
        tool.execute(f"-d 3 -threads {threads} -ri NN {files} -r {chain}")

    return seconds, warp_labels


def peak_memory_mb() -> float:
    """This process's, in MiB. Linux; getrusage's would count the process that started this one."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


TOOLS = {"syn": (syn, "antspyx"), "greedy": (greedy, "picsl-greedy")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method", choices=TOOLS)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--aligned", action="store_true", help="no affine stage")
    o = parser.parse_args()
    register, package = TOOLS[o.method]
    seconds, warp_labels = register(o.aligned, o.threads)
    account: dict[str, Any] = {
        "tool": f"{package} {version(package)}",
        "seconds": seconds,
        "processor_seconds": time.process_time(),
        "peak_memory_mb": peak_memory_mb(),
    }
    warp_labels()
    Path("worker.json").write_text(json.dumps(account) + "\n")


if __name__ == "__main__":
    main()
