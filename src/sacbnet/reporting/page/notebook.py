"""What a notebook shows of a registration: the verdict, a small picture, and a few numbers."""

from __future__ import annotations

from sacbnet.registration.result import Registration

from .gallery import MARKS
from .markup import Html, element
from .thumbnail import EDGES, OUTLINES, data_uri, thumbnail_of

# Readable on a light and on a dark ground: a notebook may have either.
_TONES = {"good": "#1f9d45", "check": "#c07f00", "failed": "#e04848"}


def notebook_html(result: Registration) -> Html:
    """Describe a registration for a notebook.

    Parameters
    ----------
    result : Registration
        The registration.

    Returns
    -------
    Html
        A few lines of HTML without a style sheet of their own.
    """
    report, verdict = result.report, result.report.verdict
    parts = []
    if verdict is not None:
        sign = f"{MARKS[verdict.word]} {verdict.word}"
        parts.append(element("b", sign, style=f"color:{_TONES[verdict.word]}"))
        parts += [element("div", reason) for reason in verdict.reasons]
    if (jpeg := thumbnail_of(result, both=True)) is not None:
        inputs = result.inputs
        assert inputs is not None
        labels = inputs.fixed_labels is not None and inputs.moving_labels is not None
        words = f"{OUTLINES if labels else EDGES} Below: the moved image."
        picture = element("img", src=data_uri(jpeg), alt=words, style="max-width:100%")
        parts += [element("div", picture), element("small", words)]
    parts.append(element("div", "; ".join(_numbers(result))))
    parts.append(element("small", f"{report.moving.name} → {report.fixed.name}"))
    return element("div", *parts)


def _numbers(result: Registration) -> list[str]:
    report = result.report
    s, d, e = report.similarity, report.dice, report.expected_error
    return [
        f"local correlation {s.start.local_correlation:.3f} → {s.final.local_correlation:.3f}",
        *([f"mean Dice {d.start.nearest:.3f} → {d.final.nearest:.3f}"] if d else []),
        *([f"expected error {e.mean_mm:.2g} mm on average"] if e else []),
        *([f"{report.seconds['total']:.1f} s"] if "total" in report.seconds else []),
    ]
