"""How long a registration will take, by the seconds of earlier runs on this machine.

The time of each part grows with a number of voxels that is known before the part begins. A file in
the cache folder holds the last runs. It never changes a result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf, log, prod
from pathlib import Path
from statistics import median

import torch

from sacbnet.config.registration import Options
from sacbnet.files import atomic_file, cache_folder

from .engine import Engine
from .inputs import Inputs
from .prepare import Pair

FILE = "pace.json"
_OF_REST = ("prepare", "transform", "measure", "inverse", "resample", "maps")
_PARTS: dict[str, tuple[str, ...]] = {
    "affine": ("affine",),
    "network": ("network",),
    "refine": ("refine",),
    "rest": _OF_REST,
}
# Seconds per unit of work where this machine has no earlier run: one idle core of a server (AMD
# EPYC), by the accounts of full-size and small pairs.
_USUAL = {"affine": 2.0, "network": 2.5, "refine": 4.0, "rest": 0.6}
_STEPS = 60  # of the refinement whose usual rate is known
_KEPT, _NEAREST = 30, 3  # runs that are kept of each kind; of these the nearest in size count
_LEAST = 0.05  # million voxels: less work takes as long, because calls have a cost of their own
Runs = dict[str, list[list[float]]]  # of each kind of work: size and seconds of each run


@dataclass(frozen=True)
class Work:
    """What there is to do, in units whose number the time grows with.

    Parameters
    ----------
    sizes : dict of str to float, default empty
        Units of each part: 1 for the affine, else millions of voxels.
    kinds : dict of str to str, default empty
        Of each part, what else decides its rate: weights, measure of likeness, device.
    usual : dict of str to float, default empty
        Seconds per unit where no run of this kind is known.
    """

    sizes: dict[str, float] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    usual: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Forecast:
    """How long a run will take.

    Parameters
    ----------
    seconds : float
        The time, without reading and writing files.
    known : bool
        Whether runs of the same kind on this machine are the ground; otherwise it is a guess by
        another machine.
    """

    seconds: float
    known: bool

    def __str__(self) -> str:
        """A sentence without a full stop."""
        ground = "by earlier runs on this machine" if self.known else "this machine may differ"
        return f"about {about(self.seconds)} in all ({ground})"


def work_of(engine: Engine, o: Options, inputs: Inputs, pair: Pair) -> Work:
    """Count the work that a pair makes.

    Parameters
    ----------
    engine : Engine
        Network and device.
    o : Options
        The options as they are taken for this pair.
    inputs : Inputs
        The images.
    pair : Pair
        Both images on the grid on which they are worked.

    Returns
    -------
    Work
        The work of each part.
    """
    voxels = prod(pair.grid.shape) / 1e6
    given = sum(image.data.size for image in (inputs.fixed, inputs.moving)) / 1e6
    sizes, usual = {"rest": given}, {"rest": _USUAL["rest"]}
    device = str(engine.device)
    if engine.device.type == "cpu":
        device += f", {torch.get_num_threads()} threads"
    kinds = {"rest": device}
    if o.affine != "none":
        sizes["affine"], kinds["affine"], usual["affine"] = 1.0, o.affine, _USUAL["affine"]
    if engine.network is not None and engine.weights is not None:
        sizes["network"] = voxels / pair.factor**3
        kinds["network"] = f"{engine.weights.sha256[:16]}, {o.precision}"
        usual["network"] = _USUAL["network"]
    if (refinement := o.refinement) is not None:
        sizes["refine"] = voxels * (1 + len(inputs.contrasts))
        start = "after a network" if engine.network is not None else "alone"
        kinds["refine"] = f"{refinement.metric}, {o.preset}, {refinement.iterations}, {start}"
        usual["refine"] = _USUAL["refine"] * refinement.iterations / _STEPS
    sizes = {part: max(size, _LEAST) for part, size in sizes.items()}
    return Work(sizes, {part: f"{device}; {kind}" for part, kind in kinds.items()}, usual)


def forecast(work: Work, file: Path | None = None) -> Forecast:
    """Say how long work will take.

    Parameters
    ----------
    work : Work
        The work.
    file : Path or None, default None
        The file with the runs; None: that of the cache folder.

    Returns
    -------
    Forecast
        The time.
    """
    runs = _read(file)
    known = {part: runs.get(f"{part}: {work.kinds[part]}", []) for part in work.sizes}
    seconds = sum(
        size * (_rate(known[part], size) if known[part] else work.usual[part])
        for part, size in work.sizes.items()
    )
    return Forecast(seconds, all(known.values()))


def _rate(runs: list[list[float]], size: float) -> float:
    """Seconds per unit: the median of the runs that are nearest in size, the last ones first."""
    order = sorted(range(len(runs)), key=lambda n: (abs(log(runs[n][0] / size)), -n))
    return median(runs[n][1] / runs[n][0] for n in order[:_NEAREST])


def remember(work: Work, seconds: Mapping[str, float], file: Path | None = None) -> None:
    """Keep the seconds of a finished run. A file that cannot be written is no error.

    Parameters
    ----------
    work : Work
        The work that was done.
    seconds : mapping of str to float
        Seconds of each stage.
    file : Path or None, default None
        The file with the runs; None: that of the cache folder.
    """
    runs = _read(file)
    for part, size in work.sizes.items():
        if not any(stage in seconds for stage in _PARTS[part]):
            continue  # this pair did not need the part
        took = sum(seconds.get(stage, 0.0) for stage in _PARTS[part])
        kept = runs.setdefault(f"{part}: {work.kinds[part]}", [])
        kept.append([round(size, 3), round(took, 3)])
        del kept[:-_KEPT]
    with suppress(Exception), atomic_file(file or cache_folder() / FILE) as part_file:
        part_file.write_text(json.dumps(runs), encoding="utf-8")


def about(seconds: float) -> str:
    """Round a time to what a forecast can know.

    Parameters
    ----------
    seconds : float
        The time, s.

    Returns
    -------
    str
        Such as "5 s", "40 s", "3 min" or "2 h".

    Examples
    --------
    >>> [about(s) for s in (3, 38, 190, 6000)]
    ['5 s', '40 s', '3 min', '1.5 h']
    """
    if seconds < 95:
        step = 5 if seconds < 20 else 10
        return f"{max(step, round(seconds / step) * step)} s"
    if seconds < 5400:
        minutes = seconds / 60
        return f"{round(minutes) if minutes < 12 else 5 * round(minutes / 5)} min"
    return f"{round(seconds / 1800) / 2:g} h"


def _read(file: Path | None) -> Runs:
    """The runs; what is damaged is forgotten."""
    with suppress(OSError, ValueError, AttributeError, TypeError, RecursionError):
        found = json.loads((file or cache_folder() / FILE).read_text(encoding="utf-8"))
        whole = {
            key: [[float(size), float(s)] for size, s in runs if size > 0 and 0 <= s < inf]
            for key, runs in found.items()
        }
        return {key: runs for key, runs in whole.items() if runs}
    return {}
