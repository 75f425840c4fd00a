"""The scores of a benchmark on disk, from which an interrupted benchmark goes on.

Three files: pairs.csv (a row for each pair), labels.csv (a row for each label of a pair) and
methods.json (what is known of each method).
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sacbnet.errors import InputError
from sacbnet.evaluation.scoring import OF_A_LABEL, OF_A_PAIR, Row
from sacbnet.files import atomic_file, writing

from .facts import Facts, Failure, Known, MethodFacts

PAIRS, LABELS, METHODS = "pairs.csv", "labels.csv", "methods.json"
KEY = ("method", "seed", "moving", "fixed")
OF_PAIRS = (*KEY, *OF_A_PAIR, "labels_absent", "parameters")
OF_LABELS = (*KEY, "label", *OF_A_LABEL)
DIGITS = 7
PAUSE = 10.0  # seconds between two writes of the tables: they grow, and each write is a whole file
Key = tuple[str, str, str, str]


class Ledger:
    """The rows of a benchmark by method, seed and pair, and what is known of each method.

    Keys and labels are text, all other values are numbers. A file is always replaced as a whole. A
    program that is killed thus leaves the files of some seconds before.

    Parameters
    ----------
    folder : Path
        The folder of the benchmark. What it already holds is read.

    Raises
    ------
    InputError
        Where it holds files of these names that are not a benchmark's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pairs = {_key(row): row for row in _read(folder / PAIRS, OF_PAIRS)}
        self.labels: dict[Key, list[Row]] = {}
        for row in _read(folder / LABELS, OF_LABELS):
            if _key(row) in self.pairs:  # the row of a pair is written after those of its labels
                self.labels.setdefault(_key(row), []).append(row)
        self.methods = _read_methods(folder / METHODS)
        self._saved = time.monotonic()

    def begin(self, method: str, definition: dict[str, Any]) -> None:
        """Start or continue a method.

        Parameters
        ----------
        method : str
            Name of the method.
        definition : dict
            All that its scores depend on. An option that the stored definition lacks, because an
            older version wrote it, counts as its default.

        Raises
        ------
        InputError
            Where there are scores of this method by another definition.
        """
        plain = json.loads(json.dumps(definition))
        known = self.methods.setdefault(method, Known(plain))
        if not (differ := sorted(_differing(known.definition, plain))):
            return
        if any(key[0] == method for key in self.pairs):
            raise InputError(
                f"{self.folder} holds scores of {method} as it was before"
                f" ({', '.join(differ[:5])}); choose another --out, or another name for the method"
            )
        self.methods[method] = Known(plain)

    def has(self, method: str, seed: int | None, names: Row) -> bool:
        """Ask whether a pair has been scored.

        Parameters
        ----------
        method : str
            Name of the method.
        seed : int or None
            Seed of its training; None for a method that is not trained.
        names : Row
            Names of the cases: "moving" and "fixed".

        Returns
        -------
        bool
            True where there is a row.
        """
        return _key(names | {"method": method, "seed": _text(seed)}) in self.pairs

    def add(
        self, method: str, seed: int | None, names: Row, row: Row, labels: Sequence[Row]
    ) -> None:
        """Add the scores of a pair. They are on disk within seconds, and after the next `save`.

        Parameters
        ----------
        method : str
            Name of the method.
        seed : int or None
            Seed of its training; None for a method that is not trained.
        names : Row
            Names of the cases: "moving" and "fixed".
        row : Row
            Numbers of the pair, the columns `OF_PAIRS`.
        labels : sequence of Row
            Numbers of each label, the columns `OF_LABELS`.

        Raises
        ------
        OutputError
            Where the files cannot be written.
        """
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
        facts: Facts | None = None,
        failed: Sequence[Failure] | None = None,
    ) -> None:
        """Record what is known of a method's seed. It replaces what was known before.

        Parameters
        ----------
        method : str
            Name of a method that has begun.
        seed : int or None
            Seed of its training; None for a method that is not trained.
        facts : Facts, optional
            The facts of this seed.
        failed : sequence of Failure, optional
            What failed this time.

        Raises
        ------
        InputError
            Where there are scores by another version of the tool, or by other weights.
        """
        known = self.methods[method]
        if facts is not None:
            before = known.facts.get(_text(seed), Facts())
            for old, new in ((before.tool, facts.tool), (before.weights, facts.weights)):
                if old != new and any(key[:2] == (method, _text(seed)) for key in self.pairs):
                    raise InputError(
                        f"{self.folder} holds scores of {method} by {old}; it is {new} now: choose"
                        " another --out"
                    )
            known.facts[_text(seed)] = facts
        if failed is not None:
            known.failed[_text(seed)] = list(failed)

    def facts(self, method: str) -> MethodFacts:
        """Summarise what is known of a method over its seeds.

        Parameters
        ----------
        method : str
            Name of the method.

        Returns
        -------
        MethodFacts
            The summary; without values for a method that has not begun.
        """
        return MethodFacts.of(self.methods[method].facts if method in self.methods else {})

    def failures(self, method: str) -> list[Failure]:
        """List what failed when a method was last tried.

        Parameters
        ----------
        method : str
            Name of the method.

        Returns
        -------
        list of Failure
            Of all seeds.
        """
        found = self.methods[method].failed if method in self.methods else {}
        return [failure for failures in found.values() for failure in failures]

    def rows(self, names: Collection[tuple[str, str]], labels: bool = False) -> list[Row]:
        """Get the rows of some pairs, with the digits that the files hold.

        Parameters
        ----------
        names : collection of (str, str)
            Moving and fixed case of each pair.
        labels : bool, default False
            The rows of labels instead of those of pairs.

        Returns
        -------
        list of Row
            Of all methods and seeds.
        """
        found = [key for key in self.pairs if key[2:] in names]
        return [
            row
            for key in found
            for row in (self.labels.get(key, []) if labels else [self.pairs[key]])
        ]

    def save(self) -> None:
        """Write the three files.

        Raises
        ------
        OutputError
            Where they cannot be written.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        _write(
            self.folder / LABELS, OF_LABELS, (row for rows in self.labels.values() for row in rows)
        )
        _write(self.folder / PAIRS, OF_PAIRS, self.pairs.values())
        with atomic_file(self.folder / METHODS) as path:
            known = {name: found.to_dict() for name, found in self.methods.items()}
            path.write_text(json.dumps(known, indent=1), encoding="utf-8")
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
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            if tuple(table.fieldnames or ()) != tuple(columns):
                raise InputError(f"{path} is no table of sacbnet benchmark; choose another --out")
            return [_numbers(row) for row in table]
    except (OSError, UnicodeDecodeError, ValueError, TypeError, csv.Error) as error:
        raise InputError(
            f"{path} is a damaged table of sacbnet benchmark ({error}); choose another --out"
        ) from error


def _numbers(row: dict[str | Any, str | Any]) -> Row:
    """Names and labels stay text, all other cells become numbers; empty cells are left out."""
    text = (*KEY, "label")
    if None in row or None in row.values():
        raise ValueError("a row has more or fewer cells than the header")
    return {
        name: value if name in text else float(value)
        for name, value in row.items()
        if value or name in text
    }


def _as_written(row: Row, columns: Collection[str]) -> Row:
    """Round to the digits of the file, so that rows just made equal rows that are read."""
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


def _read_methods(path: Path) -> dict[str, Known]:
    if not path.exists():
        return {}
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        return {name: Known.from_dict(name, known) for name, known in tree.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path} is no file of sacbnet benchmark ({error}); choose another --out"
        ) from error
