"""Files and folders: results that appear whole or not at all, and locks.

`whole` writes results, by way of the temporary folders of `staging`; `claim` lets one process at
a time put results in their place; `disk` tells the errors of the disk; `guard` protects what is
there; `temporary` gives a process a folder of its own; `cache` keeps what can be made again.
"""

from .cache import cache_folder
from .claim import Claim, placing
from .disk import writing
from .guard import check_writable, keep_inputs, locked
from .staging import staging, sweep
from .temporary import temporary_folder
from .whole import atomic_file, staged_folder

__all__ = [
    "Claim",
    "atomic_file",
    "cache_folder",
    "check_writable",
    "keep_inputs",
    "locked",
    "placing",
    "staged_folder",
    "staging",
    "sweep",
    "temporary_folder",
    "writing",
]
