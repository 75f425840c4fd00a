"""index.html of `sacbnet benchmark`: the table, box plots, and each method's worst pairs."""

from __future__ import annotations

from collections.abc import Sequence

from sacbnet.benchmark.comparison import cells, over_seeds
from sacbnet.benchmark.run import Benchmark
from sacbnet.data.cases import natural
from sacbnet.evaluation.tables import SHOWN

from . import boxes
from .evaluation import ALT, PLOTTED, UNIT, by_label, card_of, legend
from .gallery import cards
from .markup import Html, element, table
from .numbers import pairs_table
from .shell import Section, whole_page
from .worst import Worst, badness

MOST = 3  # worst pairs of each method


def comparison_page(found: Benchmark, worst: Worst) -> str:
    """Make the page of a benchmark.

    Parameters
    ----------
    found : Benchmark
        Its scores.
    worst : Worst
        The pictures of the worst pairs of each method.

    Returns
    -------
    str
        HTML: one file that loads nothing else.
    """
    report = found.report
    methods = [standing.method for standing in report.standings]
    heads, rows = cells(report.standings, report.facts, report.pairs)
    words = [report.plan.about, report.conditions()]
    words += [sentence for sentence in report.remarks() if " failed" in sentence]
    kind = "check" if report.failed or report.incomplete else "open"
    told = element("section", *(element("p", x) for x in words if x), class_=f"verdict {kind}")
    remarks = [element("li", sentence) for sentence in report.remarks()]
    settings = [pairs_table({**report.environment, "processor": report.processor}, "Versions")]
    sections = [
        Section(
            "numbers",
            "Numbers",
            (
                table(heads, rows, "Mean ± SD over the pairs; p: against the first method"),
                *([element("ul", *remarks)] if remarks else []),
            ),
        ),
        Section("spread", "Spread over the pairs", tuple(_spread(found, methods))),
        *_labels(found, methods),
        Section("worst", "Worst pairs of each method", tuple(_worst(found, worst, methods))),
        Section("settings", "Settings", tuple(settings)),
    ]
    subtitle = f"sacbnet {report.environment.get('sacbnet', '')}; {report.pairs} pairs"
    return whole_page(f"Benchmark {report.plan.name}", subtitle, [told], sections)


def _spread(found: Benchmark, methods: Sequence[str]) -> list[Html]:
    """A box for each method over its pairs; of several seeds their mean."""
    out = []
    for key in PLOTTED:
        values = over_seeds(found.rows, key, methods)
        rows = [
            boxes.Row(m, list(values[m].values()), n) for n, m in enumerate(methods) if m in values
        ]
        if rows:
            title, how = SHOWN[key]
            out.append(boxes.box_plot(rows, title, how=how, limits=UNIT.get(key)))
    return out or [element("p", "There are no scores yet.")]


def _labels(found: Benchmark, methods: Sequence[str]) -> list[Section]:
    names = sorted({str(row["label"]) for row in found.labels}, key=natural)
    by = {}
    for name in names:
        rows = [row for row in found.labels if str(row["label"]) == name]
        values = over_seeds(rows, "dice_nearest", methods)
        by[f"label {name}"] = {m: list(x.values()) for m, x in values.items()}
    return [Section("labels", "Labels", tuple(by_label(methods, by)))] if by else []


def _worst(found: Benchmark, worst: Worst, methods: Sequence[str]) -> list[Html]:
    """The worst pairs of each method: of several seeds the worst one counts."""
    parts = [legend()]
    for method in methods:
        rows = sorted(
            (row for row in found.rows if row["method"] == method), key=badness, reverse=True
        )
        first = {(str(row["moving"]), str(row["fixed"])): row for row in reversed(rows)}
        order = sorted(first, key=lambda names: badness(first[names]), reverse=True)[:MOST]
        entries = [card_of(first[names], picture=worst.picture(method, names)) for names in order]
        parts += [element("h3", method), cards(entries, ALT)]
    return parts
