"""The sections of the page, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sacbnet.networks.sacbnet.seen import SIDES
from sacbnet.registration.report import RunReport
from sacbnet.registration.result import CLUSTERS, Registration

from . import numbers
from . import pictures as p
from .deformation import deformation
from .figures import STEP_NAMES, Panel, figure, img, planes, viewer
from .frame import CONVENTION, PLANES, Frame
from .markup import Html, element
from .places import Place
from .shell import Section

_FAR = 2.0  # degrees between the axes of the image and of the body that are worth a sentence
_LARGEST_CLUSTERS = 256  # pixels along the longest side: clusters are coarse
Shown = Sequence[tuple[Place, Sequence[Panel]]]


def pictures_of(result: Registration, frame: Frame, shown: Shown) -> list[Section]:
    """The sections with pictures.

    Parameters
    ----------
    result : Registration
        The registration.
    frame : Frame
        The frame of the fixed image.
    shown : sequence of (Place, sequence of Panel)
        The middle, then the doubtful place, with three planes each.

    Returns
    -------
    list of Section
        Images, deformation, and what else the result has: labels, clusters.
    """
    middle, panels = shown[0]
    return [
        _compared(frame, shown),
        _deformation(shown),
        *_labels(panels, result.report),
        *_clusters(result, frame, middle, panels[0]),
    ]


def numbers_of(report: RunReport) -> list[Section]:
    """The sections with numbers.

    Parameters
    ----------
    report : RunReport
        The account.

    Returns
    -------
    list of Section
        Numbers, time, and what is needed to repeat the run.
    """
    return [
        Section("numbers", "Numbers", (numbers.steps_table(report), numbers.facts_table(report))),
        Section("time", "Time", (numbers.seconds_table(report),)),
        Section("again", "Repeat it", (*_again(report), *numbers.used_tables(report))),
    ]


def _compared(frame: Frame, shown: Shown) -> Section:
    parts = [element("p", CONVENTION)]
    if frame.tilt > _FAR:
        parts.append(
            element(
                "p",
                f"The axes of the image are turned by up to {frame.tilt:.0f}° against the axes of"
                " the world. The planes follow the image.",
            )
        )
    paper = "On paper: the fixed image, and over it the edges of the result in orange."
    parts.append(element("p", paper, class_="paper"))
    for place, panels in shown:
        parts.append(
            element(
                "div",
                element("h3", place.title),
                element("p", f"{place.why} {_where(frame, place)}"),
                viewer(panels, place.key, place.title),
                class_="row",
            )
        )
    return Section("images", "The two images", tuple(parts))


def _where(frame: Frame, place: Place) -> str:
    mm = ", ".join(
        f"{abs(x):.4g} mm {letters[0] if x >= 0 else letters[1]}"
        for x, letters in zip(frame.grid.world(place.at), ("RL", "AP", "SI"), strict=True)
    )
    voxel = ", ".join(map(str, frame.stored(place.at)))
    return f"That is {mm} of the origin: voxel ({voxel}) of the fixed image, counted from 0."


def _deformation(shown: Shown) -> Section:
    (_, middle), (place, doubtful) = shown
    summary = f"The same {place.title[0].lower()}{place.title[1:]}"
    parts = [
        deformation(middle),
        element("details", element("summary", summary), deformation(doubtful)),
    ]
    return Section("deformation", "What the transform does", tuple(parts))


def _labels(panels: Sequence[Panel], report: RunReport) -> list[Section]:
    parts = numbers.dice_tables(report)
    if all(panel.cut.fixed_labels is not None and panel.cut.labels for panel in panels):
        key = {
            "fixed labels": p.FIRST,
            "labels of the moving image": p.SECOND,
            "both": p.BOTH,
        }
        swatches = (
            element("span", element("i", style=f"background:rgb({r} {g} {b})"), words)
            for words, (r, g, b) in key.items()
        )
        steps = {"start": STEP_NAMES["start"], "moved": "the result"}
        rows = [_outlined(panels, step, words) for step, words in steps.items()]
        parts = [element("p", *swatches, class_="key"), *rows, *parts]
    return [Section("labels", "Labels", tuple(parts))] if parts else []


def _outlined(panels: Sequence[Panel], step: str, words: str) -> Html:
    row = planes(
        figure(
            panel,
            img(panel.fixed, f"Fixed image, {panel.cut.plane.name} plane"),
            img(panel.labels(step), f"Outlines of the labels, {words}", "over"),
        )
        for panel in panels
    )
    return element("div", element("h3", words[0].upper() + words[1:]), row, class_="row")


def _clusters(result: Registration, frame: Frame, place: Place, axial: Panel) -> list[Section]:
    """The axial plane of each map of clusters."""
    plane = PLANES[0]
    share = min(1.0, _LARGEST_CLUSTERS / max(axial.shape))
    shape = max(1, round(axial.shape[0] * share)), max(1, round(axial.shape[1] * share))
    figures = []
    for level in (2, 3, 4, 5):
        for side in SIDES:
            image = result.maps.get(CLUSTERS.format(side=side, level=level))
            if image is not None:
                labels = p.repeated(frame.shown(plane, place.at, image.data), shape)
                words = f"level {level}, {side}"
                map_ = img(p.regions(labels).uri(), f"Clusters of {words}")
                figures.append(figure(axial, map_, name=words))
    if not figures:
        return []
    told = (
        "The regions that the network found, in the axial plane through the middle. In each of"
        " them it uses a convolution of its own."
    )
    row = element("div", planes(figures), class_="clusters")
    return [Section("clusters", "Clusters", (element("p", told), row))]


def _again(report: RunReport) -> list[Html]:
    parts = [element("pre", element("code", numbers.again(report)), tabindex="0")]
    if report.command:
        with suppress(OSError):  # the folder may be gone
            where = f"The command was given in the folder {Path.cwd()}."
            parts.insert(0, element("p", where, class_="soft"))
    return parts
