"""The line of progress, on a terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress

from sacbnet.reporting import console as show


@pytest.fixture
def shown(monkeypatch) -> tuple[list[Any], io.StringIO]:
    """Progress bars as they are made, and what they print, on a terminal of 100 columns."""
    bars: list[Any] = []
    printed = io.StringIO()
    console = Console(file=printed, force_terminal=True, width=100)

    def made(*columns, **named):
        bars.append(Progress(*columns, **named))
        return bars[-1]

    monkeypatch.setattr(show, "Console", lambda **_: console)
    monkeypatch.setattr(show, "Progress", made)
    return bars, printed


def test_a_fraction_of_all_goes_on_from_case_to_case(shown) -> None:
    bars, printed = shown
    with show.progress_bar(False, of_all=True) as tell:
        (task,) = bars[0].tasks
        for name, fraction in (("s1", 0.0), ("[red]s2", 0.25), ("network", 0.5)):
            tell(name, fraction)
            bars[0].refresh()
            assert (task.description, task.percentage) == (name, 100 * fraction)
            assert task.finished_time is None
    assert "[red]s2" in printed.getvalue()  # brackets in a path are no markup


def test_each_stage_starts_anew(shown) -> None:
    bars, _ = shown
    told = []
    with show.progress_bar(False) as tell:
        for stage, fraction in (
            ("network", 0.0),
            ("refine", 0.25),
            ("refine", 0.5),
            ("measure", 0.0),
        ):
            tell(stage, fraction)
            (task,) = bars[0].tasks
            told.append((task.description, task.completed, task.total))
    assert told == [
        ("network", 0, None),
        ("refinement", 0.25, 1),
        ("refinement", 0.5, 1),
        ("measuring", 0, None),
    ]


def test_nothing_is_shown_where_it_is_not_wanted(shown, monkeypatch) -> None:
    bars, printed = shown
    with show.progress_bar(True, of_all=True) as tell:
        tell("s1", 0.5)
    monkeypatch.setattr(show, "Console", lambda **_: Console(file=printed, force_terminal=False))
    with show.progress_bar(False, of_all=True) as tell:
        tell("s1", 0.5)
    assert not bars and printed.getvalue() == ""
