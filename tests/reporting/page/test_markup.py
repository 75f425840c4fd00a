"""Texts are escaped; what `element` made is not escaped again."""

from __future__ import annotations

from sacbnet.reporting.page.markup import Html, element, joined, table

EVIL = "<script>alert('1')</script> & \"so\""


def test_texts_and_attributes_are_escaped() -> None:
    made = element("p", EVIL, title=EVIL)
    assert "<script" not in made and made.count("&lt;script&gt;") == 2
    assert 'title="' in made and made.count('"') == 2  # the quotes of the value are escaped


def test_html_is_taken_as_it_is() -> None:
    inner = element("b", "a < b")
    assert element("p", inner, "<") == "<p><b>a &lt; b</b>&lt;</p>"
    assert joined([inner, "<"], between="&") == "<b>a &lt; b</b>&amp;&lt;"
    assert isinstance(element("p", inner), Html)


def test_joining_html_by_hand_makes_a_text_that_is_escaped_again() -> None:
    assert element("p", element("b", "x") + "<i>") == "<p>&lt;b&gt;x&lt;/b&gt;&lt;i&gt;</p>"


def test_attributes() -> None:
    made = element("input", type="radio", class_="a", aria_label="b", checked=True, hidden=False)
    assert made == '<input type="radio" class="a" aria-label="b" checked>'
    assert element("img", alt="") == '<img alt="">'


def test_a_table_names_rows_and_columns() -> None:
    made = table(("", "x"), [["a", "1 < 2"]], "What & why")
    assert '<th scope="col">x</th>' in made and '<th scope="row">a</th>' in made
    assert "<td>1 &lt; 2</td>" in made and "<caption>What &amp; why</caption>" in made
    assert '<th scope="col"></th>' not in made
