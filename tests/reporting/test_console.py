"""The line of progress, on a terminal."""

from __future__ import annotations

import io
import logging
import re
import sys
import types
from datetime import datetime
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress

from sacbnet.errors import OutputError
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


@pytest.fixture
def elsewhere(shown, monkeypatch) -> io.StringIO:
    """What is printed where the output is no terminal, such as the log of a batch system."""
    _, printed = shown
    monkeypatch.setattr(show, "Console", lambda **_: Console(file=printed, force_terminal=False))
    return printed


def work(tell) -> None:
    for stage, fraction in (("network", 0.0), ("refine", 0.1), ("refine", 1.0), ("measure", 0.0)):
        tell(stage, fraction)


LINES = ["reading", "network", "refinement", "measuring"]


def names(text: str) -> list[str]:
    """The stages of lines such as "     0.1 s  network (0.1 s)"; each with its seconds."""
    found = [re.fullmatch(r"\s*\d+\.\d s  (.+) \(\d+\.\d s\)", line) for line in text.splitlines()]
    assert all(found), text
    return [match[1] for match in found]


def test_elsewhere_each_stage_has_a_line_with_its_seconds(shown, elsewhere) -> None:
    with show.progress_bar(False) as tell:
        work(tell)
    assert not shown[0] and names(elsewhere.getvalue()) == LINES


def test_of_many_cases_not_every_one_has_a_line(elsewhere, monkeypatch) -> None:
    with show.progress_bar(False, of_all=True) as tell:
        for n in range(100):
            tell(f"case_{n}", n / 100)
    assert elsewhere.getvalue() == ""
    monkeypatch.setattr(show, "PACE", 0.0)
    with show.progress_bar(False, of_all=True) as tell:
        for n in range(3):
            tell(f"case_{n}", n / 3)
    assert names(elsewhere.getvalue()) == ["case_0", "case_1", "case_2"]


def test_quiet_is_quiet_but_for_the_log(shown, elsewhere, tmp_path) -> None:
    log = tmp_path / "run.log"
    for _ in range(2):  # a second run is added
        with show.progress_bar(True, log=log) as tell:
            work(tell)
    assert not shown[0] and elsewhere.getvalue() == ""
    times, lines = zip(*(line.split(" ", 1) for line in log.read_text().splitlines()), strict=True)
    assert all(datetime.fromisoformat(t).utcoffset() is not None for t in times)
    assert names("\n".join(lines)) == 2 * LINES


def test_verbose_gives_lines_and_messages_on_a_terminal(shown) -> None:
    bars, printed = shown
    logger = logging.getLogger("sacbnet.kernels")
    with show.progress_bar(False, verbose=True) as tell:
        tell("network", 0.0)
        logger.info("compiling")
    logger.info("afterwards")
    assert not bars and "sacbnet.kernels: compiling" in printed.getvalue()
    assert "network" in printed.getvalue() and "afterwards" not in printed.getvalue()


def test_a_log_that_cannot_be_written(tmp_path) -> None:
    with (
        pytest.raises(OutputError, match="could not be written"),
        show.progress_bar(True, log=tmp_path / "no" / "run.log"),
    ):
        pass


# -- how long it will take -------------------------------------------------------------------------
def test_the_bar_says_how_long_it_will_take(shown) -> None:
    bars, _ = shown
    with show.progress_bar() as tell:
        tell("kernels", 0.0)
        tell.expect("about 40 s in all")
        tell("network", 0.0)
        (task,) = bars[0].tasks
        assert task.description == "network; about 40 s in all"


def test_lines_and_the_log_say_how_long_it_will_take(elsewhere, tmp_path) -> None:
    with show.progress_bar(log=tmp_path / "log") as tell:
        tell.expect("about 40 s in all")
        tell("network", 0.0)
    for text in (elsewhere.getvalue(), (tmp_path / "log").read_text()):
        assert re.search(r"\d+\.\d s  about 40 s in all$", text.splitlines()[0])


class Handle:
    def __init__(self) -> None:
        self.shown: list[str] = []

    def update(self, html: str) -> None:
        self.shown.append(html)


def test_in_a_notebook_a_bar_stands_below_the_cell(monkeypatch) -> None:
    handle = Handle()
    fake = types.ModuleType("IPython.display")
    fake.HTML, fake.display = str, lambda html, display_id: handle
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    monkeypatch.setattr(show, "Console", lambda **_: Console(force_jupyter=True))
    with show.progress_bar() as tell:
        tell("network", 0.0)
        tell.expect("about 40 s in all")
        for n in range(101):
            tell("refine", n / 100)
    assert "network, 0 s" in handle.shown[0] and " value=" not in handle.shown[0]
    assert 'value="1.000"' in handle.shown[-1] and 40 < len(handle.shown) < 60
    assert "refinement, 0 s; about 40 s in all" in handle.shown[-1]
