"""Does a training that is killed at random moments end with the weights of an undisturbed one?

    python speed/kill_training.py RECIPE DATA RUNS [--kills 10] [--steps 60]
                                  [--set section.option=value]

RUNS/calm is trained without a break. RUNS/rough is killed --kills times (SIGKILL, which no handler
sees), each time at a random moment after its start, and started again. Then the two are compared
to the last bit. Each training has one thread.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from sacbnet.training.checkpoint import CHECKPOINT, read_checkpoint


def start(arguments: argparse.Namespace, out: Path) -> subprocess.Popen[bytes]:
    changes = [
        f"run.steps={arguments.steps}",
        "run.checkpoint_every=1",
        "run.validate_every=20",
        "run.device=cpu",
    ]
    words = [word for change in [*changes, *arguments.change] for word in ("--set", change)]
    command = [
        sys.executable,
        "-m",
        "sacbnet.cli.main",
        "train",
        arguments.recipe,
        "--data",
        str(arguments.data),
    ]
    return subprocess.Popen(
        [*command, "--out", str(out), "--quiet", *words], env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="name or file of a recipe")
    parser.add_argument("data", type=Path, help="data of the training")
    parser.add_argument("runs", type=Path, help="new folder for both runs")
    parser.add_argument("--kills", type=int, default=10, help="default 10")
    parser.add_argument("--steps", type=int, default=60, help="steps of the training; default 60")
    parser.add_argument(
        "--set", dest="change", action="append", default=[], help="option of the recipe"
    )
    arguments = parser.parse_args()
    calm, rough = arguments.runs / "calm", arguments.runs / "rough"
    began = time.monotonic()
    if start(arguments, calm).wait():
        sys.exit("the undisturbed run failed")
    whole = time.monotonic() - began
    chance = np.random.default_rng(0)
    reached, killed = [], 0
    while killed < arguments.kills:
        process = start(arguments, rough)
        time.sleep(chance.uniform(0.3, 2.5) * whole / arguments.kills)
        if process.poll() is not None:
            sys.exit(
                f"the run ended (exit {process.returncode}) before the kill number {killed + 1}:"
                " give more --steps"
            )
        process.kill()
        process.wait()
        killed += 1
        found = (rough / CHECKPOINT).exists()
        reached.append(read_checkpoint(rough / CHECKPOINT)["state"]["step"] if found else 0)
    if start(arguments, rough).wait():
        sys.exit("the run could not be continued")
    print(f"killed {killed} times, with checkpoints of steps {reached} of {arguments.steps}")
    for name in ("last.safetensors", "best.safetensors"):
        a, b = load_file(calm / name), load_file(rough / name)
        same = a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)
        print(f"{name}: {'the same to the last bit' if same else 'DIFFERENT'}")
        if not same:
            sys.exit(1)


if __name__ == "__main__":
    main()
