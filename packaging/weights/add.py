"""Put weights into the package, under a name, and into its catalogue: for those who maintain sacbnet.

    python packaging/weights/add.py runs/brain --name brain --about "T1 brains, 1 mm" \\
        --licence-text "CC BY 4.0: ..." --default

What the file says of itself (licence, data, spacing, validation) goes into the catalogue. --half stores the tensors as
float16, in half the bytes; they are loaded as float32 all the same. Its validation figures stay those of the original.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict
from typing import Any

import torch
from safetensors.torch import load, save

from sacbnet.errors import SacbnetError, WeightsError
from sacbnet.files import atomic_file
from sacbnet.networks.weights import catalogue
from sacbnet.networks.weights.catalogue import CATALOGUE, SUFFIX, Entry, entries
from sacbnet.networks.weights.info import WeightsInfo
from sacbnet.networks.weights.load import load_weights, weights_file, weights_hash

NO_LICENCE = ("", "not stated", "unknown")


def add(
    weights: str, name: str, *, half: bool = False, replace: bool = False, **facts: Any
) -> Entry:
    """Copy the weights into the package's folder and write their entry; facts: fields of Entry that no file states.

    Raises WeightsError for a name that cannot be one, or is taken, for weights that cannot be loaded or state no
    licence, and for values beyond the range of float16.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) or name == "none":
        raise WeightsError(f"the name is {name!r}; small letters, digits and hyphens were expected")
    listed = {entry.name: entry for entry in entries()}
    if name in listed and not replace:
        raise WeightsError(
            f"{name} is in the catalogue already; choose another --name, or give --replace"
        )
    told = load_weights(weights)[1]
    if told.licence.partition(":")[0].partition(";")[0].strip() in NO_LICENCE:
        raise WeightsError(
            f"{weights} states no licence ({told.licence!r}); weights go into the package only with one"
        )
    if facts.get("default") and any(
        entry.default for entry in listed.values() if entry.name != name
    ):
        raise WeightsError(
            f"{catalogue.default()} are the default already; take the mark from them in {CATALOGUE} first"
        )
    target = catalogue.FOLDER / f"{name}{SUFFIX}"
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
        **facts,
    )
    _write({**listed, name: entry})
    load_weights(name)  # what was written can be read
    return entry


def _halved(content: bytes, told: WeightsInfo) -> bytes:
    state = {name: tensor.half() for name, tensor in load(content).items()}
    if bad := [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]:
        raise WeightsError(
            f"{', '.join(bad)} hold values beyond float16; add these weights without --half"
        )
    return save(state, metadata=told.to_metadata())


def _figures(told: WeightsInfo) -> dict[str, float]:
    """The scores at validation, and those before training, to four digits."""
    found = dict(told.validation)
    found |= {f"{name}_before": value for name, value in told.baseline.items()}
    return {
        k: v if isinstance(v, int) else float(f"{v:.4g}")
        for k, v in found.items()
        if isinstance(v, int | float)
    }


def _write(listed: dict[str, Entry]) -> None:
    rows = {
        name: {k: v for k, v in asdict(listed[name]).items() if k != "name"}
        for name in sorted(listed)
    }
    with atomic_file(catalogue.FOLDER / CATALOGUE) as part:
        text = json.dumps({"format_version": 1, "weights": rows}, indent=1, ensure_ascii=False)
        part.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", help="a .safetensors file or the folder of a training run")
    parser.add_argument("--name", required=True)
    parser.add_argument("--about", required=True, help="what they are for, one line")
    parser.add_argument(
        "--licence-text", required=True, help="what the licence asks for, and where it is written"
    )
    parser.add_argument("--restricted", action="store_true", help="the licence forbids some use")
    parser.add_argument("--default", action="store_true", help="taken where no weights are named")
    parser.add_argument(
        "--flags",
        default="",
        help="options of sacbnet register that they call for: '--affine none'",
    )
    parser.add_argument("--half", action="store_true", help="store float16")
    parser.add_argument("--replace", action="store_true", help="the name may be taken")
    try:
        entry = add(**vars(parser.parse_args()))
    except SacbnetError as error:
        parser.error(str(error))
    print(
        f"written: {entry.path} ({entry.path.stat().st_size / 2**20:.1f} MiB), sha256 {entry.sha256}"
    )


if __name__ == "__main__":
    main()
