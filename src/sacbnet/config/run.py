"""Options of a training run itself: its length, its batches, when it validates and saves."""

from __future__ import annotations

from dataclasses import dataclass

from .build import conform
from .choices import Precision
from .validation import OptionError, at_least


@dataclass(frozen=True)
class RunOptions:
    """How long a run trains, on which device, and what it does every so many steps.

    Parameters
    ----------
    steps : int, default 1000
        Steps of the optimiser.
    batch : int, default 1
        Pairs in one step, over all processes.
    pairs_at_once : int, default 1
        Pairs that a process passes through the network together. The gradients of the batch are
        accumulated.
    precision : {"float32", "bfloat16"}, default "float32"
        Precision of the network's features.
    seed : int, default 0
        Seed of the network's first weights, of the order of pairs and of the augmentation.
    device : str, default "auto"
        "auto", "cpu", "cuda" or "cuda:1".
    validate_every, checkpoint_every, log_every : int
        Steps between validations, checkpoints and rows of the log. Default 100, 50 and 10.
    validation_limit : int, default 0
        Largest number of pairs that are validated, spread evenly over all; 0 means all.
    start_from : str, default ""
        Weights to begin with; "" begins at random.

    Raises
    ------
    OptionError
        For a value that is not valid.
    """

    steps: int = 1000
    batch: int = 1
    pairs_at_once: int = 1
    precision: Precision = "float32"
    seed: int = 0
    device: str = "auto"
    validate_every: int = 100
    validation_limit: int = 0
    checkpoint_every: int = 50
    log_every: int = 10
    start_from: str = ""

    def __post_init__(self) -> None:
        conform(self)
        at_least(self, steps=1, batch=1, pairs_at_once=1, seed=0, validation_limit=0)
        at_least(self, validate_every=1, checkpoint_every=1, log_every=1)
        if self.batch % self.pairs_at_once:
            multiple = f"a multiple of run.pairs_at_once ({self.pairs_at_once})"
            raise OptionError("batch", self.batch, multiple)
