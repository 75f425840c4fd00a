"""The report of a benchmark: summary.json and table.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .comparison import Standing, table
from .facts import Failure, MethodFacts
from .plan import Plan


@dataclass(frozen=True)
class Report:
    """What a benchmark found.

    Parameters
    ----------
    plan : Plan
        Which methods were compared, and how.
    environment : mapping of str to object
        Versions and machine (`sacbnet.environment`).
    processor : str
        Model of the CPU.
    pairs : int
        Number of pairs that were asked for.
    tool_threads : int, default 1
        Threads of a tool.
    incomplete : bool, default False
        Whether the benchmark ended before its time.
    standings : tuple of Standing, default ()
        The methods that have scores. The first is the reference.
    facts : mapping of str to MethodFacts, default empty
        By method, for each of the standings.
    failed : tuple of Failure, default ()
        What failed.
    labels : mapping of str to dict, default empty
        By method and label, the summaries of the numbers.
    """

    plan: Plan
    environment: Mapping[str, Any]
    processor: str
    pairs: int
    tool_threads: int = 1
    incomplete: bool = False
    standings: tuple[Standing, ...] = ()
    facts: Mapping[str, MethodFacts] = field(default_factory=dict)
    failed: tuple[Failure, ...] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values, as summary.json holds them.

        Returns
        -------
        dict
            The fields. "methods" joins the standing and the facts of each method.
        """
        return {
            "format_version": 1,
            "environment": {**self.environment, "processor": self.processor},
            "benchmark": self.plan.to_dict(),
            "pairs": self.pairs,
            "tool_threads": self.tool_threads,
            "incomplete": self.incomplete,
            "methods": {s.method: s.to_dict() | self._of(s.method) for s in self.standings},
            "failed": [failure.to_dict() for failure in self.failed],
            "labels": dict(self.labels),
        }

    def page(self) -> str:
        """Write table.md: what was done, the table, the tools, and what failed.

        Returns
        -------
        str
            The page in Markdown.
        """
        about = [self.plan.about, ""] if self.plan.about else []
        lines = [f"# {self.plan.name}", "", *about, self.conditions(), ""]
        lines += [table(self.standings, self.facts, self.pairs), ""]
        lines += [f"- {sentence}" for sentence in self.remarks()]
        return "\n".join(lines).rstrip() + "\n"

    def remarks(self) -> list[str]:
        """Say what else is known: versions of tools, methods that have not run, failures.

        Returns
        -------
        list of str
            A sentence for each.
        """
        lines = [f"{name}: {f.tool}." for name, f in self.facts.items() if f.tool is not None]
        silent = {s.method for s in self.standings} | {failure.method for failure in self.failed}
        lines += [f"{m.name}: not run yet." for m in self.plan.methods if m.name not in silent]
        for failure in self.failed:
            what = failure.method + (f", seed {failure.seed}" if failure.seed else "")
            what += f", {failure.moving} -> {failure.fixed}" if failure.moving else ""
            lines.append(f"{what} failed: {failure.error}")
        return lines

    def _of(self, method: str) -> dict[str, Any]:
        return self.facts.get(method, MethodFacts()).to_dict()

    def conditions(self) -> str:
        """Say how many pairs there are, how networks were trained, and on which machine.

        Returns
        -------
        str
            One paragraph.
        """
        plan, where = self.plan, self.environment
        told = f"{self.pairs} pairs, mean ± SD over them."
        if any(method.train is not None for method in plan.methods):
            steps = plan.steps or "the recipe's"
            told += (
                f" Each network: {steps} steps of recipe {plan.recipe},"
                f" seeds {', '.join(map(str, plan.seeds))}, {plan.keep} weights."
            )
        told += (
            f" {self.processor}, {where['device']}, {where['threads']} threads;"
            f" sacbnet {where['sacbnet']}."
        )
        return told + (" Not finished." if self.incomplete else "")
