"""Box plots say the quartiles of their values, and lie where the values lie."""

from __future__ import annotations

import re

import numpy as np
import pytest

from sacbnet.reporting.page.boxes import Row, box_plot, grouped

from .conftest import Page


def places(html: str, name: str) -> list[float]:
    return [float(x) for x in re.findall(rf'class="{name}" style="left:([\d.-]+)%', html)]


def test_box_whiskers_and_points_lie_where_the_values_lie() -> None:
    values = [1.0, 2, 3, 4, 5, 20]
    html = box_plot([Row("one", values)], "Distance, mm", how="{:.1f}")
    found = Page(html)
    assert not found.faults and "Distance, mm" in found.text and "3.5" in found.text
    ticks = [float(x) for x in re.findall(r'<span style="left:[\d.]+%">([\d.]+)<', html)]
    span = ticks[-1] - ticks[0]
    q1, median, q3 = np.percentile(values, (25, 50, 75))
    for name, value in {"box": q1, "median": median, "whisker": 1.0, "point": 20.0}.items():
        assert places(html, name) == [pytest.approx(100 * (value - ticks[0]) / span, abs=0.01)]
    (words,) = (x["aria-label"] for x in found.all("div") if x.get("role") == "img")
    assert f"median {median:g}, quartiles {q1:g} and {q3:g}, from 1 to 20, 6 values" in words


@pytest.mark.parametrize("values", [[0.5], [0.81, 0.82], [0.0, 1.0], [float("nan"), 0.4]])
def test_everything_lies_on_the_scale(values) -> None:
    html = box_plot([Row("one", values)], "Dice", limits=(0, 1))
    found = [x for name in ("box", "median", "whisker", "point") for x in places(html, name)]
    assert found and min(found) >= 0 and max(found) <= 100
    ticks = [float(x) for x in re.findall(r'<span style="left:[\d.]+%">([\d.]+)<', html)]
    assert 0 <= ticks[0] < ticks[-1] <= 1 and len(ticks) > 1


def test_rows_without_values_and_plots_without_rows() -> None:
    found = Page(box_plot([Row("a", []), Row("b", [1, 2])], "x"))
    assert "–" in found.text and not found.faults
    assert "no values" in box_plot([Row("a", [float("nan")])], "x")


def test_methods_of_a_label_stand_together() -> None:
    rows = grouped(["new", "old"], {"1": {"old": [1.0], "new": [2.0]}, "2": {"old": [3.0]}})
    assert [(row.name, row.tone) for row in rows] == [("1, new", 0), ("1, old", 1), ("2, old", 1)]
    assert [row.name for row in grouped(["new"], {"1": {"new": [1.0]}})] == ["1"]
