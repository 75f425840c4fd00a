"""A reader of HTML that keeps what the tests ask about."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

import pytest

import sacbnet

VOID = {"img", "input", "br", "meta", "link"}


@dataclass
class Page(HTMLParser):
    """A page: its elements in order, and its text.

    elements: (name, attributes). faults: end tags that close nothing, and elements left open.
    """

    source: str
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    cells: list[list[str]] = field(default_factory=list)  # the rows of all tables
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[str] = []
        self.feed(self.source)
        self.close()
        self.faults += [f"<{tag}> is not closed" for tag in self._open]

    def handle_starttag(self, tag, attrs) -> None:
        self.elements.append((tag, dict(attrs)))
        if len(attrs) != len(dict(attrs)):
            self.faults.append(f"<{tag}> has an attribute twice")
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_endtag(self, tag) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes another element")

    def handle_data(self, data) -> None:
        if self._open and self._open[-1] in ("script", "style"):
            return
        self.text += data
        if "td" in self._open or "th" in self._open:
            self.cells[-1][-1] += data

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


@pytest.fixture(scope="session")
def page(registered) -> Page:
    """The page of the small pair, with labels."""
    return Page(sacbnet.report(registered))
