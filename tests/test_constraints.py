"""The files of exact versions agree with pyproject.toml and with each other."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
TREE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = TREE["project"]
EXTRAS = PROJECT["optional-dependencies"]


def pinned(*files: str) -> dict[str, str]:
    """The version of each package, by its normalised name; a package may occur once."""
    found: dict[str, str] = {}
    for file in files:
        for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
            if line and not line.startswith(("#", "-c ")):
                name, version = line.split("==")
                assert canonicalize_name(name) not in found, f"{file} pins {name} again"
                found[canonicalize_name(name)] = version
    return found


@pytest.mark.parametrize(
    ("files", "requirements"),
    [
        (
            ["constraints.txt"],
            [*PROJECT["dependencies"], *EXTRAS["train"], *EXTRAS["plots"], *EXTRAS["docs"]],
        ),
        (["constraints.txt", "constraints-test.txt"], EXTRAS["test"]),
        (["constraints-peers.txt"], EXTRAS["peers"]),
        (["constraints-build.txt"], [*TREE["build-system"]["requires"], "cmake>=3.18", "ninja"]),
    ],
    ids=["users", "tests", "peers", "build"],
)
def test_each_requirement_has_an_exact_version_within_its_range(files, requirements):
    versions = pinned(*files)
    for requirement in map(Requirement, requirements):
        if requirement.name != PROJECT["name"]:
            assert versions[canonicalize_name(requirement.name)] in requirement.specifier


def test_users_are_not_held_back():
    """antspyx needs numpy < 2.4 and scipy < 1.16; no user and no test may get them for its sake."""
    assert "antspyx" not in pinned("constraints.txt")
    assert not any("antspyx" in requirement for requirement in EXTRAS["test"])
