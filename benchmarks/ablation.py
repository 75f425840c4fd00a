"""The ablation of the paper (Cheng et al., CVPR 2025) on hippocampus: is each switch real, and what does it do?

    python benchmarks/ablation.py DATA RUNS [--recipe hippocampus] [--steps 250] [--jobs 2] [--set section.option=value]

DATA: what sacbnet train takes. RUNS: a folder; each variant is trained there in a folder of its own by `sacbnet train`
with overrides (the commands are printed), equal steps each, --jobs at once with one thread each. Interrupted, the same
command goes on. Told at the end, as a table: validation Dice (nearest) of the last step, folding, parameters, seconds.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sacbnet.models.weights import describe_weights
from sacbnet.report.statistics import summarise


@dataclass(frozen=True)
class Variant:
    """A row of the table: its name, the overrides that make it, and how many seeds it is run with."""

    name: str
    changes: tuple[str, ...] = ()
    seeds: int = 1


VARIANTS = (
    Variant("no SACB", ("model.sacb_levels=[]",), 3),
    Variant("level 5", ("model.sacb_levels=[5]",)),
    Variant("levels 5-4", ("model.sacb_levels=[5,4]",)),
    Variant("levels 5-3", ("model.sacb_levels=[5,4,3]",)),
    Variant("levels 5-2, N = 7, spatial", (), 3),
    Variant("N = 3", ("model.clusters=3",)),
    Variant("N = 5", ("model.clusters=5",)),
    Variant("N = 11", ("model.clusters=11",)),
    Variant("channel descriptors", ("model.descriptor=channel",)),
    Variant("both descriptors", ("model.descriptor=both",)),
)


def folder_of(runs: Path, variant: Variant, seed: int) -> Path:
    return runs / f"{variant.name.replace(' ', '-').replace(',', '').replace('=', '')}-seed-{seed}"


def train(arguments: argparse.Namespace, variant: Variant, seed: int) -> None:
    """Run one variant to its end; what it says goes to its train.log."""
    out = folder_of(arguments.runs, variant, seed)
    out.mkdir(parents=True, exist_ok=True)
    changes = [*variant.changes, f"run.steps={arguments.steps}", f"run.validate_every={arguments.steps}"]
    changes += [f"run.seed={seed}", f"run.checkpoint_every={max(1, arguments.steps // 10)}", *arguments.change]
    command = ["sacbnet", "train", arguments.recipe, "--data", str(arguments.data), "--out", str(out)]
    command += [word for change in changes for word in ("--set", change)]
    print(" ".join(command), flush=True)
    with (out / "train.log").open("a") as log:
        environment = os.environ | {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // arguments.jobs))}
        program = [sys.executable, "-m", "sacbnet.cli.main", *command[1:]]
        subprocess.run(program, stderr=log, check=True, env=environment)


def result(out: Path) -> dict[str, float]:
    last = [row for row in csv.DictReader((out / "metrics.csv").open()) if row["validation_dice"]][-1]
    state = json.loads((out / "run.json").read_text())["state"]
    return {
        "dice": float(last["validation_dice"]),
        "folded_percent": float(last["validation_folded_percent"]),
        "similarity": float(last["validation_similarity"]),
        "seconds": state["seconds"],
        "steps": state["step"],
        "baseline": state["baseline"]["dice"],
        "parameters": describe_weights(out / "last.safetensors")["parameters"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--recipe", default="hippocampus")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--set", dest="change", action="append", default=[])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    # the first seed of every variant comes before the further ones: a table of all rows exists as early as can be
    work = sorted(((v, seed) for v in VARIANTS for seed in range(v.seeds)), key=lambda pair: pair[1])
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(lambda pair: train(arguments, *pair), work))
    table = {v.name: [result(folder_of(arguments.runs, v, seed)) for seed in range(v.seeds)] for v in VARIANTS}
    baseline = table["no SACB"][0]["baseline"]
    print(f"\n{arguments.steps} steps of recipe {arguments.recipe}; before training Dice {baseline:.4f}")
    print("\n| variant | Dice (seeds) | mean ± SD | folded % | parameters | s |\n|---|---|---|---|---|---|")
    for name, found in table.items():
        told = summarise(row["dice"] for row in found)
        spread = f"{told.mean:.4f} ± {told.sd:.4f}" if told.n > 1 else f"{told.mean:.4f}"
        folded = sum(row["folded_percent"] for row in found) / len(found)
        seconds = sum(row["seconds"] for row in found) / len(found)
        each = " ".join(f"{row['dice']:.4f}" for row in found)
        print(f"| {name} | {each} | {spread} | {folded:.3f} | {found[0]['parameters']:,} | {seconds:.0f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
