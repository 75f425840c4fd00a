"""Many pairs: read a list of pairs or a dataset, register them, sum them up.

A run goes on where an earlier one stopped: a pair whose result is there already is not registered
again. Worker processes may do the work (`crew`).
"""

from .crew import Crew, crew_of
from .pairs import CohortPair, read_pairs
from .run import register_pairs
from .summary import Cohort, Outcome

__all__ = ["Cohort", "CohortPair", "Crew", "Outcome", "crew_of", "read_pairs", "register_pairs"]
