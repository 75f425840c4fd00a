"""Every page is one file that may load nothing."""

from __future__ import annotations

import base64
import hashlib
import re

from sacbnet.reporting.page.markup import element
from sacbnet.reporting.page.shell import Section, whole_page

from .conftest import Page


def test_a_page_without_script_lets_none_run() -> None:
    text = whole_page("A & B", "today", [element("p", "first")], [Section("one", "One", ())])
    found = Page(text)
    assert not found.faults and found.all("script") == []
    assert "script-src 'none'" in text and "default-src 'none'" in text
    assert "<title>A &amp; B</title>" in text and {"href": "#one"} in found.all("a")
    assert found.text.index("first") < found.text.index("One")


def test_a_page_with_a_script_lets_that_one_run() -> None:
    text = whole_page("a", "b", [], [], "page.js")
    code = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    name = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'sha256-{name}'" in text
