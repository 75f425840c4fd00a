"""Keep a training that is not finished, so that another machine can go on: for maintainers.

    python packaging/weights/keep.py runs/brain --name brain

This replaces what was kept before in packaging/weights/unfinished: NAME.safetensors (the last
weights as float16), NAME.toml (the recipe with all its options) and NAME.csv (the curve so far).
The state of the optimiser is not kept, because it is four times as large. A short warm-up brings
it back:

    sacbnet train packaging/weights/unfinished/brain.toml --data MAPS --out runs/brain \\
      --set run.start_from=packaging/weights/unfinished/brain.safetensors --set run.seed=1

The seed must be another one: the pairs depend on seed and step, and steps are counted anew.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sacbnet.config.recipe import read_recipe
from sacbnet.errors import SacbnetError
from sacbnet.networks.weights.load import LAST, load_weights

FOLDER = Path(__file__).parent / "unfinished"


def keep(run: Path, name: str, folder: Path = FOLDER) -> Path:
    """Write the three files of a run.

    Parameters
    ----------
    run : Path
        The folder of the training run.
    name : str
        Name of the files.
    folder : Path, default packaging/weights/unfinished
        Where they go; made where it is absent.

    Returns
    -------
    Path
        The file of weights.

    Raises
    ------
    WeightsError
        If a value is beyond the range of float16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    with safe_open(run / LAST, "pt") as file:
        metadata = file.metadata()
    save_file(
        {key: tensor.half() for key, tensor in load_file(run / LAST).items()},
        path,
        metadata=metadata,
    )
    load_weights(path)  # refuses what is not finite
    recipe = read_recipe(run / "recipe.toml")
    recipe = replace(
        recipe, data=replace(recipe.data, source=""), run=replace(recipe.run, start_from="")
    )
    path.with_suffix(".toml").write_text(recipe.to_toml(), encoding="utf-8")
    shutil.copyfile(run / "metrics.csv", path.with_suffix(".csv"))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", required=True)
    arguments = parser.parse_args()
    try:
        print(f"kept as {keep(arguments.run, arguments.name)}")
    except SacbnetError as error:
        raise SystemExit(f"keep.py: {error}") from error


if __name__ == "__main__":
    main()
