"""Many pairs through one `Registrar`: read a list of pairs, register them, sum them up.

A run goes on where an earlier one stopped: a pair whose result is there already is not registered
again.
"""

from .pairs import CohortPair, read_pairs
from .run import register_pairs
from .summary import Cohort, Outcome

__all__ = ["Cohort", "CohortPair", "Outcome", "read_pairs", "register_pairs"]
