"""Evaluation of weights, or of refinement alone, on a list of pairs.

docs/reference/metrics.md defines the scores. The engine is the one of `sacbnet register`: what is
scored is what is delivered. Beside each pair stands its baseline: what the affine alone gives (the
identity where there is none, or the shift that brings the centres together).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sacbnet.config.choices import ALIGNMENTS, Alignment
from sacbnet.config.registration import Options
from sacbnet.config.validation import choices
from sacbnet.data.cases import Case
from sacbnet.data.subjects import Subject
from sacbnet.environment import environment, peak_memory_mb, reset_peak_memory
from sacbnet.errors import InputError, SacbnetError
from sacbnet.kernels.dispatch import kernels_for
from sacbnet.registration.inputs import Inputs
from sacbnet.registration.registrar import Registrar

from .scoring import OF_A_LABEL, OF_A_PAIR, Found, Row, Watch, outcomes, summary

FORMAT_VERSION = 2


@dataclass
class Evaluation:
    """What an evaluation came to; all in the order of the pairs that were asked for.

    Parameters
    ----------
    pairs : list[Row], default empty
        A row per pair and method, or one with `error` for a pair that failed.
    labels : list[Row], default empty
        A row per pair, method and label.
    report : dict[str, Any], default empty
        What summary.json holds.
    """

    pairs: list[Row] = field(default_factory=list)
    labels: list[Row] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ByRegistrar:
    """Our registration of subjects, timed (`scoring.Registration`).

    Parameters
    ----------
    registrar : Registrar
        The engine, with its weights loaded.
    """

    registrar: Registrar

    def __call__(self, *, fixed: Subject, moving: Subject) -> Found:
        device = self.registrar.engine.device
        reset_peak_memory(device)
        start = time.perf_counter()
        found = self.registrar.estimate(Inputs(fixed.image, moving.image))
        seconds = time.perf_counter() - start
        return Found(found.transform, seconds, peak_memory_mb(device), found.affine)


def evaluate(
    cases: Sequence[Case],
    pairs: Sequence[tuple[int, int]],
    options: Options | Registrar,
    *,
    labels: tuple[int, ...] = (),
    align: Alignment = "header",
    progress: Callable[[str, float], None] | None = None,
    watch: Watch | None = None,
) -> Evaluation:
    """Register pairs of cases as `sacbnet.register` does, and score them.

    A pair that raises a SacbnetError is noted, and the rest goes on. KeyboardInterrupt ends the
    work; what there is then is returned, marked incomplete.

    Parameters
    ----------
    cases : Sequence[Case]
        The cases.
    pairs : Sequence[tuple[int, int]]
        Pairs (moving, fixed), as indices of the cases.
    options : Options or Registrar
        What is chosen about a registration, or an engine that has its weights loaded.
    labels : tuple[int, ...], default ()
        Labels that are scored; (): all that either map of a pair has.
    align : {"header", "centre"}, default "header"
        "header" trusts the world coordinates; "centre" moves the moving image so that the centres
        of the two boxes meet (`subjects.centred`). With an affine, which finds its own start, it
        has no effect.
    progress : callable (str, float), or None, default None
        Called with the names of a pair and the fraction of all pairs that is done.
    watch : Watch or None, default None
        Called with each pair once it is scored, while its images are in memory.

    Returns
    -------
    Evaluation
        Scores of each pair, and their summary. Seconds are without reading files and without
        scoring.

    Raises
    ------
    WeightsError
        If the weights cannot be used.
    InputError
        If there are no pairs, or the alignment is none of these.
    SacbnetError
        The first pair's error, if every pair fails.
    KeyboardInterrupt
        If no pair is done yet.
    """
    if not pairs:
        raise InputError(
            "there are no pairs to evaluate; name a source, a subset or a pairing that has some"
        )
    if align not in ALIGNMENTS:
        raise InputError(f"the alignment is {align!r}; {choices(ALIGNMENTS)} was expected")
    registrar = options if isinstance(options, Registrar) else Registrar.of(options)
    affine = registrar.affine
    kernels_for(registrar.engine.device)  # loaded before the first pair, whose time is measured
    centre = align == "centre" and affine == "none"
    baseline = affine if affine != "none" else "centre" if centre else "identity"
    found, errors, interrupted = Evaluation(), [], False
    engine = ByRegistrar(registrar)
    try:
        for names, outcome in outcomes(
            cases,
            pairs,
            labels,
            engine,
            centre=centre,
            baseline=baseline,
            progress=progress,
            watch=watch,
        ):
            if isinstance(outcome, SacbnetError):
                errors.append(outcome)
                found.pairs.append(names | {"error": str(outcome)})
                continue
            found.pairs += [names | row for row in outcome[0]]
            found.labels += [names | row for row in outcome[1]]
    except KeyboardInterrupt:
        if all("error" in row for row in found.pairs):
            raise
        interrupted = True
    if len(errors) == len(pairs):
        raise errors[0]
    chosen = {"labels": list(labels), "align": "centre" if centre else "header"}
    found.report = _report(found, registrar, chosen, len(pairs), interrupted)
    return found


def _report(
    found: Evaluation, registrar: Registrar, chosen: dict[str, Any], asked: int, interrupted: bool
) -> dict[str, Any]:
    """The content of summary.json: the settings, the number of pairs, and the means of the rows."""
    engine = registrar.engine
    o = asdict(engine.options) | {"refine": engine.options.steps, "affine": registrar.affine}
    scored = [row for row in found.pairs if "error" not in row]
    errors = [row for row in found.pairs if "error" in row]
    of_labels = [r for r in found.labels if r["method"] == "registered"]
    return {
        "format_version": FORMAT_VERSION,
        "environment": environment(engine.device, kernels_for(engine.device)),
        "options": o | chosen,
        "weights": None if engine.weights is None else engine.weights.to_json(),
        "pairs": asked,
        "scored": sum(row["method"] == "registered" for row in scored),
        "failed": len(errors),
        "errors": errors,
        "incomplete": interrupted,
        "labels_scored": sorted({int(row["label"]) for row in of_labels}),
        "labels_missing": missing_labels(found, tuple(chosen["labels"])),
        "summary": summary(scored, OF_A_PAIR, "method"),
        "labels": summary(of_labels, OF_A_LABEL, "label"),
    }


def missing_labels(found: Evaluation, asked: tuple[int, ...]) -> list[int]:
    """List the labels that were asked for and that no pair has.

    Parameters
    ----------
    found : Evaluation
        Scores by label.
    asked : tuple[int, ...]
        Labels that were asked for.

    Returns
    -------
    list[int]
        Labels without a score, in the order asked for.
    """
    there = {int(row["label"]) for row in found.labels}
    return [label for label in asked if label not in there]
