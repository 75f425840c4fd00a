"""The pages name what there is: every option of a recipe, every verb, every column, every link."""

from __future__ import annotations

import importlib
import re
import shlex
import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import typer

from sacbnet.benchmark import ledger
from sacbnet.benchmark.method import Method
from sacbnet.benchmark.plan import Plan, find_plan, read_plan
from sacbnet.benchmark.run import PLOT, SUMMARY, TABLE
from sacbnet.cli.main import app
from sacbnet.cohort import CohortPair, Outcome
from sacbnet.config.network import NetworkOptions
from sacbnet.config.recipe import Recipe, read_recipe
from sacbnet.config.registry import BUILT_IN
from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.errors import SacbnetError
from sacbnet.evaluation.run import OF_A_LABEL, OF_A_PAIR
from sacbnet.registration.report import RunReport
from sacbnet.training.folder import find_recipe
from sacbnet.training.log import COLUMNS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts),
]
COMMAND = typer.main.get_command(app)


def page(name):
    """The text of the one page of this name, in whichever part of docs/ it stands."""
    (path,) = (path for path in PAGES if path.name == name)
    return path.read_text(encoding="utf-8")


def table(text, head):
    """The rows of the table whose header begins so."""
    return text.split(f"| {head} |", 1)[1].split("\n\n", 1)[0]


