"""What a benchmark has done so far, on the disk: pairs.csv, labels.csv and methods.json, from which it goes on."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sacbnet.errors import InputError
from sacbnet.evaluation.scoring import OF_A_LABEL, OF_A_PAIR, Row
from sacbnet.files import atomic_file, writing

PAIRS, LABELS, METHODS = "pairs.csv", "labels.csv", "methods.json"
KEY = ("method", "seed", "moving", "fixed")
OF_PAIRS = (*KEY, *OF_A_PAIR, "labels_absent", "parameters")
OF_LABELS = (*KEY, "label", *OF_A_LABEL)
DIGITS = 7
PAUSE = 10.0  # seconds between two writings of the tables, which grow
Key = tuple[str, str, str, str]


class Ledger:
    """The rows of a benchmark by method, seed and pair, and what is known of each method.

    pairs, labels: rows, keys and labels as text, the rest as numbers. methods: name -> {"definition": ..., "facts":
    {seed: ...}, "failed": {seed: [...]}}. Files are replaced whole, so that whatever ends the program leaves those of
    some seconds before.
    """

    def __init__(self, folder: Path) -> None:
        """As the folder has it, if it has anything. InputError for files that are none of a benchmark."""
        self.folder = folder
        self.pairs = {_key(row): row for row in _read(folder / PAIRS, OF_PAIRS)}
        self.labels: dict[Key, list[Row]] = {}
        for row in _read(folder / LABELS, OF_LABELS):
            if _key(row) in self.pairs:  # a pair's own row is written last
                self.labels.setdefault(_key(row), []).append(row)
        self.methods: dict[str, dict[str, Any]] = _read_json(folder / METHODS)
        self._saved = time.monotonic()

    def begin(self, method: str, definition: dict[str, Any]) -> None:
        """InputError where there are rows of this method by another definition; an option that it had not, since the
        version was an older one, is as it was by default."""
        plain = json.loads(json.dumps(definition))
        known = self.methods.setdefault(method, {"definition": plain, "facts": {}, "failed": {}})
        if not (differ := sorted(_differing(known["definition"], plain))):
            return
        if any(key[0] == method for key in self.pairs):
            raise InputError(
                f"{self.folder} holds scores of {method} as it was before ({', '.join(differ[:5])}); choose another"
                " --out, or another name for the method"
            )
        self.methods[method] = {"definition": plain, "facts": {}, "failed": {}}

    def has(self, method: str, seed: int | None, names: Row) -> bool:
        return _key(names | {"method": method, "seed": _text(seed)}) in self.pairs

    def add(
        self, method: str, seed: int | None, names: Row, row: Row, labels: Sequence[Row]
    ) -> None:
        """Scores of a pair (names: moving and fixed); on the disk within seconds, and at the next `save`."""
        key = names | {"method": method, "seed": _text(seed)}
        self.pairs[_key(key)] = _as_written(row, OF_PAIRS) | key
        self.labels[_key(key)] = [
            _as_written(x, OF_A_LABEL) | key | {"label": str(x["label"])} for x in labels
        ]
        if time.monotonic() - self._saved > PAUSE:
            self.save()

    def tell(
        self,
        method: str,
        seed: int | None,
        facts: Mapping[str, Any] | None = None,
        failed: Sequence[Row] | None = None,
    ) -> None:
        """facts: of a method's seed, in place of those known; InputError where there are rows that another version of
        the tool, or other finished weights, made. failed: what went wrong now, in place of what did before."""
        known = self.methods[method]
        if facts is not None:
            before = known["facts"].get(_text(seed), {})
            for name in ("tool", "weights"):
                if before.get(name) != facts.get(name) and any(
                    key[:2] == (method, _text(seed)) for key in self.pairs
                ):
                    raise InputError(
                        f"{self.folder} holds scores of {method} by {before.get(name)}; it is {facts.get(name)} now:"
                        " choose another --out"
                    )
            known["facts"][_text(seed)] = dict(facts)
        if failed is not None:
            known["failed"][_text(seed)] = list(failed)

    def facts(self, method: str) -> dict[str, Any]:
        """Of all its seeds: parameters, steps, tool; the mean of the minutes of training; and `seeds`, of each."""
        seeds = self.methods.get(method, {}).get("facts", {})
        out: dict[str, Any] = {}
        for facts in seeds.values():
            out |= {name: facts[name] for name in ("parameters", "steps", "tool") if name in facts}
        if spent := [
            facts["training_seconds"] for facts in seeds.values() if "training_seconds" in facts
        ]:
            out["training_minutes"] = round(sum(spent) / len(spent) / 60, 2)
        return out | {"seeds": seeds}

    def failures(self, method: str) -> list[Row]:
        """method, seed and error, and the pair where it is one that failed; of the last time that each was tried."""
        found = self.methods.get(method, {}).get("failed", {})
        return [
            {"method": method, "seed": seed} | row for seed, rows in found.items() for row in rows
        ]

    def rows(self, names: Collection[tuple[str, str]], labels: bool = False) -> list[Row]:
        """Of the pairs (moving, fixed) that are named, as the files tell them."""
        found = [key for key in self.pairs if key[2:] in names]
        return [
            row
            for key in found
            for row in (self.labels.get(key, []) if labels else [self.pairs[key]])
        ]

    def save(self) -> None:
        """OutputError where the files cannot be written."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        _write(
            self.folder / LABELS, OF_LABELS, (row for rows in self.labels.values() for row in rows)
        )
        _write(self.folder / PAIRS, OF_PAIRS, self.pairs.values())
        with atomic_file(self.folder / METHODS) as path:
            path.write_text(json.dumps(self.methods, indent=1), encoding="utf-8")
        self._saved = time.monotonic()


def _key(row: Row) -> Key:
    return row["method"], row["seed"], row["moving"], row["fixed"]


def _text(seed: int | None) -> str:
    return "" if seed is None else str(seed)


def _differing(before: Any, now: Any, place: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in before:
            yield from _differing(before[name], now.get(name), f"{place}.{name}" if place else name)
    elif before != now:
        yield f"{place}: {before}, now {now}"


def _read(path: Path, columns: Sequence[str]) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        if tuple(table.fieldnames or ()) != tuple(columns):
            raise InputError(f"{path} is no table of sacbnet benchmark; choose another --out")
        return [_numbers(row) for row in table]


def _numbers(row: dict[str, str]) -> Row:
    """Empty cells are left out, and all but names and labels are numbers."""
    text = (*KEY, "label")
    return {
        name: value if name in text else float(value)
        for name, value in row.items()
        if value or name in text
    }


def _as_written(row: Row, columns: Collection[str]) -> Row:
    """With the digits that the file has: the table is the same, whether its rows were read or just made."""
    return {
        name: float(f"{v:.{DIGITS}g}")
        for name, v in row.items()
        if name in columns and name not in KEY
    }


def _write(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    with atomic_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(
            {k: f"{v:.{DIGITS}g}" if isinstance(v, float) else v for k, v in row.items()}
            for row in rows
        )


def _read_json(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    try:
        found: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return found
    except ValueError as error:
        raise InputError(
            f"{path} is no file of sacbnet benchmark ({error}); choose another --out"
        ) from error
