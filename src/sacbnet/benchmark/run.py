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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sacbnet.config.recipe import DataOptions
from sacbnet.config.registration import Options
from sacbnet.data.cases import Case
from sacbnet.environment import environment, processor
from sacbnet.errors import InputError, SacbnetError
from sacbnet.evaluation.protocol import Protocol, pairs_to_score
from sacbnet.evaluation.run import ByRegistrar
from sacbnet.evaluation.scoring import OF_A_LABEL, Register, Row, Watch, outcomes, summary
from sacbnet.evaluation.tables import plain
from sacbnet.files import atomic_file
from sacbnet.kernels.cpu.memory import release_memory
from sacbnet.kernels.dispatch import kernels_for, pick_device
from sacbnet.networks.weights.load import describe_weights
from sacbnet.registration.registrar import Registrar
from sacbnet.training.source import alone_in

from .comparison import compare
from .facts import Facts, Failure
from .ledger import Ledger
from .method import Method
from .plan import Plan
from .plots import boxplots
from .report import Report
from .tools.adapter import Tool
from .trainings import Stopped, Trainings

SUMMARY, TABLE, PLOT, PAGE = "summary.json", "table.md", "boxplots.png", "index.html"
PICTURES = "pictures"  # folder with pictures of the worst pairs


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


@dataclass(frozen=True)
class Benchmark:
    """The outcome of a benchmark.

    Parameters
    ----------
    report : Report
        What summary.json holds.
    table : str
        What table.md holds.
    signal : int, default 0
        Number of the signal that ended the benchmark before its time; 0: none.
    rows, labels : tuple of Row, default ()
        The scores of each pair, and of each label of a pair.
    """

    report: Report
    table: str
    signal: int = 0
    rows: tuple[Row, ...] = ()
    labels: tuple[Row, ...] = ()


def benchmark(
    plan: Plan,
    setting: Setting,
    only: Sequence[str] = (),
    say: Callable[[str], None] = print,
    progress: Callable[[str, float], None] | None = None,
    watch: Watch | None = None,
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
    watch : Watch or None, default None
        Called with each pair once it is scored; the row has the names of method and seed.

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
    signal = 0
    with alone_in(setting.out):
        work = _Work(plan, setting, cases, pairs, Ledger(setting.out), say, watch)
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
            signal = 2
        except Stopped as stopped:
            signal = stopped.signal
        finally:
            work.ledger.save()
            report = work.tell(incomplete)
    rows, labels = (tuple(work.rows(labels=x)) for x in (False, True))
    return Benchmark(report, report.page(), signal, rows, labels)


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
    watch: Watch | None = None

    @property
    def data(self) -> DataOptions:
        return self.plan.data()

    @property
    def trainings(self) -> Trainings:
        s = self.setting
        return Trainings(self.plan, s.data, s.out, s.device, self.say)

    def names(self) -> list[tuple[str, str]]:
        return [(self.cases[m].name, self.cases[f].name) for m, f in self.pairs]

    def rows(self, labels: bool = False) -> list[Row]:
        """The scores of the pairs that were asked for."""
        return self.ledger.rows(set(self.names()), labels=labels)

    def definition(self, method: Method) -> dict[str, Any]:
        """What a method's scores depend on, and not on which pairs are scored."""
        trees = self.trainings.definition(method)
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
        failed: list[Failure] = []
        key = (method.name, "" if seed is None else str(seed))
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
                watch=_named(self.watch, *key),
            ):
                if isinstance(outcome, SacbnetError):
                    failed.append(Failure(*key, str(outcome), names["moving"], names["fixed"]))
                    self.say(f"{what}: {names['moving']} -> {names['fixed']} failed: {outcome}")
                    continue
                (row,), labels = outcome
                parameters = {} if facts.parameters is None else {"parameters": facts.parameters}
                self.ledger.add(method.name, seed, names, row | parameters, labels)
        except Stopped:
            raise
        except Exception as error:
            told = (
                str(error)
                if isinstance(error, SacbnetError)
                else f"{type(error).__name__}: {error}"
            )
            failed.append(Failure(*key, " ".join(told.split())))
            self.say(f"{what} failed: {failed[-1].error}")
        self.ledger.tell(method.name, seed, failed=failed)
        self.ledger.save()

    def prepare(self, method: Method, seed: int | None) -> tuple[Register, Facts]:
        """What registers, and the facts about it."""
        s = self.setting
        if method.tool:
            tool = Tool(method.tool, s.python, s.threads, aligned=method.affine == "none")
            return tool, Facts(tool=tool.version())
        weights = method.weights
        facts = Facts()
        if seed is not None:
            weights, facts = self.trainings.train(method, seed)
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
            own = told.sha256 if seed is None else None
            facts = replace(facts, parameters=told.parameters, weights=own)
        return ByRegistrar(Registrar.of(o)), facts

    def tell(self, incomplete: bool) -> Report:
        """Write summary.json, table.md and boxplots.png of all methods that have rows."""
        out, names = self.setting.out, [method.name for method in self.plan.methods]
        rows, labels = self.rows(), self.rows(labels=True)
        standings = compare(rows, names)
        shown = [s.method for s in standings]
        device = pick_device(self.setting.device)
        report = Report(
            plan=self.plan,
            environment=environment(device, kernels_for(device)),
            processor=processor(),
            pairs=len(self.pairs),
            tool_threads=self.setting.threads,
            incomplete=incomplete,
            standings=standings,
            facts={name: self.ledger.facts(name) for name in shown},
            failed=tuple(row for name in names for row in self.ledger.failures(name)),
            labels={
                m: summary([r for r in labels if r["method"] == m], OF_A_LABEL, "label")
                for m in shown
            },
        )
        tree = json.dumps(plain(report.to_dict()), indent=1)
        for name, content in ((SUMMARY, tree), (TABLE, report.page())):
            with atomic_file(out / name) as path:
                path.write_text(content, encoding="utf-8")
        if labels and not boxplots(
            out / PLOT, labels, shown, f"{self.plan.name}: {len(self.pairs)} pairs"
        ):
            self.say(f"{PLOT} is not drawn: matplotlib is not installed")
        return report


def _give_back_memory() -> None:
    """What a training and the methods before have left: it would count as this method's."""
    gc.collect()
    release_memory()
    # of other C libraries than Linux's; Windows has no library without a name (TypeError)
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _named(watch: Watch | None, method: str, seed: str) -> Watch | None:
    """Tell who looks at a pair by which method and seed it was registered."""
    if watch is None:
        return None
    look, key = watch, {"method": method, "seed": seed}
    return lambda row, **subjects: look(row | key, **subjects)


def _prefixed(
    progress: Callable[[str, float], None] | None, what: str
) -> Callable[[str, float], None] | None:
    return None if progress is None else lambda names, done: progress(f"{what}: {names}", done)
