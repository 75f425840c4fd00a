"""The code on the pages runs as it stands.

The README and the walk-throughs run here, on small volumes that have the names that the page uses.
Each page "Add a ..." runs in a process of its own, because its package has entry points.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sacbnet.benchmark.plan import read_plan
from sacbnet.cli.main import main
from sacbnet.imaging.image import Image
from sacbnet.io.images import save_image
from sacbnet.spatial.grid import Grid

ROOT = Path(__file__).parents[1]
GUIDES, TUTORIAL = ROOT / "docs" / "how-to", ROOT / "docs" / "tutorial"
FILE = re.compile(r"\*\*`([^`\n]+)`\*\*\n\n```\w+\n(.*?)```", re.S)
BLOCK = re.compile(r"```(python|sh)\n(.*?)```", re.S)
OF_OTHERS = {
    "cp",
    "antsApplyTransforms",
    "antsApplyTransformsToPoints",
    "make",
    "pip",
    "python3",
    ".",
}
OF_OTHERS |= {".venv/bin/pip", ".venv/bin/sacbnet"}


def write_files(text: str, folder: Path) -> None:
    """Write the files that the page shows: a name in bold code, then a block."""
    for name, content in FILE.findall(text):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def blocks(text: str) -> Iterator[tuple[str, str | list[str]]]:
    """The Python blocks, and the words of each command of sacbnet, in the order of the page."""
    for language, block in BLOCK.findall(FILE.sub("", text)):
        if language == "python":
            yield "python", block
            continue
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] == "sacbnet":
                yield "sacbnet", words[1:]
            else:
                assert not words or words[0] in OF_OTHERS, line


def make_ball(folder: Path, image: str, labels: str, number: int) -> None:
    """A small volume with labels: a bright ball in a dim box; `number` shifts the ball."""
    generator = np.random.default_rng(number)
    grid = Grid((28, 30, 26), np.diag([2.0, 2.0, 2.0, 1.0]))
    axes = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
    centre = np.array(grid.shape) / 2 + 1.5 * np.array([number % 2, number % 3, number % 2])
    distance = np.sqrt(sum((x - c) ** 2 for x, c in zip(axes, centre, strict=True)))
    inside = (distance < 8).astype(np.int16) + (distance < 4)
    data = 100 * inside + generator.normal(0, 3, grid.shape) + 20
    for name, array in ((image, data.astype(np.float32)), (labels, inside)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image(path, array, Image(array, grid), labels=name == labels)


def make_set(folder: Path) -> None:
    for number, name in enumerate("abcde"):
        make_ball(folder, f"images/{name}.nii.gz", f"labels/{name}.nii.gz", number)


def run_page(path: Path, after: str = "", until: str = "") -> None:
    """Run the page in the working folder: Python in one namespace, commands in this process."""
    text = path.read_text(encoding="utf-8")
    text = text.partition(after)[2] if after else text
    text = text.partition(until)[0] if until else text
    write_files(text, Path.cwd())
    names: dict[str, object] = {}
    for language, content in blocks(text):
        if language == "python":
            exec(content, names)
        else:
            assert call(content) == 0, content


def test_the_readme_runs_as_it_stands(tmp_path, monkeypatch):
    """But for training, whose data it cannot have (test_docs checks those commands)."""
    make_ball(tmp_path, "monday.nii.gz", "monday_seg.nii.gz", 0)
    make_ball(tmp_path, "friday.nii.gz", "friday_seg.nii.gz", 1)
    (tmp_path / "friday_points.csv").write_text("x,y,z\n-20,-30,20\n")
    monkeypatch.chdir(tmp_path)
    run_page(ROOT / "README.md", until="## Train and evaluate")
    assert (tmp_path / "friday_points_on_monday.csv").exists()


def test_the_walk_through_of_neuroimaging_runs(tmp_path, monkeypatch):
    """But for the demo, in whose place two balls stand; tests/demo runs the demo."""
    for number, side in enumerate(("fixed", "moving")):
        make_ball(tmp_path, f"pair/{side}.nii.gz", f"pair/{side}_labels.nii.gz", number)
    monkeypatch.chdir(tmp_path)
    run_page(TUTORIAL / "neuroimaging.md", after="## 1.")
    assert (tmp_path / "points_on_fixed.csv").exists()


def test_the_walk_through_of_radiotherapy_runs(tmp_path, monkeypatch):
    for number, name in enumerate(("planning", "week4")):
        make_ball(tmp_path, f"{name}_ct.nii.gz", f"{name}_organs.nii.gz", number)
        make_ball(tmp_path, "ball.nii.gz", f"{name}_body.nii.gz", number)
    monkeypatch.chdir(tmp_path)
    run_page(TUTORIAL / "radiotherapy.md")


def test_the_python_of_the_walk_through_of_method_development_runs():
    text = (TUTORIAL / "method-developer.md").read_text(encoding="utf-8")
    for language, content in blocks(text):
        if language == "python":
            exec(content, {})


def test_the_benchmark_of_the_walk_through_is_a_plan(tmp_path):
    write_files((TUTORIAL / "method-developer.md").read_text(encoding="utf-8"), tmp_path)
    assert [method.name for method in read_plan(tmp_path / "mine.toml").methods] == [
        "SACB-Net",
        "scaled scores",
        "identity",
    ]


def call(words: list[str]) -> int:
    """The exit code of the command, run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sacbnet", *words])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def install(text: str, folder: Path) -> None:
    """The page's package with its entry points, as pip would leave them."""
    write_files(text, folder)
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


# All blocks of a page in one new process, which finds the entry points as it would find those of
# an installed package
DRIVER = """
import json, sys
from sacbnet.cli.main import main
for language, content in json.load(sys.stdin):
    if language == "python":
        exec(compile(content, "a block of the page", "exec"), {})
        continue
    sys.argv = ["sacbnet", *content]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (end.code, content)
"""


@pytest.mark.parametrize("page", sorted(path.name for path in GUIDES.glob("add-a-*.md")))
def test_a_part_is_added_as_its_page_says(page, tmp_path):
    text = (GUIDES / page).read_text(encoding="utf-8")
    install(text, tmp_path)
    make_set(tmp_path / "heads")
    parts = list(blocks(text))
    assert {language for language, _ in parts} == {"python", "sacbnet"}
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        input=json.dumps(parts),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
