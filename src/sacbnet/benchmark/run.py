"""Benchmarks: methods beside each other on the same pairs, trained alike and scored by one rule.

`benchmark.plan` holds what may be chosen; docs/how-to explains what comes out. An interrupted
benchmark goes on where it was.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sacbnet.config.recipe import DataOptions, Recipe, read_recipe, same_training
from sacbnet.config.registration import Options
from sacbnet.data.cases import Case
from sacbnet.environment import environment, processor
from sacbnet.errors import InputError, SacbnetError
from sacbnet.evaluation.protocol import Protocol, pairs_to_score
from sacbnet.evaluation.run import ByRegistrar
from sacbnet.evaluation.scoring import OF_A_LABEL, Register, Row, outcomes, summary
from sacbnet.evaluation.tables import plain
from sacbnet.files import atomic_file
from sacbnet.kernels.cpu.memory import release_memory
from sacbnet.kernels.dispatch import kernels_for, pick_device
from sacbnet.networks.weights.catalogue import lasting
from sacbnet.networks.weights.load import BEST, LAST, describe_weights
from sacbnet.registration.registrar import Registrar
from sacbnet.training.folder import RECIPE, RUN
from sacbnet.training.loop import train
from sacbnet.training.source import alone_in, open_data, with_source
from sacbnet.training.team import Team

from .comparison import compare, page
from .ledger import Ledger
from .plan import Method, Plan
from .plots import boxplots
from .tools.adapter import Tool

SUMMARY, TABLE, PLOT = "summary.json", "table.md", "boxplots.png"
NOT_DEFINING = (
    "run.device",
    "data.source",
    "run.start_from",
    "run.checkpoint_every",
    "run.log_every",
)


@dataclass(frozen=True)
class Setting:
    """Where and how a benchmark is run.

    Parameters
    ----------
    data : Path
        Images with labels or landmarks; no pack.
    out : Path
        Folder for everything that comes out.
    device : str, default "auto"
        Device of our methods.
    python : str, default this interpreter
        The interpreter that has the tools of other makers.
    threads : int, default 1
        Threads of a tool.
    limit : int, default 0
        At most so many pairs; 0: all.
    """

    data: Path
    out: Path
    device: str = "auto"
    python: str = sys.executable
    threads: int = 1
    limit: int = 0


@dataclass
class Benchmark:
    """What a benchmark came to.

    Parameters
    ----------
    report : dict[str, Any], default empty
        What summary.json holds.
    table : str, default ""
        What table.md holds.
    signal : int, default 0
        Number of the signal that ended the benchmark before its time; 0: none.
    """

    report: dict[str, Any] = field(default_factory=dict)
    table: str = ""
    signal: int = 0


class _Stopped(Exception):
    """A training was told to stop by a signal."""

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal


def benchmark(
    plan: Plan,
    setting: Setting,
    only: Sequence[str] = (),
    say: Callable[[str], None] = print,
    progress: Callable[[str, float], None] | None = None,
) -> Benchmark:
    """Train and score the methods of a plan, as far as they are not done yet.

    Each seed's training goes on where it was, and pairs that have their scores are not done again.
    What a method raises is reported, and the rest goes on; the method is tried again next time.
    Ctrl-C, and a signal that ends a training, end the work; everything that is done is written,
    marked incomplete.

    Parameters
    ----------
    plan : Plan
        Which methods are compared, and how.
    setting : Setting
        Where and how the benchmark is run.
    only : Sequence[str], default ()
        Methods to run, by name; (): all.
    say : callable (str), default print
        Called with a line about each step.
    progress : callable (str, float), or None, default None
        Called with the method and the pair at hand, and the fraction of its pairs that is done.

    Returns
    -------
    Benchmark
        Scores, table, and the signal that ended the work.

    Raises
    ------
    InputError
        If a method or pair does not exist, or if the folder holds scores by other definitions or
        the work of another process.
    OutputError
        If something cannot be written.
    """
    methods = _chosen(plan, only)
    protocol = Protocol.of(plan.data(), f"the benchmark {plan.name}")
    cases, pairs = pairs_to_score(setting.data, protocol, setting.limit)
    found = Benchmark()
    with alone_in(setting.out):
        work = _Work(plan, setting, cases, pairs, Ledger(setting.out), say)
        for method in methods:
            work.ledger.begin(method.name, work.definition(method))
        todo = sorted(
            (
                (n, seed)
                for n, method in enumerate(methods)
                for seed in enumerate(plan.seeds_of(method))
            ),
            key=lambda item: item[1][0],  # a first seed of every method comes before further ones
        )
        incomplete = True
        try:
            for n, (_, seed) in todo:
                work.do(methods[n], seed, progress)
            incomplete = False
        except KeyboardInterrupt:
            found.signal = 2
        except _Stopped as stopped:
            found.signal = stopped.signal
        finally:
            work.ledger.save()
            found.report, found.table = work.tell(incomplete)
    return found


def _chosen(plan: Plan, only: Sequence[str]) -> tuple[Method, ...]:
    known = {key: method for method in plan.methods for key in (method.slug, method.name)}
    if unknown := [name for name in only if name not in known]:
        names = ", ".join(method.name for method in plan.methods)
        raise InputError(f"the benchmark {plan.name} has no method {unknown[0]!r}; it has {names}")
    wanted = {known[name].name for name in only}
    return tuple(method for method in plan.methods if not only or method.name in wanted)


@dataclass(frozen=True)
class _Work:
    plan: Plan
    setting: Setting
    cases: tuple[Case, ...]
    pairs: tuple[tuple[int, int], ...]
    ledger: Ledger
    say: Callable[[str], None]

    @property
    def data(self) -> DataOptions:
        return self.plan.data()

    def names(self) -> list[tuple[str, str]]:
        return [(self.cases[m].name, self.cases[f].name) for m, f in self.pairs]

    def definition(self, method: Method) -> dict[str, Any]:
        """What a method's scores depend on, and not on which pairs are scored."""
        trees = {}
        for n, recipe in enumerate(
            self.plan.recipes(method, 0) if method.train is not None else ()
        ):
            tree = recipe.to_dict()
            for place in NOT_DEFINING:
                section, _, option = place.partition(".")
                del tree[section][option]
            trees[f"stage {n + 1}"] = {k: v for k, v in tree.items() if isinstance(v, dict)}
        mine = {
            k: v for k, v in asdict(method).items() if k not in ("name", "seeds", "train", "stages")
        }
        of_data = {"labels": self.data.labels, "align": self.data.align}
        return {
            "method": mine,
            "recipes": trees,
            "keep": self.plan.keep if trees else "",
            "data": of_data,
        }

    def do(
        self, method: Method, seed: int | None, progress: Callable[[str, float], None] | None
    ) -> None:
        """Train, and score the pairs that have no scores yet."""
        missing = [
            pair
            for pair, (moving, fixed) in zip(self.pairs, self.names(), strict=True)
            if not self.ledger.has(method.name, seed, {"moving": moving, "fixed": fixed})
        ]
        what = method.name if seed is None else f"{method.name}, seed {seed}"
        if not missing:
            self.say(f"{what}: all {len(self.pairs)} pairs are done")
            return
        failed: list[Row] = []
        try:
            register, facts = self.prepare(method, seed)
            self.ledger.tell(method.name, seed, facts)
            self.say(f"{what}: {len(missing)} pairs")
            centre = self.data.align == "centre"
            for names, outcome in outcomes(
                self.cases,
                missing,
                self.data.labels,
                register,
                centre=centre,
                progress=_prefixed(progress, what),
            ):
                if isinstance(outcome, SacbnetError):
                    failed.append(names | {"error": str(outcome)})
                    self.say(f"{what}: {names['moving']} -> {names['fixed']} failed: {outcome}")
                    continue
                (row,), labels = outcome
                parameters = {"parameters": facts["parameters"]} if "parameters" in facts else {}
                self.ledger.add(method.name, seed, names, row | parameters, labels)
        except _Stopped:
            raise
        except Exception as error:
            told = (
                str(error)
                if isinstance(error, SacbnetError)
                else f"{type(error).__name__}: {error}"
            )
            failed.append({"error": " ".join(told.split())})
            self.say(f"{what} failed: {failed[-1]['error']}")
        self.ledger.tell(method.name, seed, failed=failed)
        self.ledger.save()

    def prepare(self, method: Method, seed: int | None) -> tuple[Register, dict[str, Any]]:
        """What registers, and what is to be told of it."""
        s = self.setting
        if method.tool:
            tool = Tool(method.tool, s.python, s.threads, aligned=method.affine == "none")
            return tool, {"tool": tool.version()}
        weights = method.weights
        facts: dict[str, Any] = {}
        if seed is not None:
            weights, facts = self.trained(method, seed)
        o = Options(
            weights=weights,
            affine=method.affine,  # type: ignore[arg-type]
            preset=method.preset or ("balanced" if weights == "none" else "fast"),  # type: ignore[arg-type]
            refine=method.refine,
            device=s.device,
            repair=method.repair,
        )
        _give_back_memory()
        if weights != "none":
            told = describe_weights(weights)
            facts |= {"parameters": told.parameters}
            if seed is None:
                facts["weights"] = told.sha256
        return ByRegistrar(Registrar.of(o)), facts

    def trained(self, method: Method, seed: int) -> tuple[str, dict[str, Any]]:
        """The weights of a training, and how the training went.

        A training that is not finished is started, or continued.
        """
        team = Team(device=pick_device(self.setting.device))
        base = self.setting.out / method.slug / f"seed-{seed}"
        recipes = self.plan.recipes(method, seed)
        seconds, start = 0.0, ""
        for n, recipe in enumerate(recipes):
            folder = base / f"stage-{n + 1}" if len(recipes) > 1 else base
            recipe = with_source(recipe, self.setting.data)
            if start:
                recipe = replace(recipe, run=replace(recipe.run, start_from=lasting(start)))
            if not _finished(folder, recipe):
                pack = open_data(recipe, self._place_of_pack(recipe, folder), team, self.say)
                outcome = train(recipe, pack, folder, team, say=self.say)
                if not outcome.finished:
                    raise _Stopped(outcome.signal)
            seconds += json.loads((folder / RUN).read_text(encoding="utf-8"))["state"]["seconds"]
            start = str(folder / (LAST if self.plan.keep == "last" else BEST))
        steps = sum(recipe.run.steps for recipe in recipes)
        return start, {"steps": steps, "training_seconds": round(seconds, 1)}

    def _place_of_pack(self, recipe: Recipe, folder: Path) -> Path:
        """Where a training's pack lies. Trainings with the data of the first share its pack."""
        first = next(method for method in self.plan.methods if method.train is not None)
        usual = self.plan.recipes(first, 0)[0]
        same = (
            replace(recipe.data, source=usual.data.source) == usual.data
            and recipe.synthesis == usual.synthesis
        )
        return self.setting.out if same else folder

    def tell(self, incomplete: bool) -> tuple[dict[str, Any], str]:
        """Write summary.json, table.md and boxplots.png of all methods that have rows."""
        out, names = self.setting.out, [method.name for method in self.plan.methods]
        rows, labels = (
            self.ledger.rows(set(self.names()), labels=labels) for labels in (False, True)
        )
        standings = compare(rows, names)
        shown = [s.method for s in standings]
        device = pick_device(self.setting.device)
        report = {
            "format_version": 1,
            "environment": environment(device, kernels_for(device)) | {"processor": processor()},
            "benchmark": self.plan.to_dict(),
            "pairs": len(self.pairs),
            "tool_threads": self.setting.threads,
            "incomplete": incomplete,
            "methods": {s.method: s.to_dict() | self.ledger.facts(s.method) for s in standings},
            "failed": [row for name in names for row in self.ledger.failures(name)],
            "labels": {
                m: summary([r for r in labels if r["method"] == m], OF_A_LABEL, "label")
                for m in shown
            },
        }
        text = page(standings, report)
        for name, content in ((SUMMARY, json.dumps(plain(report), indent=1)), (TABLE, text)):
            with atomic_file(out / name) as path:
                path.write_text(content, encoding="utf-8")
        if labels and not boxplots(
            out / PLOT, labels, shown, f"{self.plan.name}: {len(self.pairs)} pairs"
        ):
            self.say(f"{PLOT} is not drawn: matplotlib is not installed")
        return report, text


def _give_back_memory() -> None:
    """What a training and the methods before have left: it would count as this method's."""
    gc.collect()
    release_memory()
    with suppress(OSError, AttributeError):  # of other C libraries than Linux's
        ctypes.CDLL(None).malloc_trim(0)


def _finished(folder: Path, recipe: Recipe) -> bool:
    """Whether a training by this recipe has ended there. InputError where one by another has."""
    if not (folder / RUN).exists() or not (folder / RECIPE).exists():
        return False
    state = json.loads((folder / RUN).read_text(encoding="utf-8"))["state"]
    before = read_recipe(folder / RECIPE)
    differ = same_training(before, recipe) + (
        ["run.steps"] if before.run.steps != recipe.run.steps else []
    )
    if differ:
        raise InputError(
            f"{folder} was trained with another recipe ({', '.join(differ)} differ); choose another"
            " --out, or remove the folder"
        )
    return bool(state["step"] >= recipe.run.steps)


def _prefixed(
    progress: Callable[[str, float], None] | None, what: str
) -> Callable[[str, float], None] | None:
    return None if progress is None else lambda names, done: progress(f"{what}: {names}", done)
