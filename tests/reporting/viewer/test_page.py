"""The page and its files load nothing from elsewhere."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from importlib.resources import files

import pytest

from sacbnet.reporting.viewer.files import description, table_of

STATIC = files("sacbnet.reporting.viewer") / "static"


@pytest.fixture(scope="module")
def table(scene):
    return table_of(scene)


def test_the_page_names_only_files_of_the_table(table) -> None:
    html = table[""].read().decode()
    named = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert {"page.css", "viewer.css", "viewer.js", "niivue.js", "NOTICES.txt"} <= set(named)
    assert set(named) <= {*table, "data:,"}
    assert "http" not in html


@pytest.mark.parametrize("name", ["viewer.js", "planes.js", "viewer.css", "viewer.html"])
def test_our_scripts_name_no_other_host(name) -> None:
    text = (STATIC / name).read_text(encoding="utf-8")
    assert "//" not in re.sub(r"(?m)^\s*//.*$|\s//\s.*$", "", text)
    assert "http" not in text
    assert "innerHTML" not in text


def test_the_description_names_only_files_of_the_table(scene, table) -> None:
    found = description(scene)
    assert json.loads(table["scene.json"].read()) == json.loads(json.dumps(found))
    names = {
        *(f"{role}.nii" for role, facts in found["shown"].items() if facts),
        *found["labels"]["first"],
        *found["labels"]["other"],
        found["bend"]["file"],
        found["error"]["file"],
    }
    assert names <= set(table)
    assert not any("/" in name for name in table)
    assert found["labels"] == {
        "first": ["labels0.bin", "labels1.bin"],
        "other": ["other_labels1.bin"],
    }


def test_every_file_can_be_made_and_is_made_once(table) -> None:
    for name, file in table.items():
        assert len(file.read()) > 100, name
        assert file.read() is file.read()


def test_the_vendored_viewer_is_the_one_that_was_pinned() -> None:
    facts = json.loads((STATIC / "niivue.json").read_text(encoding="utf-8"))
    data = (STATIC / "niivue.js").read_bytes()
    assert hashlib.sha256(data).hexdigest() == facts["sha256"]
    assert len(data) == facts["bytes"]
    notices = (STATIC / "NOTICES.txt").read_text(encoding="utf-8")
    for name in ("Niivue", "gl-matrix", "fflate", "numcodecs", "nifti-reader-js", "Zstandard"):
        assert name in notices


def test_names_of_files_are_escaped(scene) -> None:
    html = table_of(replace(scene, title="<b>&.nii"))[""].read().decode()
    assert "<title>&lt;b&gt;&amp;.nii</title>" in html
    assert "<b>" not in html


def test_controls_stand_only_where_they_do_something(scene) -> None:
    bare = replace(scene, second=None, other=None, outlines=(), other_outlines=(), error=None)
    html = table_of(bare)[""].read().decode()
    for key in ("mode", "outlines", "error", "other-canvas", "second-canvas"):
        assert f'"{key}"' not in html
    assert "first-canvas" in html
    assert set(table_of(bare)) - {"bend.bin", "first.nii"} == {
        *("", "scene.json", "page.css", "viewer.css", "viewer.js", "planes.js", "niivue.js"),
        "NOTICES.txt",
    }
