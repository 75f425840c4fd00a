"""Options of the optimiser of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, inf, pi

from .build import conform
from .choices import Schedule
from .validation import OptionError, at_least


@dataclass(frozen=True)
class OptimiserOptions:
    """Adam, or AdamW with a positive weight decay, and the schedule of its learning rate.

    Parameters
    ----------
    learning_rate : float, default 1e-4
        Largest learning rate.
    schedule : {"polynomial", "cosine", "constant"}, default "polynomial"
        How the rate falls after the warm-up, over the rest of the run at time t from 0 to 1:
        as (1 - t)^power, as a half cosine to zero, or not at all.
    power : float, default 0.9
        Exponent of the polynomial schedule.
    warmup_steps : int, default 0
        Steps in which the rate grows linearly at the start.
    weight_decay : float, default 0
        AdamW's decoupled weight decay.
    clip : float, default 0
        Largest norm of the gradient; 0 means no limit.

    Raises
    ------
    OptionError
        For a value that is not valid.
    """

    learning_rate: float = 1e-4
    schedule: Schedule = "polynomial"
    power: float = 0.9
    warmup_steps: int = 0
    weight_decay: float = 0.0
    clip: float = 0.0

    def __post_init__(self) -> None:
        conform(self)
        at_least(self, power=0, warmup_steps=0, weight_decay=0, clip=0)
        if not 0 < self.learning_rate < inf:
            raise OptionError("learning_rate", self.learning_rate, "a positive number")

    def rate(self, step: int, steps: int) -> float:
        """Compute the learning rate of a step.

        Parameters
        ----------
        step : int
            Number of the step, from 0.
        steps : int
            Number of all steps of the run.

        Returns
        -------
        float
            The learning rate.
        """
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(steps - self.warmup_steps, 1)
        if self.schedule == "polynomial":
            return float(self.learning_rate * (1 - done) ** self.power)
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1 + cos(pi * done))
        return self.learning_rate
