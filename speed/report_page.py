"""Seconds, bytes and memory of the page report.html of a pair, with one thread.

python speed/report_page.py FIXED MOVING [--labels FIXED_LABELS MOVING_LABELS] [--maps]
"""

from __future__ import annotations

import argparse
import json
import time

import psutil
import torch

import sacbnet
from sacbnet.config.choices import MAPS
from sacbnet.environment import peak_memory_mb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fixed")
    parser.add_argument("moving")
    parser.add_argument("--labels", nargs=2, default=(None, None))
    parser.add_argument("--maps", action="store_true", help="with all maps")
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    result = sacbnet.register(
        fixed=given.fixed,
        moving=given.moving,
        fixed_labels=given.labels[0],
        moving_labels=given.labels[1],
        preset="fast",
        save=MAPS if given.maps else (),
    )
    device = torch.device("cpu")
    before = peak_memory_mb(device)
    wall, processor = [], []
    for _ in range(given.times):
        start, times = time.perf_counter(), psutil.Process().cpu_times()
        page = sacbnet.report(result)
        wall.append(time.perf_counter() - start)
        now = psutil.Process().cpu_times()
        processor.append(now.user + now.system - times.user - times.system)
    found = {
        "shape": result.fixed_grid.shape,
        "bytes": len(page.encode()),
        "wall_seconds": [round(s, 2) for s in sorted(wall)],
        "processor_seconds": [round(s, 2) for s in sorted(processor)],
        "peak_memory_mb": [round(before), round(peak_memory_mb(device))],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
