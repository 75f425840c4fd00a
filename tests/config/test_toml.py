"""TOML: what hostile files come to, in seconds; what is written reads the same."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacbnet.config.recipe import Recipe, read_recipe
from sacbnet.config.toml import MOST_BYTES, flat, parse_toml, parse_value, write_toml
from sacbnet.errors import InputError


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = " + "[" * 100000, "nested more than 32 deep"),
        ("a = " + "{b = " * 5000, "nested more than 32 deep"),
        ('a = ["""x"""", ' + "[" * 5000, "nested more than 32 deep"),
        ("[run]\nsteps = " + "9" * 5000, "a name or number of 5000 characters"),
        ("[optimiser]\nlearning_rate = " + "9" * 400, "a name or number of 400 characters"),
        ("[optimiser]\nlearning_rate = " + "9" * 40, "optimiser.learning_rate is 9{40}; a number"),
        ("[run]\nsteps = " + "9" * 40, "run.steps is 9{40}; a whole number of at most 64 bits"),
        ("[model]\narchitecture = []", r"model.architecture is \[\]; text was expected"),
        ("[model]\narchitecture = {}", "model.architecture is {}; text was expected"),
        ("[a." + "a." * 100000 + "a]", "a dotted name of more than 32 parts"),
        ('["a' + '"."a' * 100000 + '"]', "a dotted name of more than 32 parts"),
        ("a = {" + "a . " * 40 + "a = 1}", "a dotted name of more than 32 parts"),
        ('about = "' + '\\"' * 400_000, "is no TOML"),
        ("about = '''" + "'" * 900_000, "is no TOML"),
        ('about = """' + '\\"""' * 200_000, "is no TOML"),
        ("a" * 900_000, "a name or number of 900000 characters"),
        ("a \t" * 300_000, "is no TOML"),
        ("x = 1\n" * 100_000, "is no TOML"),
        ("[[run]]\n" * 100_000, "run is .*; a section of options was expected"),
        ("#" * MOST_BYTES + "\n", "larger than"),
        ("é" * MOST_BYTES, "larger than"),
        ("data = 3", "data is 3; a section of options was expected"),
        ("loss.window = 4", "loss.window is 4; an odd number of voxels"),
        ("data.labels = [1, 'x']", r"data.labels is \[1, 'x'\]; a list of whole numbers"),
        ("data.align = 'headers'", "data.align is 'headers'; header or centre was expected"),
        ("synthesis.classes = [1]", r"classes is \[1\]; a list of lists of whole numbers"),
        ("[data]\nlabels = [" + "1," * 9000 + "'x']", r"data.labels is .{1,250}; a list of whole"),
    ],
    ids=lambda value: value[:24],
)
def test_a_file_that_is_no_recipe_gets_one_sentence(tmp_path, text, told):
    (tmp_path / "r.toml").write_text(text, encoding="utf-8")
    start = time.monotonic()
    with pytest.raises(InputError, match=told) as caught:
        read_recipe(tmp_path / "r.toml")
    assert time.monotonic() - start < 5 and len(str(caught.value)) < 1000


def test_what_is_quoted_or_commented_is_not_bounded():
    text = (
        "a = '" + "[" * 50 + "a." * 50 + "9" * 500 + "'  # " + "[" * 50 + "\nb = '''\n[[[''[\n'''"
    )
    assert parse_toml(text)["a"].startswith("[[[") and parse_toml(text)["b"] == "[[[''[\n"


@pytest.mark.parametrize(
    "text", ["[" * 100000, "9" * 5000, "a." * 100000, '"' * 9, "a\nb = 3", "nan.x", "", "\0"]
)
def test_an_override_that_is_no_toml_is_text(text):
    found = parse_value(text)
    assert found == text or text == "a\nb = 3"


TABLES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.text(max_size=20).filter(lambda x: "\r" not in x),
        st.lists(st.integers(0, 9), max_size=3),
        st.lists(st.lists(st.text(',[]\n" \\', max_size=5), max_size=2), max_size=3),
    ),
    lambda inner: st.dictionaries(st.text("abcü .-'\"", max_size=6), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.dictionaries(st.text("abcü .-'\"", max_size=6), TABLES, max_size=4))
def test_what_is_written_reads_the_same(tree):
    assert parse_toml(write_toml(tree)) == tree


def test_each_option_has_a_line():
    recipe = Recipe(about='a [1,\n 2] "b,').with_changes(["data.labels=[1, 2]"])
    text = recipe.to_toml()
    lines = [line for line in text.splitlines() if line and not line.startswith("[")]
    assert len(lines) == len(dict(flat(recipe.to_dict())))
    assert "labels = [1, 2]" in lines and "shape = []" in lines


def test_options_made_in_python_are_checked_as_those_of_a_file():
    with pytest.raises(InputError, match="steps is '3'; a whole number was expected"):
        type(Recipe().run)(steps="3")
    assert type(Recipe().data)(labels=[1, 2]).labels == (1, 2)


def test_no_module_of_this_room_imports_torch():
    """Nor does reading a recipe, with every network and loss that it may name."""
    code = """
import importlib, pkgutil, sys
import sacbnet.config as room
for module in pkgutil.iter_modules(room.__path__):
    importlib.import_module(f"sacbnet.config.{module.name}")
from sacbnet.config.recipe import Recipe
from sacbnet.config.registry import architectures
for name in architectures():
    Recipe().with_changes([f"model.architecture={name}"])
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
