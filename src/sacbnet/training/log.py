"""The log of a run: lines, metrics.csv, and TensorBoard."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from sacbnet.errors import InputError
from sacbnet.files import atomic_file

from .validate import Slices

METRICS = "metrics.csv"
COLUMNS = (
    "step", "seconds", "learning_rate",
    "loss", "similarity", "smoothness", "jacobian", "dice", "inverse_consistency", "gradient_norm",
    "validation_dice", "validation_similarity", "validation_loss", "validation_folded_percent",
)  # fmt: skip


class Log:
    """Lines, and rows of numbers to metrics.csv and, where tensorboard is installed, event files.

    Rows after `step`, of a session that was cut off, are removed: the resumed run writes them
    again.

    Parameters
    ----------
    folder : Path
        The run folder.
    step : int
        Step at which the session begins.
    say : callable
        Is called with each line.

    Raises
    ------
    OutputError
        Where metrics.csv cannot be written at the start. Later failures are said, and training goes
        on.
    """

    def __init__(self, folder: Path, step: int, say: Callable[[str], None]) -> None:
        self.say = say
        self.path = folder / METRICS
        kept = (
            [row for row in read_metrics(self.path) if int(row["step"]) <= step]
            if self.path.exists()
            else []
        )
        with atomic_file(self.path) as path, path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            table.writerows(kept)
        self.board = _board(folder, step)

    def row(self, step: int, values: Mapping[str, float]) -> None:
        """Write a row.

        Parameters
        ----------
        step : int
            Number of the step.
        values : mapping
            Name of a column -> number.
        """
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, COLUMNS).writerow(
                    {"step": step, **{k: f"{v:.7g}" for k, v in values.items()}}
                )
        except OSError as error:  # a curve is not worth a training
            self.say(f"{self.path} could not be written ({error.strerror}); training goes on")
        if self.board is not None:
            for name, value in values.items():
                part = (
                    "validation/" + name[11:]
                    if name.startswith("validation_")
                    else "training/" + name
                )
                self.board.add_scalar(part, value, step)

    def picture(self, step: int, slices: Slices | None) -> None:
        """Write fixed, moved and moving image and their differences, for the three middle planes.

        Parameters
        ----------
        step : int
            Number of the step.
        slices : Slices or None
            The slices; None writes nothing.
        """
        if self.board is None or slices is None:
            return
        for plane, fixed, moved, moving in zip(
            "ijk", slices.fixed, slices.moved, slices.moving, strict=True
        ):
            row = torch.cat(
                [fixed, moved, moving, (moved - fixed).abs(), (moving - fixed).abs()], dim=1
            )
            self.board.add_image(
                f"validation/{plane} (fixed, moved, moving, differences after and before)",
                row[None],
                step,
            )

    def close(self) -> None:
        """Close the event files."""
        if self.board is not None:
            self.board.close()


class NoLog:
    """The log of the processes that do not lead: it does nothing."""

    def say(self, line: str) -> None:
        """Do nothing with a line.

        Parameters
        ----------
        line : str
            The line.
        """

    def row(self, step: int, values: Mapping[str, float]) -> None:
        """Do nothing with a row.

        Parameters
        ----------
        step : int
            Number of the step.
        values : mapping
            Name of a column -> number.
        """

    def picture(self, step: int, slices: Slices | None) -> None:
        """Do nothing with slices.

        Parameters
        ----------
        step : int
            Number of the step.
        slices : Slices or None
            The slices.
        """

    def close(self) -> None:
        """Do nothing."""


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Read a metrics.csv.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    list of dict
        Column -> text, for each row. A last row that is cut off is left out.

    Raises
    ------
    InputError
        If the file is damaged or is no such table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [row for row in rows if (row["step"] or "").isdigit() and None not in row.values()]
    except (UnicodeDecodeError, KeyError, csv.Error) as error:
        raise InputError(
            f"{path} is no table of a training ({error}); move it away to go on"
        ) from error


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
