"""The page of a registration: one file with everything in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sacbnet.registration.report import RunReport
from sacbnet.registration.result import Registration

from .cuts import cut
from .figures import panels_of
from .frame import PLANES
from .markup import Html, element, joined
from .opinion import card, opinion_of
from .places import layout_of
from .sections import numbers_of, pictures_of
from .shell import Section, whole_page

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
    sections = [*pictures, *numbers_of(report)]
    began = f"sacbnet {report.environment.get('sacbnet', '')}, {report.started}"
    first = [card(opinion_of(report)), _sentences(report)]
    return whole_page(title, began, first, sections, "page.js")


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
