"""What the page says first: the verdict on a registration, and the reasons for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sacbnet.registration.report import RunReport

from .markup import Html, element

Kind = Literal["good", "check", "failed", "open"]
_MARKS: dict[Kind, str] = {"good": "✓", "check": "!", "failed": "✕", "open": "i"}
_HEADINGS: dict[Kind, tuple[str, str]] = {
    "good": (
        "Good",
        "Nothing speaks against the result. The checks find most failures, but not all: please look"
        " at the pictures.",
    ),
    "check": (
        "Please check this result",
        "Something speaks against the result. The pictures show whether it is right.",
    ),
    "failed": (
        "Failed",
        "The result is no better than chance, or worse than the start. It was written only because"
        " that was asked for (--accept).",
    ),
    "open": (
        "Delivered; please look at the pictures",
        "The moved image is not less like the fixed image than the moving image was at the start."
        " This check finds many failures, but not all.",
    ),
}


@dataclass(frozen=True)
class Opinion:
    """A verdict in words.

    Parameters
    ----------
    kind : {"good", "check", "failed", "open"}
        How it ended; "open" leaves the judgement to the reader.
    heading : str
        The verdict in a few words.
    sentence : str
        What it means for the reader.
    reasons : tuple[str, ...]
        The evidence, one sentence each.
    """

    kind: Kind
    heading: str
    sentence: str
    reasons: tuple[str, ...] = ()


def opinion_of(report: RunReport) -> Opinion:
    """Say what is known of a registration that was delivered.

    Parameters
    ----------
    report : RunReport
        Its account.

    Returns
    -------
    Opinion
        What the checks of the delivery found. A result that is worse than the start never gets
        this far.
    """
    verdict = report.verdict
    kind: Kind = "open" if verdict is None else verdict.word
    reasons = () if verdict is None else tuple(_sentence(r) for r in verdict.reasons)
    heading, sentence = _HEADINGS[kind]
    return Opinion(
        kind,
        heading,
        sentence,
        (*reasons, *_likeness(report), *_chance(report), *_evidence(report)),
    )


def _sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:]}."


def _chance(report: RunReport) -> list[str]:
    e = report.evidence
    if e is None:
        return []
    return [
        f"The local correlation of the smoothed images is {e.likeness:.2f} inside the body, and"
        f" {e.start:.2f} after the affine alone; shifted images have {e.chance:.2f} by chance.",
        f"The moving image shows {100 * e.shared:.0f} % of the fixed body. The outlines of the"
        f" bodies overlap by {e.overlap:.2f} (1: fully).",
    ]


def _likeness(report: RunReport) -> list[str]:
    s = report.similarity
    found = [
        _change("local correlation", s.start.local_correlation, s.final.local_correlation),
        _change("mutual information", s.start.mutual_information, s.final.mutual_information),
    ]
    if (d := report.dice) is not None:
        found.append(_change("mean Dice of the labels", d.start.nearest, d.final.nearest))
    if (marks := report.landmarks) is not None:
        a, b = marks.start.mean_mm, marks.final.mean_mm
        found.append(_change("mean distance of the landmarks", a, b, " mm"))
    return found


def _change(what: str, before: float, after: float, unit: str = "") -> str:
    if f"{before:.3f}" == f"{after:.3f}":
        return f"The {what} stayed at {after:.3f}{unit}."
    way = "rose" if after > before else "fell"
    return f"The {what} {way} from {before:.3f} to {after:.3f}{unit}."


def _evidence(report: RunReport) -> list[str]:
    folds, inverse, filled = report.folding, report.inverse, report.filled
    found = [
        f"The transform folds in {folds.folded_voxels} voxels."
        if folds.folded_voxels
        else "The transform does not fold.",
        f"Transform and inverse return points within {inverse.round_trip_mean_mm:.3g} mm on"
        " average.",
    ]
    if filled is not None and filled.voxels:
        found.append(f"{filled.percent:.3g} % of the fixed grid lies outside the moving image.")
    number = len(report.warnings)
    warned = {0: "There are no warnings.", 1: "There is one warning (below)."}
    return [*found, warned.get(number, f"There are {number} warnings (below).")]


def card(opinion: Opinion) -> Html:
    """Lay out a verdict.

    Parameters
    ----------
    opinion : Opinion
        The verdict.

    Returns
    -------
    Html
        A section with the verdict, its meaning and the reasons.
    """
    return element(
        "section",
        element(
            "h2",
            element("span", _MARKS[opinion.kind], class_="mark", aria_hidden="true"),
            opinion.heading,
        ),
        element("p", opinion.sentence),
        element("ul", *(element("li", reason) for reason in opinion.reasons)),
        class_=f"verdict {opinion.kind}",
        id="verdict",
    )
