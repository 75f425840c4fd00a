"""Add weights and their entry in a catalogue, under a name; for the maintainers of sacbnet.

    python packaging/weights/add.py runs/brain --name brain --about "T1 brains, 1 mm" \\
        --licence-text "CC BY 4.0: ..." --default

Weights under Apache-2.0 or MIT go into sacbnet itself, all others into packaging/weights-research.
The catalogue repeats what the file says about itself: licence, training data, spacing, validation.
With --half the file stores float16 numbers and has half the size; loading converts them to float32.
The validation figures remain those of the original.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from sacbnet.config.choices import AFFINES, AffineKind
from sacbnet.errors import SacbnetError, WeightsError
from sacbnet.files import atomic_file
from sacbnet.networks.weights import catalogue
from sacbnet.networks.weights.catalogue import CATALOGUE, SUFFIX, entries
from sacbnet.networks.weights.entry import Entry
from sacbnet.networks.weights.info import WeightsInfo
from sacbnet.networks.weights.load import load_weights, weights_file, weights_hash

OWN_LICENCES = ("Apache-2.0", "MIT")  # that of sacbnet, and one that asks for no more than a notice
NO_LICENCE = ("", "not stated", "unknown")


def add(
    weights: str,
    name: str,
    *,
    affine: AffineKind | None = None,
    half: bool = False,
    replace: bool = False,
    **facts: Any,
) -> Entry:
    """Copy weights into the package and write their entry into the catalogue.

    Parameters
    ----------
    weights : str
        A .safetensors file, the folder of a training run, or a name.
    name : str
        The name of the weights in the catalogue: small letters, digits and hyphens.
    affine : {"none", "rigid", "affine"} or None, default None
        The alignment that images need before the network. A file may state it itself.
    half : bool, default False
        Store float16 numbers.
    replace : bool, default False
        Accept a name that the catalogue already has.
    **facts
        The other fields of `Entry` that the file does not state: `about`, `licence_text`,
        `restricted`, `default`, `longest_mm`, `otherwise`.

    Returns
    -------
    Entry
        The new entry.

    Raises
    ------
    WeightsError
        For a name that is not valid or already taken, for weights that cannot be loaded or state
        no licence, for an alignment other than the file states, for a second default, and for
        values beyond the range of float16.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) or name == "none":
        raise WeightsError(f"the name is {name!r}; small letters, digits and hyphens were expected")
    listed = {entry.name: entry for entry in entries()}
    if name in listed and not replace:
        raise WeightsError(
            f"the catalogue already has weights named {name}; choose another --name, or give"
            " --replace"
        )
    told = load_weights(weights)[1]
    if told.licence.partition(":")[0].partition(";")[0].strip() in NO_LICENCE:
        raise WeightsError(
            f"{weights} states no licence ({told.licence!r}); the package takes only weights"
            " that state one"
        )
    if facts.get("default") and any(
        entry.default for entry in listed.values() if entry.name != name
    ):
        raise WeightsError(
            f"the weights {catalogue.default()} are already the default; remove their mark in"
            f" {CATALOGUE} first"
        )
    if told.affine and affine not in (None, told.affine):
        raise WeightsError(
            f"{weights} states the alignment {told.affine}, and --affine is {affine}; leave out"
            " --affine"
        )
    own = told.licence in OWN_LICENCES
    folder = catalogue.FOLDER if own else catalogue.CHECKOUT
    target = folder / f"{name}{SUFFIX}"
    content = weights_file(weights).read_bytes()
    with atomic_file(target) as part:
        part.write_bytes(_halved(content, told) if half else content)
    facts["restricted"] = facts.get("restricted", False) or told.restricted
    entry = Entry(
        name=name,
        file=target.name,
        sha256=weights_hash(target),
        licence=told.licence,
        parameters=told.parameters,
        spacing_mm=told.spacing_mm,
        trained_on=told.trained_on,
        validation=_figures(told),
        affine=told.affine or affine,
        folder=folder,
        **facts,
    )
    _write(folder, {**{n: e for n, e in listed.items() if e.folder == folder}, name: entry})
    if folder != catalogue.FOLDER:
        _tell(name)
    load_weights(name)  # a check that the written file can be read
    return entry


def _halved(content: bytes, told: WeightsInfo) -> bytes:
    state = {name: tensor.half() for name, tensor in load(content).items()}
    if bad := [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]:
        raise WeightsError(
            f"{', '.join(bad)} hold values beyond the range of float16; add these weights without"
            " --half"
        )
    return save(state, metadata=told.to_metadata())


def _figures(told: WeightsInfo) -> dict[str, float]:
    """The validation scores, and the scores before training, with four digits."""
    found = dict(told.validation)
    found |= {f"{name}_before": value for name, value in told.baseline.items()}
    return {
        k: v if isinstance(v, int) else float(f"{v:.4g}")
        for k, v in found.items()
        if isinstance(v, int | float)
    }


def _write(folder: Path, listed: dict[str, Entry]) -> None:
    unwritten = ("name", "folder")
    tree = json.loads((folder / CATALOGUE).read_text(encoding="utf-8"))
    tree["weights"] = {
        name: {k: v for k, v in asdict(listed[name]).items() if k not in unwritten}
        for name in sorted(listed)
    }
    _save(folder, tree)


def _tell(name: str) -> None:
    """Let sacbnet know the name also where the other distribution is not installed."""
    tree = json.loads((catalogue.FOLDER / CATALOGUE).read_text(encoding="utf-8"))
    known = tree.setdefault("elsewhere", {}).setdefault(catalogue.RESEARCH, [])
    known[:] = sorted({*known, name})
    _save(catalogue.FOLDER, tree)


def _save(folder: Path, tree: dict[str, Any]) -> None:
    with atomic_file(folder / CATALOGUE) as part:
        text = json.dumps(tree, indent=1, ensure_ascii=False)
        part.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", help="a .safetensors file or the folder of a training run")
    parser.add_argument("--name", required=True)
    parser.add_argument("--about", required=True, help="the purpose of the weights, in one line")
    parser.add_argument(
        "--licence-text", required=True, help="the terms of the licence, and where they are written"
    )
    parser.add_argument("--restricted", action="store_true", help="the licence forbids some uses")
    parser.add_argument(
        "--default", action="store_true", help="use these weights if no weights are named"
    )
    parser.add_argument(
        "--otherwise", action="store_true", help="use these weights where the default do not suit"
    )
    parser.add_argument("--longest-mm", type=float, help="the longest body that they know, mm")
    parser.add_argument(
        "--affine",
        choices=AFFINES,
        help="the alignment that images need before the network, if the file does not state one",
    )
    parser.add_argument("--half", action="store_true", help="store float16 numbers")
    parser.add_argument(
        "--replace", action="store_true", help="accept a name that the catalogue has"
    )
    try:
        entry = add(**vars(parser.parse_args()))
    except SacbnetError as error:
        parser.error(str(error))
    print(
        f"written: {entry.path} ({entry.path.stat().st_size / 2**20:.1f} MiB),"
        f" sha256 {entry.sha256}"
    )


if __name__ == "__main__":
    main()
