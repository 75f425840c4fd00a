"""`sacbnet ...`, run inside this process through its true entry point."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from sacbnet.cli.main import main

# a line of progress, where stderr is no terminal
STAGE = re.compile(r"\s*\d+\.\d s  (.* \(\d+\.\d s\)|about .* in all \(.*\))\n")
QUICKLY = ("--weights=none", "--affine=none", "--refine=1")


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    def sentence(self) -> str:
        """The one line on stderr that is no stage's; nothing else was printed, nowhere."""
        assert self.out == "", self.out
        assert self.said.startswith("sacbnet: error: "), self.err
        assert self.said.endswith("\n") and self.said.count("\n") == 1, self.err
        assert self.err.endswith(self.said)  # the error comes last
        return self.said.removeprefix("sacbnet: error: ").strip()

    @property
    def said(self) -> str:
        """stderr without the stages' lines."""
        return "".join(line for line in self.err.splitlines(True) if not STAGE.match(line))


@pytest.fixture
def sacbnet(monkeypatch, capfd) -> Callable[..., Outcome]:
    """Run the command with these arguments; capfd sees what C++ prints, too."""
    # main sets it where it is not: not to outlive the test
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["sacbnet", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as error:
            code = error.code
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture
def register(sacbnet, files, tmp_path) -> Callable[..., Outcome]:
    """`sacbnet register` of the small pair into tmp_path/out.

    Arguments replace the usual ones of the same name (--fixed=... and so on) or follow them.
    """

    def run(*more: object) -> Outcome:
        given = {str(m).partition("=")[0] for m in more}
        usual = (
            f"--fixed={files['fixed']}",
            f"--moving={files['aligned']}",
            f"--out={tmp_path / 'out'}",
            *QUICKLY,
        )
        return sacbnet("register", *(u for u in usual if u.partition("=")[0] not in given), *more)

    return run
