"""What do runs that are killed at random moments leave behind, and does the next run put it right?

    python speed/kill_runs.py FOLDER [--kills 10] [--verb register ...] [--seed 0]

Each verb (register, apply, train, evaluate, benchmark) works on small shapes that this script
makes. It is run once without a break. Then it is started and killed --kills times (SIGKILL, which
no handler sees): half of the times at a random moment of its whole time, half of the times shortly
after it has begun to write. After each kill the output must be whole: absent, or that of an
earlier run, or finished. Then the same command must end with exit code 0, with the files of the
run without a break, and without temporary folders. Last, two of the same commands run at once in
one new folder. The exit code is 1 if anything of this fails.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from sacbnet.errors import SacbnetError
from sacbnet.imaging.image import Image
from sacbnet.io.images import load_image, save_image
from sacbnet.networks.weights.load import load_weights
from sacbnet.registration.apply import Warper
from sacbnet.registration.result import AFFINE, INVERSE, MOVED, RUN, TRANSFORM
from sacbnet.spatial.grid import Grid
from sacbnet.training.checkpoint import CHECKPOINT, read_checkpoint

SHAPE = (32, 32, 32)
RECIPE = """
name = "shapes"
licence = "CC0"
trained_on = "four shapes"
model = { base_channels = 1, clusters = 2, sacb_levels = [5] }
data = { train = "0:4", validation = "4:" }
loss = { noise = 0.02 }
run = { steps = 40, validate_every = 20, checkpoint_every = 5, log_every = 10, device = "cpu" }
"""
PLAN = """
name = "toy"
recipe = "{recipe}"
steps = 20

[[method]]
name = "trained"
train = []

