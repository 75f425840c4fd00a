"""Read files of torch.save: looked at before they are loaded, and nothing in them is executed."""

from __future__ import annotations

import pickletools
import re
import warnings
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

from sacbnet.errors import InputError

_LONGEST = 64 << 20  # bytes of the pickle; the tensors are stored beside it
# of tuples: a deeper one, as the key of a dictionary, overflows the stack when it is hashed
_MOST_TUPLES = 50_000
_PICKLES = 5  # in files of versions of torch before 1.6, one after the other

# What tensors, state dicts and NumPy's scalars are written with. torch admits more, among it names
# that make a large array out of a small number.
_NAMES = re.compile(
    r"torch \w+Storage|torch\._utils _rebuild_(tensor_v2|parameter)|torch (Size|device|\w*float\d+)"
    r"|collections OrderedDict|numpy\.(_core|core)\.multiarray scalar|numpy dtype|_codecs encode"
)


def load_torch(path: Path, allowed: list[Any] | None = None) -> Any:
    """Load a file of torch.save onto the CPU.

    Parameters
    ----------
    path : Path
        The file.
    allowed : list, optional
        Further harmless classes or functions that the file may name (`safe_globals` of torch).

    Returns
    -------
    object
        What the file holds: tensors, numbers, texts, lists and dictionaries.

    Raises
    ------
    InputError
        If the file is missing or damaged, is no file of torch.save, names anything that could be
        executed, or would take more memory than its size. The message does not name the file.
    """
    import torch

    try:
        _check(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(allowed or []):
            warnings.simplefilter("ignore")  # of torch, on old formats
            return torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # damaged bytes can make an unpickler raise many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if "Weights only load failed" in reason:
            reason = "it names something that could be executed, or is damaged"
        raise InputError(reason[:150]) from error


def _check(path: Path) -> None:
    """Look at the pickles and at the sizes."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            start = BytesIO(file.read(_LONGEST))
        for _ in range(_PICKLES):
            _check_opcodes(start)
        return
    with zipfile.ZipFile(path) as members:
        infos = members.infolist()
        if sum(info.file_size for info in infos) > path.stat().st_size:
            raise InputError("it would take more memory than its size; tensors were expected")
        for info in infos:
            if info.filename.endswith(".pkl"):
                if info.file_size > _LONGEST:
                    raise InputError(f"its pickle has {info.file_size} bytes; it is damaged")
                _check_opcodes(BytesIO(members.read(info)))


def _check_opcodes(content: BytesIO) -> None:
    tuples = 0
    for opcode, argument, _ in pickletools.genops(content):
        tuples += "TUPLE" in opcode.name
        if opcode.name in ("GLOBAL", "STACK_GLOBAL", "INST") and not _NAMES.fullmatch(
            str(argument)
        ):
            name = str(argument).replace(" ", ".")
            raise InputError(f"it names {name}; only tensors are read from such a file")
        if tuples > _MOST_TUPLES:
            raise InputError(f"it holds more than {_MOST_TUPLES} tuples; it is damaged")
