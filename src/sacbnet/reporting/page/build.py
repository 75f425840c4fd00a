"""The page of a registration: one file with everything in it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from sacbnet.environment import VERSION
from sacbnet.registration.report import RunReport
from sacbnet.registration.result import Registration

from .cuts import cut
from .figures import panels_of
from .frame import PLANES
from .markup import Html, element, joined
from .opinion import card, opinion_of
from .places import layout_of
from .sections import Section, numbers_of, pictures_of

LARGEST = 2_900_000  # bytes of a page
_PIXELS = (384, 288, 208, 144, 96)  # along the longest side: fewer, until the page is small enough


def report(result: Registration) -> str:
    """Make the page of a registration.

    The page needs no other file and no network. It shows what is known about the quality, then
    pictures of both images, what the transform does, labels, numbers, and the command.

    Parameters
    ----------
    result : Registration
        The registration. Without its images (`Registration.inputs`) the page has no pictures.

    Returns
    -------
    str
        HTML of less than 3 MB.

    Examples
    --------
    >>> import sacbnet
    >>> from pathlib import Path
    >>> def show(result, file="report.html"):
    ...     Path(file).write_text(sacbnet.report(result), encoding="utf-8")
    """
    if result.inputs is None:
        return page_of(result.report, ())
    layout = layout_of(result)
    cuts = [cut(result, layout, plane, x.at) for x in layout.places for plane in PLANES]
    for pixels in _PIXELS:
        panels = panels_of(cuts, pixels)
        shown = [(place, panels[3 * n : 3 * n + 3]) for n, place in enumerate(layout.places)]
        page = page_of(result.report, pictures_of(result, layout.frame, shown))
        if len(page) <= LARGEST:
            break
    return page


def page_of(report: RunReport, pictures: Sequence[Section]) -> str:
    """Put a page together.

    Parameters
    ----------
    report : RunReport
        The account of a registration.
    pictures : sequence of Section
        The sections that stand before the numbers.

    Returns
    -------
    str
        HTML. What UTF-8 cannot hold, such as bytes of a path, is written as an escape.
    """
    moving, fixed = (Path(image.name).name for image in (report.moving, report.fixed))
    title = f"Registration of {moving} to {fixed}"
    here = files(__package__)
    style, script, shell = (
        (here / f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js", "html")
    )
    sections = [*pictures, *numbers_of(report)]
    began = f"sacbnet {report.environment.get('sacbnet', '')}, {report.started}"
    body = joined(
        [
            element("header", element("h1", title), element("p", began, class_="soft")),
            element(
                "main",
                card(opinion_of(report)),
                _sentences(report),
                _contents(sections),
                *(section.html() for section in sections),
            ),
        ]
    )
    page = Template(shell).substitute(
        title=escape(title),
        version=VERSION,
        style=style,
        script=script,
        script_hash=_hash(script),
        body=body,
    )
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def _hash(script: str) -> str:
    """The name of the one script that the page lets run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _contents(sections: Sequence[Section]) -> Html:
    links = [element("a", section.title, href=f"#{section.key}") for section in sections]
    return element(
        "nav", element("ul", *(element("li", link) for link in links)), aria_label="Contents"
    )


def _sentences(report: RunReport) -> Html:
    """Warnings and notes, where there are any."""
    lists = (("Warnings", report.warnings), ("Notes", report.notes))
    return joined(
        element(
            "section",
            element("h2", name),
            element("ul", *(element("li", sentence) for sentence in sentences)),
            class_="warnings",
        )
        for name, sentences in lists
        if sentences
    )
