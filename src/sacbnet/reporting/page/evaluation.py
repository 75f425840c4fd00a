"""index.html of `sacbnet evaluate`: means, box plots, the worst pairs with pictures, all pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from sacbnet.evaluation.run import Evaluation
from sacbnet.evaluation.scoring import Row
from sacbnet.evaluation.tables import SHOWN, scored_line

from . import boxes
from .gallery import Entry, all_table, cards
from .markup import Html, element, table
from .numbers import pairs_table
from .shell import Section, whole_page
from .thumbnail import EDGES, OUTLINES
from .worst import Worst, badness

REGISTERED = "registered"
PLOTTED = ("dice_nearest", "hd95_mm", "tre_mm")
ALT = "Three planes of the fixed image, and below them the same planes of the moved image."
FOLDS = ("folded_percent", "non_diffeomorphic_percent")
UNIT = {"dice_nearest": (0.0, 1.0), "dice_onehot": (0.0, 1.0)}  # ends of the scale
_WORST = 12  # pairs with pictures
_FEW = 24  # boxes that are shown without a click


def evaluation_page(found: Evaluation, worst: Worst, origin: str) -> str:
    """Make the page of an evaluation.

    Parameters
    ----------
    found : Evaluation
        The scores.
    worst : Worst
        The pictures of the worst pairs.
    origin : str
        Where the choice of pairs came from.

    Returns
    -------
    str
        HTML: one file that loads nothing else.
    """
    report = found.report
    weights = report["weights"]
    name = "refinement alone" if weights is None else weights["name"]
    methods = list(report["summary"])
    rows = sorted(
        (row for row in found.pairs if row.get("method") == REGISTERED or "error" in row),
        key=lambda row: ("error" in row, badness(row)),
        reverse=True,
    )
    before = {_names(r): r for r in found.pairs if r.get("method", REGISTERED) != REGISTERED}
    entries = [entry_of(row, before.get(_names(row))) for row in rows]
    shown = [
        card_of(row, before.get(_names(row)), worst.picture(REGISTERED, _names(row)))
        for row in rows[:_WORST]
    ]
    sections = [
        Section("numbers", "Numbers", (_means(report["summary"], methods),)),
        Section("spread", "Spread over the pairs", tuple(_spread(found.pairs, methods))),
        *_labels(found.labels, methods),
        worst_section(shown),
        Section("pairs", "All pairs", (all_table(entries, "Worst pairs first"),)),
        settings(report),
    ]
    subtitle = f"sacbnet {report['environment']['sacbnet']}; {scored_line(report, origin)}"
    return whole_page(f"Scores of {name}", subtitle, [_told(report)], sections)


def entry_of(row: Row, before: Row | None = None) -> Entry:
    """Describe a scored pair, or one that failed.

    Parameters
    ----------
    row : Row
        Its scores, or its error.
    before : Row or None, default None
        The scores of its baseline.

    Returns
    -------
    Entry
        The pair with the numbers that there are.
    """
    name = f"{row['moving']} → {row['fixed']}"
    if "error" in row:
        return Entry(name, "failed", words=str(row["error"]))
    numbers = {}
    for key, (title, how) in SHOWN.items():
        if before is not None and key in before and key in PLOTTED:
            numbers[f"{title}, before"] = _number(before.get(key), how)
        if key in row:
            numbers[title] = _number(row[key], how)
    return Entry(name, numbers=numbers)


def card_of(row: Row, before: Row | None = None, picture: bytes | None = None) -> Entry:
    """Describe a pair in a few numbers, for a card.

    Parameters
    ----------
    row : Row
        Its scores, or its error.
    before : Row or None, default None
        The scores of its baseline.
    picture : bytes or None, default None
        A JPEG.

    Returns
    -------
    Entry
        The pair.
    """
    whole = entry_of(row)
    numbers = {}
    for key in (*PLOTTED, *(k for k in FOLDS if row.get(k))):
        title, how = SHOWN[key]
        if key in row:
            start = "" if before is None or key not in before else f"{_number(before[key], how)} → "
            numbers[title] = start + _number(row[key], how)
    return Entry(whole.name, whole.verdict, numbers, whole.words, picture)


def worst_section(entries: Sequence[Entry]) -> Section:
    """Lay out the worst pairs.

    Parameters
    ----------
    entries : sequence of Entry
        The pairs, the worst first.

    Returns
    -------
    Section
        Their cards.
    """
    return Section("worst", "Worst pairs", (legend(), cards(entries, ALT)))


def legend() -> Html:
    """Say what the pictures of pairs show.

    Returns
    -------
    Html
        A paragraph.
    """
    return element(
        "p",
        f"Axial, coronal and sagittal planes through the middle. Above: {_small(OUTLINES)} Without"
        f" labels: {_small(EDGES)} Below: the moved image.",
        class_="soft",
    )


def settings(report: Mapping[str, Any]) -> Section:
    """Tabulate what was chosen, and by what it was computed.

    Parameters
    ----------
    report : mapping of str to object
        What summary.json holds.

    Returns
    -------
    Section
        Tables behind a click.
    """
    weights = report["weights"] or {}
    known = ("name", "licence", "trained_on", "sha256")
    versions = {k: weights[k] for k in known if weights.get(k)} | dict(report["environment"])
    parts = (
        pairs_table(versions, "Weights and versions"),
        pairs_table(report["options"], "Options"),
    )
    summary = element("summary", "Weights, versions and options")
    return Section("settings", "Settings", (element("details", summary, *parts),))


def _told(report: Mapping[str, Any]) -> Html:
    """How many pairs were scored, and what the registration gained."""
    asked, scored, failed = (report[name] for name in ("pairs", "scored", "failed"))
    words = [f"{scored} of {asked} pairs were scored; {failed} failed."]
    if report["incomplete"]:
        words.append("The evaluation was interrupted.")
    for key in PLOTTED:
        means = {m: n[key]["mean"] for m, n in report["summary"].items() if key in n}
        if isfinite(end := means.pop(REGISTERED, float("nan"))):
            title, how = SHOWN[key]
            start = "".join(f"{how.format(x)} ({m}) → " for m, x in means.items() if isfinite(x))
            words.append(f"Mean {title}: {start}{how.format(end)}.")
    if report["labels_missing"]:
        words.append(f"No pair has the labels {', '.join(map(str, report['labels_missing']))}.")
    kind = "check" if failed or report["incomplete"] or report["labels_missing"] else "open"
    return element("section", *(element("p", x) for x in words), class_=f"verdict {kind}")


def _means(summary: Mapping[str, Any], methods: Sequence[str]) -> Html:
    rows = []
    for key, (title, how) in SHOWN.items():
        if any(key in summary[m] for m in methods):
            rows.append([title, *(_mean(summary[m].get(key), how) for m in methods)])
    return table(("", *methods), rows, "Mean ± SD over the pairs [95% interval of the mean]")


def _mean(numbers: Mapping[str, Any] | None, how: str) -> str:
    if numbers is None or not isfinite(numbers["mean"]):
        return ""
    told = how.format(numbers["mean"])
    if numbers["n"] > 1:
        low, high = (how.format(x) for x in numbers["ci95"])
        told += f" ± {how.format(numbers['sd'])} [{low}, {high}]"
    return told


def _spread(pairs: Sequence[Row], methods: Sequence[str]) -> list[Html]:
    """A box for each method."""
    out = []
    for key in PLOTTED:
        found = {m: [r[key] for r in pairs if r.get("method") == m and key in r] for m in methods}
        rows = [boxes.Row(m, x, n) for n, (m, x) in enumerate(found.items()) if x]
        if rows:
            title, how = SHOWN[key]
            out.append(boxes.box_plot(rows, title, how=how, limits=UNIT.get(key)))
    return out or [element("p", "There are no scores.")]


def _labels(rows: Sequence[Row], methods: Sequence[str]) -> list[Section]:
    """A box for each label, the worst label first."""
    key = "dice_nearest"
    by: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if key in row:
            by.setdefault(str(row["label"]), {}).setdefault(row["method"], []).append(row[key])
    if not by:
        return []
    order = sorted(by, key=lambda x: float(np.median(by[x].get(REGISTERED, [np.inf]))))
    plots = by_label(methods, {f"label {name}": by[name] for name in order})
    return [Section("labels", "Labels, the worst first", tuple(plots))]


def by_label(methods: Sequence[str], by: Mapping[str, Mapping[str, Sequence[float]]]) -> list[Html]:
    """Draw the Dice of each label.

    Parameters
    ----------
    methods : sequence of str
        The methods, in their order.
    by : mapping of str to mapping of str to sequence of float
        By label and method, the values; in the order in which they are shown.

    Returns
    -------
    list of Html
        A plot, and one of the remaining labels behind a click.
    """
    most = max(3, _FEW // max(1, len(methods)))
    names = list(by)
    parts = [names[:most], names[most:]]
    plots = [
        boxes.box_plot(
            boxes.grouped(methods, {name: by[name] for name in part}),
            SHOWN["dice_nearest"][0],
            limits=UNIT["dice_nearest"],
        )
        for part in parts
        if part
    ]
    if len(plots) == 1:
        return plots
    summary = element("summary", f"The other {len(parts[1])} labels")
    return [plots[0], element("details", summary, plots[1])]


def _names(row: Row) -> tuple[str, str]:
    return str(row["moving"]), str(row["fixed"])


def _number(value: Any, how: str) -> str:
    return how.format(value) if isinstance(value, int | float) and isfinite(value) else "–"


def _small(words: str) -> str:
    return words[0].lower() + words[1:]
