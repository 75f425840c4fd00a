"""Time every kernel and the whole network, and compare.

    python speed/kernels.py [--quick] [--json FILE] [--plot FILE.png] [--device cuda]
                            [--precision bfloat16] [--only NAME ...] [--sizes 64x64x64 ...]
                            [--clusters 1 3 7 ...] [--no-naive] [--no-backward]
                            [--most-seconds 60]

The comparison is with the published formulation, with a plain convolution, and with the limits of
the machine. Sizes are those of the images; a kernel of level l runs at 1/2^(l-1) of them. The calls
of a case take turns, and the least time of each counts.

`naive` is speed/naive.py, in float32 throughout. `conv` is torch's conv3d on the same batch,
contiguous or channels-last, whichever is faster (for mixed_conv: adaptive_conv). `roof` is the
least time for the bytes and operations of speed/roofline.py at the bandwidth and FLOP/s that are
measured at the start. Memory is the peak beyond what was held before the call (timing.py).

A forecast from a smaller size decides which calls are left out: those beyond 60 s, 16 GB or 0.8 of
the free memory. The end of the output names them.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

# torch's huge pages, which torch reads at its first allocation: without them page faults dominate,
# in the published formulation above all
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import torch
from cases import NAMES, Case, Setting, cases
from roofline import Peak, measure_peak
from timing import MARGIN, Effort, Forecast, Measure, Meter, measure

SIZES = ((64, 64, 64), (80, 96, 80), (160, 192, 160), (160, 192, 224))
CLUSTERS = (1, 3, 7, 11, 31)
QUICK_SIZES, QUICK_CLUSTERS = ((32, 32, 32), (48, 32, 48)), (1, 7)
QUICK = Effort(repeats=3, enough_s=0.15, once_s=0.3, most_s=6.0, most_bytes=4e9)
KEYS = (
    "name",
    "shape",
    "clusters",
    "pass",
    "ours_s",
    "naive_s",
    "conv_s",
    "ours_bytes",
    "naive_bytes",
)
KEYS += ("roofline_s", "precision", "device", "threads")


class Bench:
    """Runs cases, remembers what smaller ones took, and what was left out and why."""

    def __init__(
        self, setting: Setting, peak: Peak, effort: Effort, with_naive: bool = True
    ) -> None:
        self.setting, self.peak, self.effort, self.with_naive = setting, peak, effort, with_naive
        self.meter, self.forecast = Meter(setting.device), Forecast()
        self.left_out: list[str] = []

    def run(self, case: Case) -> dict[str, Any]:
        """The row of one case."""
        found = self.measure(case)
        for who, reason in self.refusals(case).items():
            if who not in found:
                self.left_out.append(f"{_title(case)}: {who} left out, {reason}")
        conv = [m.seconds for who, m in found.items() if who.startswith("conv")]
        ours, published = found.get("ours"), found.get("naive")
        values = [case.name, list(case.shape), case.clusters, case.passes]
        values += [ours and ours.seconds, published and published.seconds, min(conv, default=None)]
        values += [
            ours and ours.bytes,
            published and published.bytes,
            self.peak.seconds(case.costs),
        ]
        values += [str(self.setting.precision).removeprefix("torch."), self.setting.device.type]
        return dict(zip(KEYS, [*values, torch.get_num_threads()], strict=True))

    def measure(self, case: Case) -> dict[str, Measure]:
        """Measure the calls that are not refused, at half the sides first if need be; remember."""
        if not self.known(case, "ours") and (smaller := case.smaller()) is not None:
            self.measure(smaller)
        refused = self.refusals(case)
        calls = {who: call for who, call in case.calls().items() if who not in refused}
        if not self.with_naive:
            calls.pop("naive", None)
        try:
            found = measure(calls, self.meter, self.effort)
        except torch.OutOfMemoryError:
            self.left_out.append(
                f"{_title(case)}: all left out, one of the calls ran out of memory"
            )
            found = {}
        for who, m in found.items():
            self.forecast.learn(self.key(case, who), case.voxels, _work(case, who), m)
        del calls
        gc.collect()
        return found

    def key(self, case: Case, who: str) -> tuple:
        return (case.name, case.passes, case.shape[1], who)

    def known(self, case: Case, who: str) -> bool:
        return self.forecast.expect(self.key(case, who), case.voxels, _work(case, who)) is not None

    def refusals(self, case: Case) -> dict[str, str]:
        """Who is expected to take too long or too much."""
        refused = {}
        for who in ("ours", "naive", "conv contiguous", "conv channels last"):
            expected = self.forecast.expect(self.key(case, who), case.voxels, _work(case, who))
            if expected is None:
                continue
            most = min(self.effort.most_bytes, MARGIN * self.meter.free_bytes())
            if expected.seconds > self.effort.most_s:
                refused[who] = f"expected to take {expected.seconds:.0f} s"
            elif (expected.bytes or 0) > most:
                refused[who] = (
                    f"expected to take {(expected.bytes or 0) / 1e9:.1f} GB of {most / 1e9:.1f}"
                )
        return refused


def _work(case: Case, who: str) -> int:
    """Factor by which work grows with the clusters: in the published forms only, and partly."""
    if who != "naive" or case.clusters is None:
        return 1
    return case.clusters + (10 if case.name == "network" else 0)


def _title(case: Case) -> str:
    clusters = "" if case.clusters is None else f", N={case.clusters}"
    return f"{case.name} {'×'.join(map(str, case.shape))}{clusters}, {case.passes}"


HEADER = (
    f"{'kernel':<14}{'input':<20}{'N':>3} {'pass':<17}{'ours ms':>10}{'naive ms':>11}"
    f"{'conv ms':>10}{'roof ms':>10}{'naive/ours':>11}{'ours/conv':>10}{'ours/roof':>10}"
    f"{'ours MB':>10}{'naive MB':>10}"
)


def line(row: dict[str, Any]) -> str:
    """One row of the table; - where there is no number."""

    def number(value: float | None, width: int, scale: float = 1.0) -> str:
        return (
            f"{'-':>{width}}"
            if value is None
            else f"{value * scale:>{width}.{2 if value * scale < 100 else 0}f}"
        )

    def ratio(over: float | None, under: float | None, width: int) -> str:
        return number(None if not over or not under else over / under, width)

    ours, published = row["ours_s"], row["naive_s"]
    shape = "×".join(map(str, row["shape"]))
    text = f"{row['name']:<14}{shape:<20}{row['clusters'] or '-':>3} {row['pass']:<17}"
    text += number(ours, 10, 1e3) + number(published, 11, 1e3) + number(row["conv_s"], 10, 1e3)
    text += number(row["roofline_s"], 10, 1e3)
    text += (
        ratio(published, ours, 11)
        + ratio(ours, row["conv_s"], 10)
        + ratio(ours, row["roofline_s"], 10)
    )
    return text + number(row["ours_bytes"], 10, 1e-6) + number(row["naive_bytes"], 10, 1e-6)


def size(text: str) -> tuple[int, ...]:
    """64x64x64 -> (64, 64, 64); sides must be multiples of 16, as in the published network."""
    sides = tuple(int(n) for n in text.lower().split("x"))
    if len(sides) != 3 or any(n < 32 or n % 16 for n in sides):
        raise argparse.ArgumentTypeError(
            f"{text}: three multiples of 16, at least 32, were expected, as in 64x96x64"
        )
    return sides


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small sizes, few repeats: within a minute on two cores",
    )
    parser.add_argument("--json", type=Path, help="write the rows here, after each case")
    parser.add_argument(
        "--plot", type=Path, help="draw time against size and against N here (.png)"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="number format of ours and conv",
    )
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES)
    )
    parser.add_argument(
        "--sizes", nargs="+", type=size, metavar="IxJxK", help="sizes of the images"
    )
    parser.add_argument("--clusters", nargs="+", type=int, metavar="N", help="numbers of clusters")
    parser.add_argument(
        "--no-naive", action="store_true", help="leave the published formulation out"
    )
    parser.add_argument("--no-backward", action="store_true", help="forward passes only")
    parser.add_argument(
        "--most-seconds", type=float, help="leave out a call expected to take longer"
    )
    given = parser.parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device here")
    if min(given.clusters or [1]) < 1:
        parser.error("--clusters wants numbers of at least 1")
    given.sizes = given.sizes or (QUICK_SIZES if given.quick else SIZES)
    given.clusters = given.clusters or (QUICK_CLUSTERS if given.quick else CLUSTERS)
    return given


def describe_machine(given: argparse.Namespace, peak: Peak) -> str:
    text = f"torch {torch.__version__}, {given.device}, {torch.get_num_threads()} threads, "
    text += f"{given.precision}; "
    text += f"measured: {peak.bytes_s / 1e9:.1f} GB/s, {peak.flops_s / 1e9:.0f} GFLOP/s; "
    spin = os.environ.get("OMP_WAIT_POLICY", "not set")
    return text + f"huge pages {os.environ['THP_MEM_ALLOC_ENABLE']}, OMP_WAIT_POLICY {spin}"


def main(arguments: Sequence[str] | None = None) -> int:
    given = options(arguments)
    start = time.perf_counter()
    setting = Setting(torch.device(given.device), getattr(torch, given.precision))
    gc.collect()
    # the objects of the imports: otherwise each collection before a measurement takes 0.1 s
    gc.freeze()
    peak = measure_peak(setting.device, setting.precision, 1.0 if given.quick else 5.0)
    print(describe_machine(given, peak))
    print(HEADER)
    effort = QUICK if given.quick else Effort()
    effort = replace(effort, most_s=given.most_seconds or effort.most_s)
    bench = Bench(setting, peak, effort, not given.no_naive)
    rows = []
    for case in cases(given.only, given.sizes, given.clusters, setting, not given.no_backward):
        rows.append(bench.run(case))
        print(line(rows[-1]), flush=True)
        if given.json:
            given.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(*bench.left_out, f"{len(rows)} rows in {time.perf_counter() - start:.0f} s", sep="\n")
    if given.plot:
        from plot_kernels import plot

        plot(rows, given.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
