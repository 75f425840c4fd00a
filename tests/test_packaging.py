"""Recipes, containers, workflows and forms say the same as the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from sacbnet.environment import VERSION

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA_NAMES = {"torch": "pytorch", "isal": "python-isal"}  # where they differ from PyPI's
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[0-9]*.yml"))


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _ranges(lines: list[str]) -> dict[str, str]:
    found = [Requirement(line) for line in lines]
    return {
        CONDA_NAMES.get(r.name.lower(), r.name.lower()): ",".join(sorted(map(str, r.specifier)))
        for r in found
    }


def test_the_recipe_of_conda_has_the_version_and_the_ranges_of_the_package() -> None:
    recipe = _yaml(ROOT / "packaging" / "conda" / "recipe.yaml")
    assert str(recipe["context"]["version"]) == VERSION
    asked = _ranges([line.replace(" ", "", 1) for line in recipe["requirements"]["run"]])
    assert asked.pop("python") == PROJECT["requires-python"]
    assert asked == _ranges(PROJECT["dependencies"])


def test_the_containers_are_made_of_the_same_files_and_tools() -> None:
    docker, apptainer = _text("Dockerfile"), _text("packaging/apptainer/sacbnet.def")
    sent = set(re.findall(r"^!(.+)$", _text(".dockerignore"), re.MULTILINE))
    copied = set(re.findall(r"^    (\S+) /(?:src|opt)/\S+$", apptainer, re.MULTILINE))
    assert sent == copied - {"/wheels"}
    assert all((ROOT / name).exists() for name in sent)
    python = re.findall(r"^ARG PYTHON=(\S+)", docker, re.MULTILINE)
    assert len(python) == 1
    assert set(re.findall(r"^From: python:(\S+)-slim", apptainer, re.MULTILINE)) == set(python)
    tool = re.findall(r"uv==\S+", docker)
    assert len(tool) == 1 and re.findall(r"uv==\S+", apptainer) == tool


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_may_only_read_and_its_commands_exist(path: Path) -> None:
    flow = _yaml(path)
    assert flow["permissions"] == {"contents": "read"}
    for job in flow["jobs"].values():
        assert "uses" in job or job["timeout-minutes"] <= 60
    targets = set(re.findall(r"^([a-z]+):", _text("Makefile"), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+)", path.read_text(encoding="utf-8"))) <= targets
    for name in re.findall(r"tests/[a-z_./]+", path.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("path", FORMS, ids=lambda p: p.stem)
def test_a_form_asks_for_something_and_each_part_has_a_name(path: Path) -> None:
    form = _yaml(path)
    parts = [part for part in form["body"] if part["type"] != "markdown"]
    assert len({part["id"] for part in parts}) == len(parts) > 0
    assert any(part.get("validations", {}).get("required") for part in parts)


def test_there_are_workflows_and_forms() -> None:
    assert {p.stem for p in WORKFLOWS} == {"docs", "release", "tests", "wheels"}
    assert len(FORMS) == 3


def test_every_python_that_is_named_may_install_the_package() -> None:
    named = re.findall(r":: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert [f"3.{n}" for n in range(11, 15)] == named
    assert PROJECT["requires-python"] == f">={named[0]}"
