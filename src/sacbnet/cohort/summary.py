"""What a cohort came to: a row for each pair, as summary.csv and summary.json."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self, get_args

from sacbnet.config.registration import Options
from sacbnet.environment import VERSION
from sacbnet.files import atomic_file
from sacbnet.networks.weights.info import WeightsInfo
from sacbnet.registration.report import RunReport

from .pairs import SUMMARY, TABLE, CohortPair

FORMAT_VERSION = 1
Status = Literal["done", "failed", "skipped"]


@dataclass(frozen=True)
class Outcome:
    """What one pair came to. Its fields are the columns of summary.csv.

    Parameters
    ----------
    name : str
        Name of the pair and of the folder with its result.
    fixed, moving : str
        Paths of the two images.
    status : {"done", "failed", "skipped"}
        "skipped": the result was there before.
    verdict : str, default ""
        "good", "check" or "failed"; empty where the pair has no result.
    reasons : str, default ""
        What speaks against the result.
    local_correlation_start, local_correlation_final : float or None, default None
        Mean squared local correlation before and after, 0 to 1. None: the pair failed.
    dice_start, dice_final : float or None, default None
        Mean Dice before and after, labels by nearest neighbour. None: without two label maps.
    folded_percent, non_diffeomorphic_percent : float or None, default None
        Folding of the transform, in % of the voxels and of the volume.
    seconds : float or None, default None
        Run time without reading and writing files.
    transform_sha256 : str, default ""
        Hash of transform.nii.gz; empty where the pair has no result.
    error : str, default ""
        Why the pair failed.
    """

    name: str
    fixed: str
    moving: str
    status: Status
    verdict: str = ""
    reasons: str = ""
    local_correlation_start: float | None = None
    local_correlation_final: float | None = None
    dice_start: float | None = None
    dice_final: float | None = None
    folded_percent: float | None = None
    non_diffeomorphic_percent: float | None = None
    seconds: float | None = None
    transform_sha256: str = ""
    error: str = ""

    @classmethod
    def of(
        cls, pair: CohortPair, status: Status, report: RunReport, transform_sha256: str = ""
    ) -> Self:
        """Take the numbers from the account of a registration.

        Parameters
        ----------
        pair : CohortPair
            The pair.
        status : {"done", "skipped"}
            Whether the pair was registered now or before.
        report : RunReport
            The account.
        transform_sha256 : str, default ""
            Hash of the transform.

        Returns
        -------
        Outcome
            The row of the pair.
        """
        likeness, dice, verdict = report.similarity, report.dice, report.verdict
        return cls(
            pair.name,
            str(pair.fixed),
            str(pair.moving),
            status,
            verdict="" if verdict is None else verdict.word,
            reasons="" if verdict is None else "; ".join(verdict.reasons),
            local_correlation_start=likeness.start.local_correlation,
            local_correlation_final=likeness.final.local_correlation,
            dice_start=None if dice is None else dice.start.nearest,
            dice_final=None if dice is None else dice.final.nearest,
            folded_percent=report.folding.folded_percent,
            non_diffeomorphic_percent=report.folding.non_diffeomorphic_percent,
            seconds=report.seconds.get("total"),
            transform_sha256=transform_sha256,
        )


@dataclass
class Cohort:
    """What a cohort came to.

    Parameters
    ----------
    asked : int
        Number of pairs that were asked for.
    options : Options
        What was chosen.
    weights : WeightsInfo or None
        What the weights say of themselves; None without a network.
    outcomes : list[Outcome], default empty
        A row for each pair that is done, failed or skipped, in the order of the pairs.
    """

    asked: int
    options: Options
    weights: WeightsInfo | None
    outcomes: list[Outcome] = field(default_factory=list)

    def count(self, status: Status) -> int:
        """Count the pairs of one status.

        Parameters
        ----------
        status : {"done", "failed", "skipped"}
            The status.

        Returns
        -------
        int
            Number of pairs.
        """
        return sum(row.status == status for row in self.outcomes)

    @property
    def waiting(self) -> int:
        """Number of pairs that have no row yet."""
        return self.asked - len(self.outcomes)

    def to_json(self) -> dict[str, Any]:
        """Write plain values for JSON.

        Returns
        -------
        dict[str, Any]
            What summary.json holds; numbers that are not finite become None.
        """
        took = [row.seconds for row in self.outcomes if row.seconds is not None]
        return {
            "format_version": FORMAT_VERSION,
            "sacbnet": VERSION,
            "options": asdict(self.options),
            "weights": None if self.weights is None else self.weights.to_json(),
            "pairs": self.asked,
            **{status: self.count(status) for status in get_args(Status)},
            "waiting": self.waiting,
            "expected_seconds": round(sum(took) / len(took) * self.waiting, 3) if took else None,
            "outcomes": [
                {name: None if value != value else value for name, value in asdict(row).items()}
                for row in self.outcomes  # JSON has no NaN
            ],
        }

    def write(self, out: Path) -> None:
        """Write summary.csv and summary.json, each whole or not at all.

        Parameters
        ----------
        out : Path
            The folder of the cohort.

        Raises
        ------
        OutputError
            If a file cannot be written.
        """
        with atomic_file(out / TABLE) as path, path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            columns = [f.name for f in fields(Outcome)]
            table.writerow(columns)
            for row in self.outcomes:
                values = [getattr(row, column) for column in columns]
                table.writerow([f"{v:.7g}" if isinstance(v, float) else v for v in values])
        with atomic_file(out / SUMMARY) as path:
            path.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")
