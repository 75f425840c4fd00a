"""index.html: a line for each pair with its picture and verdict, the doubtful ones first."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from sacbnet.environment import VERSION
from sacbnet.files import atomic_file
from sacbnet.registration.result import PAGE, RUN
from sacbnet.reporting import page as page_room
from sacbnet.reporting.page.markup import Html, element, joined, table
from sacbnet.reporting.page.thumbnail import EDGES, OUTLINES

from .outliers import STANDS_OUT, by_urgency
from .pairs import INDEX, TABLE, THUMBNAILS
from .summary import Cohort, Outcome

_TITLE = "Cohort"
_STYLE = """
img.pair { width: 21rem; max-width: 45vw; height: auto; display: block; background: #000; }
td strong + ul { margin: .2rem 0 0; padding-left: 1.1rem; color: var(--soft); }
"""
_SHELL = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src 'self' file: data:;\
 style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="generator" content="sacbnet {version}">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{style}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def write_index(cohort: Cohort, out: Path) -> None:
    """Write index.html into the folder of a cohort, whole or not at all.

    Parameters
    ----------
    cohort : Cohort
        What the pairs came to.
    out : Path
        The folder. The page shows the pictures that lie there.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with atomic_file(out / INDEX) as path:
        text = index_of(cohort, out)
        path.write_text(text.encode("utf-8", "backslashreplace").decode("utf-8"), encoding="utf-8")


def index_of(cohort: Cohort, out: Path) -> str:
    """Make the page of a cohort.

    Parameters
    ----------
    cohort : Cohort
        What the pairs came to.
    out : Path
        Its folder.

    Returns
    -------
    str
        HTML; it refers to the pictures and results by their names in the folder.
    """
    ordered = by_urgency(cohort.outcomes)
    odd = sum(x >= STANDS_OUT for _, x in ordered)
    said = (
        f"{cohort.asked} pairs: {cohort.count('done')} done, {cohort.count('skipped')} finished"
        f" before, {cohort.count('failed')} failed, {cohort.waiting} waiting; {odd} stand out from"
        " the others."
    )
    legend = (
        "Each picture shows an axial, a coronal and a sagittal plane. With labels of both images:"
        f" {OUTLINES} Else: {EDGES} Failed pairs come first, then those whose verdict is not good"
        " or which stand out, then the others."
    )
    head = ["pair", "picture", "verdict", "local correlation", "Dice", "folding %", "s"]
    body = joined(
        [
            element("header", element("h1", _TITLE), element("p", f"sacbnet {VERSION}")),
            element(
                "main",
                element("p", said),
                element("p", legend, class_="soft"),
                element("p", "The same as a table: ", element("a", TABLE, href=TABLE)),
                table(head, [_cells(row, x, out) for row, x in ordered], "Pairs", numbers=False),
            ),
        ]
    )
    style = (files(page_room.__name__) / "page.css").read_text(encoding="utf-8")
    return _SHELL.format(version=VERSION, title=escape(_TITLE), style=style + _STYLE, body=body)


def _cells(row: Outcome, odd: float, out: Path) -> list[str]:
    folder = quote(row.name)
    target = PAGE if (out / row.name / PAGE).is_file() else RUN
    name = row.name
    if row.status != "failed":
        name = element("a", row.name, href=f"{folder}/{target}")
    picture = ""
    if row.status != "failed" and (out / THUMBNAILS / f"{row.name}.jpg").is_file():
        picture = element(
            "img",
            src=f"{THUMBNAILS}/{folder}.jpg",
            alt=f"fixed image with edges or outlines of the moved image of {row.name}",
            loading="lazy",
            class_="pair",
        )
    return [
        name,
        picture,
        _verdict(row, odd),
        _change(row.local_correlation_start, row.local_correlation_final),
        _change(row.dice_start, row.dice_final),
        "" if row.folded_percent is None else f"{row.folded_percent:.3g}",
        "" if row.seconds is None else f"{row.seconds:.1f}",
    ]


def _verdict(row: Outcome, odd: float) -> Html:
    word = "failed" if row.status == "failed" else row.verdict or "unknown"
    sentences = [s for s in (row.error, *row.reasons.split("; ")) if s]
    if odd >= STANDS_OUT:
        sentences.insert(0, f"stands out from the others ({odd:.1f} robust standard deviations)")
    told = element("ul", *(element("li", s) for s in sentences)) if sentences else Html("")
    return joined([element("strong", word), told])


def _change(start: float | None, final: float | None) -> str:
    if start is None or final is None:
        return ""
    return f"{start:.3f} → {final:.3f}"