def code(text):
    """What stands between single backticks."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S)))


# a section may be optional
SECTIONS = {
    name: kind
    for name, hint in get_type_hints(Recipe).items()
    for kind in (hint, *get_args(hint))
    if is_dataclass(kind)
    and kind is not NetworkOptions  # whose own options depend on the network: below
}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_option_of_a_recipe_has_a_row(section):
    rows = table(page("recipes.md"), f"`[{section}]`").splitlines()
    named = {name for row in rows for name in code(row.partition("|")[2].partition("|")[0])}
    assert named == {f.name for f in fields(SECTIONS[section])}


def test_every_option_of_the_network_has_a_row():
    rows = table(page("recipes.md"), "`[model]`").splitlines()
    named = {name for row in rows for name in code(row.partition("|")[2].partition("|")[0])}
    assert named == {"architecture", *(f.name for f in fields(SACBNetConfig))}


def test_every_network_and_its_options_are_named():
    rows = {
        row.split("|")[1].strip(" `"): row
        for row in table(page("networks.md"), "`architecture`").splitlines()[2:]
    }
    assert set(rows) == set(BUILT_IN)
    for name in set(BUILT_IN) - {"sacbnet"}:
        assert code(rows[name].split("|")[3]) == {f.name for f in fields(BUILT_IN[name])}


def test_every_recipe_is_named():
    named = code(table(page("training.md"), "recipe"))
    assert {path.stem for path in (ROOT / "recipes").glob("*.toml")} <= named


def test_every_column_and_number_is_named():
    assert set(COLUMNS) <= code(page("outputs.md"))
    pairs = code(table(page("evaluation.md"), "column"))
    assert {"moving", "fixed", "method", "labels_absent", "error", *OF_A_PAIR} == pairs
    labels = next(
        line for line in page("evaluation.md").splitlines() if line.startswith("`labels.csv`")
    )
    assert {"moving", "fixed", "method", "label", *OF_A_LABEL} <= code(labels)


def test_every_column_of_a_cohort_is_named():
    rows = table(page("cohorts.md"), "column | what |\n|---|---|\n| `name`, `fixed`, `moving`")
    assert {f.name for f in fields(Outcome)} - {"name", "fixed", "moving"} <= code(rows)
    given = table(page("cohorts.md"), "column | what |\n|---|---|\n| `fixed`, `moving`")
    assert {f.name for f in fields(CohortPair)} - {"fixed", "moving"} <= code(given)


@pytest.mark.parametrize(
    ("head", "kind", "other"), [("option", Plan, "methods"), ("`[[method]]`", Method, "stages")]
)
def test_every_option_of_a_benchmark_has_a_row(head, kind, other):
    rows = table(page("comparison.md"), head).splitlines()
    named = {name for row in rows for name in code(row.partition("|")[2].partition("|")[0])}
    assert named - {"stage"} == {f.name for f in fields(kind)} - {other}


def test_every_benchmark_and_its_files_are_named():
    named = code(table(page("comparison.md"), "benchmark"))
    plans = {path.stem for path in (ROOT / "src/sacbnet/benchmark/plans").glob("*.toml")}
    assert plans and plans <= named
    assert {SUMMARY, TABLE, PLOT, ledger.PAIRS, ledger.LABELS, ledger.METHODS} <= code(
        table(page("comparison.md"), "file")
    )
    row = next(
        row
        for row in table(page("comparison.md"), "file").splitlines()
        if row.startswith("| `pairs.csv`")
    )
    assert {*ledger.KEY, "parameters"} <= code(row)


def test_every_verb_and_exit_code_is_named():
    named = code(table(page("command-line.md"), "verb"))
    for name, verb in COMMAND.commands.items():
        inner = getattr(verb, "commands", None)
        assert {f"{name} {i}" for i in inner} <= named if inner else name in named, name
    codes = set(
        re.findall(
            r"\d+", " ".join(r[:12] for r in table(page("command-line.md"), "code").splitlines())
        )
    )
    assert {str(kind.exit_code) for kind in (SacbnetError, *_below(SacbnetError))} | {
        "0",
        "2",
        "130",
        "143",
    } <= codes


def test_every_key_of_the_report_has_a_row():
    rows = table(page("outputs.md"), "key").splitlines()
    named = {name for row in rows for name in code(row.split("|")[1])}
    assert named == {field.name for field in fields(RunReport)}


def test_pages_that_the_code_names_exist():
    files = [
        *(ROOT / "src").rglob("*.py"),
        *(ROOT / "src").rglob("*.toml"),
        ROOT / "pyproject.toml",
    ]
    named = {
        name
        for path in files
        for name in re.findall(r"\bdocs/[\w/-]+\.md", path.read_text(encoding="utf-8"))
    }
    assert named
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]


def _below(kind):
    return {c for direct in kind.__subclasses__() for c in (direct, *_below(direct))}


def commands():
    """The lines that call sacbnet in the shell blocks of all pages.

    The pages "Add a ..." need their own package; tests/test_pages_run.py runs their commands.
    """
    for path in PAGES:
        if path.name.startswith("add-a-"):
            continue
        for block in re.findall(r"```sh\n(.*?)```", path.read_text(encoding="utf-8"), re.S):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.replace(".venv/bin/", ""), comments=True)
                for start in ("sacbnet", "sacbnet.cli.main"):
                    if start in words and words[0] in ("sacbnet", "torchrun", "srun"):
                        yield pytest.param(
                            words[words.index(start) + 1 :], id=f"{path.name}: {line.strip()[:60]}"
                        )
                        break


@pytest.mark.parametrize("words", list(commands()))
def test_every_command_on_a_page_can_be_read(words):
    """Its verb and options exist; a recipe that it names does, too, and takes what --set says."""
    verb, rest, group = words[0], words[1:], COMMAND
    if hasattr(group.commands[verb], "commands"):
        group, verb, rest = group.commands[verb], rest[0], rest[1:]
    given = group.commands[verb].make_context(verb, rest, resilient_parsing=False).params
    if verb == "train" and "/" not in given["recipe"]:
        read_recipe(find_recipe(given["recipe"])).with_changes(given["change"] or [])
    if verb == "benchmark" and "/" not in given["name"]:
        names = {
            name
            for method in read_plan(find_plan(given["name"])).methods
            for name in (method.name, method.slug)
        }
        assert names >= set(given["only"] or [])


def _verbs(group, prefix=""):
    for name, verb in group.commands.items():
        yield f"{prefix}{name}", verb
        if hasattr(verb, "commands"):
            yield from _verbs(verb, f"{name} ")


OPTIONS = {
    flag
    for _, verb in _verbs(COMMAND)
    for parameter in verb.params
    for flag in (*parameter.opts, *parameter.secondary_opts)
} | {"--help", "--install-completion", "--show-completion"}
# of the scripts that measure times
OPTIONS |= {
    flag
    for script in (ROOT / "speed").glob("*.py")
    for flag in re.findall(r"\"(--[a-z-]+)\"", script.read_text(encoding="utf-8"))
}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_verb_and_option_in_a_sentence_exists(path):
    """Code between backticks that names an option or a verb."""
    verbs = {name for name, _ in _verbs(COMMAND)}
    for words in map(str.split, code(path.read_text(encoding="utf-8"))):
        if (
            words[:1] == ["sacbnet"]
            and len(words) > 1
            and words[1][0].isalpha()
            and words[1].islower()
        ):
            assert {words[1], " ".join(words[1:3])} & verbs, words
        if words and (words[0] == "sacbnet" or words[0].startswith("--")):
            flags = {word.split("=")[0] for word in words if word.startswith("--")}
            assert flags <= OPTIONS, words


NAMES = {
    (path.name, name)
    for path in PAGES
    for words in code(path.read_text(encoding="utf-8"))
    for name in re.findall(r"\bsacbnet(?:\.[A-Za-z_]\w*)+", words)
    if not re.search(rf"[/\"]{re.escape(name)}|{re.escape(name)}[\"/]", words)
}


@pytest.mark.parametrize(("file", "name"), sorted(NAMES))
def test_every_python_name_in_a_sentence_exists(file, name):
    if name in ("sacbnet.networks", "sacbnet.losses", "sacbnet.formats", "sacbnet.datasets"):
        return  # groups of entry points
    parts = name.split(".")
    found = importlib.import_module(parts[0])
    for n, part in enumerate(parts[1:], 2):
        try:
            found = getattr(found, part)
        except AttributeError:
            found = importlib.import_module(".".join(parts[:n]))


def test_the_rooms_of_the_design_are_those_of_the_linter():
    """In the order in which one imports another."""
    rows = table(page("design.md"), "room").splitlines()[2:]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = project["tool"]["importlinter"]["contracts"]
    layers = [layer.strip("()") for layer in contract["layers"]]
    assert named == layers[::-1]


def test_the_figures_of_the_readme_are_those_of_the_benchmarks():
    """Each Dice and each time of the README's table stands in a row of the page of benchmarks."""
    rows = table((ROOT / "README.md").read_text(encoding="utf-8"), "data").splitlines()[2:]
    assert len(rows) == 6
    measured = [
        set(re.findall(r"[\d.]+", row)) for row in page("benchmarks.md").splitlines() if "|" in row
    ]
    for row in rows:
        numbers = set(re.findall(r"\d[\d.]*", "|".join(row.split("|")[3:])))
        assert any(numbers <= of_a_row for of_a_row in measured), row


def test_the_picture_of_the_readme_is_small():
    assert (DOCS / "images" / "demo.png").stat().st_size < 300_000


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        assert there.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.M)
            assert anchor in {
                re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in heads
            }, target
