"""Registration tools of other makers as registrations of subjects.

`worker.py` runs the tool in a Python environment that has it. Its transform is read here. From then
on everything is the same as for our own results: the warp of the labels and all numbers.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sacbnet.data.subjects import Subject
from sacbnet.errors import GridError, InputError, RegistrationError
from sacbnet.evaluation.scoring import Found
from sacbnet.imaging.resampling import carry
from sacbnet.io.images import load_image, save_image
from sacbnet.io.transforms import load_affine, load_displacement
from sacbnet.spatial.transforms import Affine, DisplacementField, chain

from .worker import FIXED, LABELS, MOVED_LABELS, MOVING, TOOLS, WARP

WORKER = Path(__file__).with_name("worker.py")
ACCOUNT, LOG = "worker.json", "log.txt"
# Least share of labelled voxels that must agree. Others lie half-way between two moving voxels.
SAME = 0.98


@dataclass(frozen=True)
class Tool:
    """A registration (`scoring.Registration`) by a tool of another maker.

    The tool's options are those that the docstring of `worker` lists.

    Parameters
    ----------
    name : {"syn", "greedy", "elastix"}
        The tool.
    python : str
        Interpreter of a Python environment that has the tool.
    threads : int
        Threads that the tool may use.
    aligned : bool
        The images are aligned already: the tool runs without its affine stage.
    """

    name: str
    python: str
    threads: int
    aligned: bool

    def version(self) -> str:
        """Ask for the tool's package and version.

        Returns
        -------
        str
            "antspyx 0.6.3".

        Raises
        ------
        InputError
            Where this Python does not have the tool, or cannot be run.
        """
        with tempfile.TemporaryDirectory() as folder:
            try:
                return str(self._run(Path(folder), "--version")["tool"])
            except RegistrationError as error:
                raise InputError(
                    f"{self.python} has no {self.name} ({error}); install {TOOLS[self.name][2]},"
                    " best in an environment of its own, and name its Python by --tools-python"
                ) from error

    def __call__(self, *, fixed: Subject, moving: Subject) -> Found:
        """Register a pair.

        Raises RegistrationError where the tool fails, and GridError where the transform, as it is
        read here, moves the labels elsewhere than the tool itself did.
        """
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)  # without spaces, at which greedy would split a name
            for name, image in ((FIXED, fixed.image), (MOVING, moving.image)):
                save_image(folder / name, image.data, image.grid)
            if moving.labels is not None:
                save_image(folder / LABELS, moving.labels.data, moving.labels.grid, labels=True)
            account = self._run(folder, *(["--aligned"] if self.aligned else []))
            affine = _affine_of(folder)
            whole = chain(affine, load_displacement(folder / WARP))
            transform = DisplacementField.from_map(whole, fixed.image.grid.orthogonal())
            if moving.labels is not None:
                self._check(folder, moving, fixed, transform)
        return Found(transform, account["seconds"], account["peak_memory_mb"], affine)

    def _run(self, folder: Path, *options: str) -> dict[str, Any]:
        """Run the worker in `folder`, and return its account.

        The message of a RegistrationError is the last line that the worker printed.
        """
        command = [
            self.python,
            str(WORKER.resolve()),
            self.name,
            "--threads",
            str(self.threads),
            *options,
        ]
        # nothing is imported from the worker's own folder
        environment = os.environ | {"PYTHONSAFEPATH": "1"}
        with (folder / LOG).open("w") as log:
            try:
                done = subprocess.run(
                    command, cwd=folder, stdout=log, stderr=log, env=environment, check=False
                )
            except OSError as error:
                raise InputError(
                    f"{self.python} cannot be run ({error.strerror}); name a Python"
                ) from error
        if done.returncode or not (folder / ACCOUNT).exists():
            said = (folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
            last = next(
                (line.strip() for line in reversed(said) if line.strip()),
                f"exit code {done.returncode}",
            )
            raise RegistrationError(f"{self.name} failed: {last[:300]}")
        account: dict[str, Any] = json.loads((folder / ACCOUNT).read_text(encoding="utf-8"))
        return account

    def _check(
        self, folder: Path, moving: Subject, fixed: Subject, transform: DisplacementField
    ) -> None:
        assert moving.labels is not None
        theirs = load_image(folder / MOVED_LABELS, "labels").data
        ours = carry(moving.labels, fixed.image, transform, "nearest").data
        labelled = (theirs > 0) | (ours > 0)
        same = float((theirs == ours)[labelled].mean()) if labelled.any() else 1.0
        if same < SAME:
            raise GridError(
                f"the transform of {self.name}, as it is read here, moves {same:.1%} of the labels"
                f" to where {self.name} itself moves them ({SAME:.0%} were expected); use one of"
                " the versions that were tested"
            )


def _affine_of(folder: Path) -> Affine:
    """The affine that a point passes after the displacement field, if the field lacks it."""
    if (folder / "affine_ras.txt").exists():
        return Affine(np.loadtxt(folder / "affine_ras.txt"))
    return load_affine(folder / "affine.mat") if (folder / "affine.mat").exists() else Affine()
