"""The pages "Add a ..." run as they stand: files, Python and commands, in a package with entry points."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from sacbnet.imaging.image import Image
from sacbnet.io.images import save_image
from sacbnet.spatial.grid import Grid

GUIDES = Path(__file__).parents[1] / "docs" / "how-to"
FILE = re.compile(r"\*\*`([^`\n]+)`\*\*\n\n```\w+\n(.*?)```", re.S)
BLOCK = re.compile(r"```(python|sh)\n(.*?)```", re.S)


def install(text: str, folder: Path) -> None:
    """Write the files that the page shows, and the entry points as an installed package has them."""
    for name, content in FILE.findall(text):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = folder / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    (info / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
            for group, points in project["entry-points"].items()
        )
    )


def make_heads(folder: Path) -> None:
    """Five small volumes with labels: a bright ball in a dim box, each ball at another place."""
    generator = np.random.default_rng(0)
    grid = Grid((28, 30, 26), np.diag([2.0, 2.0, 2.0, 1.0]))
    axes = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
    for number, name in enumerate("abcde"):
        centre = np.array(grid.shape) / 2 + 1.5 * np.array([number % 2, number % 3, number % 2])
        distance = np.sqrt(sum((x - c) ** 2 for x, c in zip(axes, centre, strict=True)))
        labels = (distance < 8).astype(np.int16) + (distance < 4)
        data = 100 * labels + generator.normal(0, 3, grid.shape) + 20
        for kind, array in (("images", data.astype(np.float32)), ("labels", labels)):
            path = folder / kind / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_image(path, array, Image(array, grid), labels=kind == "labels")


def run(words: list[str], folder: Path) -> None:
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        words, cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", sorted(path.name for path in GUIDES.glob("add-a-*.md")))
def test_a_page_runs_as_it_stands(page, tmp_path):
    text = (GUIDES / page).read_text(encoding="utf-8")
    install(text, tmp_path)
    make_heads(tmp_path / "heads")
    ran = 0
    for language, block in BLOCK.findall(FILE.sub("", text)):
        if language == "python":
            run([sys.executable, "-c", block], tmp_path)
            ran += 1
            continue
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] == "sacbnet":
                run([sys.executable, "-m", "sacbnet.cli.main", *words[1:]], tmp_path)
                ran += 1
            else:
                assert words[:2] in ([], ["pip", "install"]), line
    assert ran