[[method]]
name = "identity"
weights = "none"
refine = 0
"""


@dataclass(frozen=True)
class Verb:
    """A command, and what a whole output of it is.

    Parameters
    ----------
    words : function
        Output -> the words of the command.
    problem : function
        Output -> what is wrong with it, "" if nothing is.
    contents : function
        Output -> what must be the same after an interruption.
    """

    words: Callable[[Path], list[str]]
    problem: Callable[[Path], str]
    contents: Callable[[Path], object]


def write_shapes(folder: Path) -> None:
    """A ball in a box, both of which differ from case to case, with labels."""
    rng = np.random.default_rng(0)
    at = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), -1).astype(float)
    grid = Grid(SHAPE, np.eye(4))
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for n in range(6):
        centre = 15.5 + rng.uniform(-2, 2, 3)
        labels = np.zeros(SHAPE, np.uint8)
        labels[np.abs(at - centre).max(-1) < 11] = 1
        labels[np.linalg.norm(at - centre - rng.uniform(-1, 1, 3), axis=-1) < 6] = 2
        data = (100 * labels + rng.normal(0, 3, SHAPE)).astype(np.float32)
        save_image(folder / "images" / f"case_{n}.nii.gz", data, Image(data, grid))
        save_image(folder / "labels" / f"case_{n}.nii.gz", labels, Image(labels, grid), labels=True)


def verbs(folder: Path) -> dict[str, Verb]:
    """The five commands on the shapes of the folder."""
    shapes, recipe, plan = folder / "shapes", folder / "shapes.toml", folder / "plan.toml"
    write_shapes(shapes)
    recipe.write_text(RECIPE)
    plan.write_text(PLAN.format(recipe=recipe))
    pair = [f"--fixed={shapes}/images/case_0.nii.gz", f"--moving={shapes}/images/case_1.nii.gz"]
    quick = ["--weights=none", "--affine=none"]
    done = folder / "registered"
    run([*command(), "register", *pair, *quick, "--refine=5", "-q", f"--out={done}"])
    applied = ["apply", str(done), pair[1].replace("moving", "image"), "--onto=fixed"]
    scored = ["evaluate", f"--data={shapes}", "--pairs=all", "--limit=4", *quick, "--refine=2"]
    return {
        "register": Verb(
            lambda out: ["register", *pair, *quick, "--refine=5", "-q", f"--out={out}"],
            of_registration,
            lambda out: [(out / name).read_bytes() for name in (MOVED, TRANSFORM, INVERSE, AFFINE)],
        ),
        "apply": Verb(
            lambda out: [*applied, "-q", f"--out={out.with_suffix('.nii.gz')}"],
            of_image,
            lambda out: out.with_suffix(".nii.gz").read_bytes(),
        ),
        "train": Verb(
            lambda out: ["train", str(recipe), f"--data={shapes}", "-q", f"--out={out}"],
            of_training,
            lambda out: {
                name: x.tobytes() for name, x in load_file(out / "last.safetensors").items()
            },
        ),
        "evaluate": Verb(
            lambda out: [*scored, "-q", f"--out={out}"],
            lambda out: of_tables(out, ("pairs.csv", "labels.csv", "summary.json")),
            lambda out: without_seconds(out / "pairs.csv"),
        ),
        "benchmark": Verb(
            lambda out: ["benchmark", str(plan), f"--data={shapes}", "-q", f"--out={out}"],
            of_benchmark,
            lambda out: without_seconds(out / "pairs.csv"),
        ),
    }


def command() -> list[str]:
    return [sys.executable, "-m", "sacbnet"]


def of_registration(out: Path) -> str:
    """All files and a run.json, or none."""
    names = (MOVED, TRANSFORM, INVERSE, AFFINE)
    there = [name for name in (*names, RUN) if (out / name).exists()]
    if RUN not in there:  # files may be on their way: the next run undoes that
        moving = any(out.glob(".sacbnet-*/names.json"))
        return f"{there} without {RUN}" if there and not moving else ""
    try:
        Warper.of(out)
        load_image(out / MOVED)
    except SacbnetError as error:
        return str(error)
    return ""


def of_image(out: Path) -> str:
    try:
        if out.with_suffix(".nii.gz").exists():
            load_image(out.with_suffix(".nii.gz"))
    except SacbnetError as error:
        return str(error)
    return ""


def of_training(out: Path) -> str:
    """Every file is whole by itself; the next session takes the rest from the checkpoint."""
    try:
        for name in ("last.safetensors", "best.safetensors"):
            if (out / name).exists():
                load_weights(out / name, "cpu")
        if (out / CHECKPOINT).exists():
            read_checkpoint(out / CHECKPOINT)
        if (out / RUN).exists():
            json.loads((out / RUN).read_text())
    except (SacbnetError, ValueError) as error:
        return str(error)
    return ""


def of_tables(out: Path, names: tuple[str, ...]) -> str:
    """All tables, or none; the last is written last."""
    there = [name for name in names if (out / name).exists()]
    if names[-1] in there and len(there) < len(names):
        return f"{names[-1]} stands with {there} alone"
    try:
        if names[-1] in there:
            json.loads((out / names[-1]).read_text())
    except ValueError as error:
        return str(error)
    return ""


def of_benchmark(out: Path) -> str:
    for training in out.glob("*/seed-*"):
        if problem := of_training(training):
            return problem
    try:
        if (out / "summary.json").exists():
            json.loads((out / "summary.json").read_text())
    except ValueError as error:
        return str(error)
    return ""


def without_seconds(table: Path) -> list[list[str]]:
    """The rows of a table, less what differs from run to run."""
    rows = [line.split(",") for line in table.read_text().splitlines()]
    kept = [n for n, name in enumerate(rows[0]) if "second" not in name and "memory" not in name]
    return sorted([row[n] for n in kept] for row in rows)


def run(words: list[str]) -> int:
    return subprocess.run(words, check=False, env=environment()).returncode


def start(verb: Verb, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*command(), *verb.words(out)], env=environment())


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def temporary(folder: Path) -> list[Path]:
    return [p for p in folder.rglob(".sacbnet-*") if p.is_dir()]


def killed(verb: Verb, out: Path, whole: float, writing: bool, chance: np.random.Generator) -> bool:
    """Start the command and kill it; False if it ended before."""
    process, began = start(verb, out), time.monotonic()
    if writing:
        while process.poll() is None and not temporary(out.parent):
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
    else:
        time.sleep(chance.uniform(0, whole))
    ended = process.poll() is not None or time.monotonic() - began > 600
    process.kill()
    process.wait()
    return not ended


def try_verb(name: str, verb: Verb, folder: Path, kills: int, seed: int) -> list[str]:
    """Kill one command again and again, then run two at once; what went wrong."""
    chance, wrong = np.random.default_rng(seed), []
    (calm := folder / name / "calm").parent.mkdir()
    began = time.monotonic()
    if code := start(verb, calm).wait():
        return [f"{name}: the run without a break ended with {code}"]
    whole, expected = time.monotonic() - began, verb.contents(calm)
    counts = {"killed": 0, "ended before": 0, "left temporary folders": 0}
    for n in range(kills):
        # the first half into a folder of its own, the others over an earlier result
        out = folder / name / (f"new{n}" if n % 4 < 2 else "again") / "out"
        out.parent.mkdir(exist_ok=True)
        counts["killed" if killed(verb, out, whole, n % 2 == 0, chance) else "ended before"] += 1
        counts["left temporary folders"] += bool(temporary(out.parent))
        if problem := verb.problem(out):
            wrong.append(f"{name}, kill {n}: {problem}")
        if code := start(verb, out).wait():
            wrong.append(f"{name}, kill {n}: the next run ended with {code}")
        elif verb.contents(out) != expected:
            wrong.append(f"{name}, kill {n}: the next run gave another result")
        if left := temporary(out.parent):
            wrong.append(f"{name}, kill {n}: {left[0].name} stayed behind")
    out = folder / name / "two" / "out"
    out.parent.mkdir()
    codes = sorted(process.wait() for process in [start(verb, out), start(verb, out)])
    if codes[0] != 0 or codes[1] not in (0, 3) or verb.problem(out) or temporary(out.parent):
        wrong.append(f"{name}, two at once: exit codes {codes}, {verb.problem(out)}")
    elif verb.contents(out) != expected:
        wrong.append(f"{name}, two at once: another result")
    told = ", ".join(f"{key} {count}" for key, count in counts.items())
    print(f"{name}: {whole:.1f} s; {told}; two at once: exit codes {codes}; wrong: {len(wrong)}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="new folder for all runs")
    parser.add_argument("--kills", type=int, default=10, help="kills of each verb; default 10")
    parser.add_argument("--verb", action="append", default=[], help="default: all five")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments; default 0")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True)
    known = verbs(arguments.folder.absolute())
    wrong = [
        sentence
        for name in arguments.verb or known
        for sentence in try_verb(
            name, known[name], arguments.folder.absolute(), arguments.kills, arguments.seed
        )
    ]
    print("\n".join(wrong) or "nothing was wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
