"""A notebook shows the verdict and a small picture."""

from __future__ import annotations

from dataclasses import replace

import sacbnet
from sacbnet.registration.verdict import Verdict
from sacbnet.reporting.page.notebook import notebook_html

from .conftest import Page


def test_a_result_shows_itself(registered) -> None:
    assert sacbnet.Registration is type(registered)
    found = Page(registered._repr_html_())
    assert not found.faults and "✓ good" in found.text and "mean Dice" in found.text
    (image,) = found.all("img")
    assert image["src"].startswith("data:image/jpeg") and "blue" in image["alt"]
    assert len(found.source) < 80_000


def test_reasons_are_told_and_a_result_without_images_has_no_picture(registered) -> None:
    verdict = Verdict("check", ("the moving image shows <b> only",))
    told = replace(registered.report, verdict=verdict)
    found = Page(notebook_html(replace(registered, report=told, inputs=None)))
    assert "! check" in found.text and "shows <b> only" in found.text and not found.all("img")
